"""smb.conf as lines that belong to sections, with the files that it includes. smb.conf(5)

What follows an include belongs to the section that the included file ends in, a backslash continues a line (but not
a comment), and names of sections are compared without regard to case and to the number of spaces.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path

from .core import SMB_CONF

PARKED = "#smbplan# "  # before each line of a section that was taken over


class Line:
    """A header or a parameter. `owned`: the line stands for its section alone, so it goes when the section goes."""

    def __init__(self, file: str, first: int, count: int, owned: bool, parked: bool) -> None:
        """`count` is that of physical lines."""
        self.file, self.first, self.count = file, first, count
        self.owned, self.parked = owned, parked
        self.section = self.value = ""
        self.name = ""  # of a header, it stays empty


class Scan:
    """All lines in the order in which Samba reads them, and the files that they stand in."""

    def __init__(self, parked: bool) -> None:
        """`parked`: whether parked lines count as if they were not."""
        self.parked = parked
        self.lines: list[Line] = []
        self.files: dict[str, list[str]] = {}
        self.varying: set[str] = set()  # sections in files that are included for some clients only
        self.section = "global"

    def params(self) -> dict[str, dict[str, str]]:
        """Sections with their parameters as written; later ones win."""
        found: dict[str, dict[str, str]] = {"global": {}}
        for line in self.lines:
            section = found.setdefault(line.section, {})
            if line.name:
                section[line.name] = line.value
        return found

    def reads_registry(self) -> bool:
        """Whether Samba reads its registry by itself."""
        signs = (("include", "registry"), ("config backend", "registry"))
        return any(line.section == "global" and (line.name, line.value.lower()) in signs for line in self.lines)

    def copiers(self, name: str) -> list[str]:
        """The other sections that copy this one."""
        params = self.params().items()
        return [other for other, found in params if other != name and title(found.get("copy", "")) == name]


def scan(path: str = SMB_CONF, parked: bool = False, text: str | None = None) -> Scan:
    """Read smb.conf, or `text` in its place; an absent file is an empty one."""
    found = Scan(parked)
    if text is not None:
        found.files[path] = text.split("\n")
    _walk(found, path, True)
    return found


def title(name: str) -> str:
    """A section's name for comparing."""
    name = re.sub(r"\s+", " ", name).lower()
    return "global" if name.strip() == "global" else name


def park(name: str) -> dict[str, str]:
    """{path: new text}: the section is commented out, wherever it stands."""
    found = scan()
    lines = [line for line in found.lines if line.section == title(name) and line.owned]
    return _edited(found, lines, lambda row: PARKED + row)


def unpark(name: str) -> dict[str, str]:
    """{path: new text}: the section is as it was."""
    found = scan(parked=True)
    lines = [line for line in found.lines if line.section == title(name) and line.parked]
    return _edited(found, lines, lambda row: row[len(PARKED) :] if row.startswith(PARKED) else row)


def read(path: str) -> str | None:
    """The text with every byte kept, whatever its encoding and line ends."""
    try:
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _edited(found: Scan, lines: list[Line], edit: Callable[[str], str]) -> dict[str, str]:
    numbers: dict[str, set[int]] = {}
    for line in lines:
        numbers.setdefault(line.file, set()).update(range(line.first, line.first + line.count))
    return {
        path: "\n".join(edit(row) if number in chosen else row for number, row in enumerate(found.files[path]))
        for path, chosen in numbers.items()
    }


def _walk(found: Scan, path: str, owned: bool, above: tuple[str, ...] = ()) -> None:
    if path in above:
        return
    rows = found.files.get(path)
    if rows is None:
        text = read(path)
        if text is None:
            return
        rows = found.files[path] = text.split("\n")
    number = 0
    while number < len(rows):
        first, (words, parked) = number, _bare(rows[number], found.parked)
        number += 1
        if not words.strip() or words.lstrip()[0] in "#;":
            continue
        while words.endswith("\\") and number < len(rows):
            words = words[:-1] + _bare(rows[number], found.parked)[0]
            number += 1
        line = Line(path, first, number - first, owned, parked)
        _line(found, line, words.strip(), (*above, path))


def _bare(row: str, parked: bool) -> tuple[str, bool]:
    row = row.rstrip("\r")
    return (row[len(PARKED) :], True) if parked and row.startswith(PARKED) else (row, False)


def _line(found: Scan, line: Line, words: str, above: tuple[str, ...]) -> None:
    header = re.fullmatch(r"\[(.*)\].*", words)
    name, equals, value = words.partition("=")
    if header:
        found.section = title(header[1])
    elif not equals:
        return
    else:
        line.name, line.value = " ".join(name.split()).lower(), value.strip()
    line.section = found.section
    found.lines.append(line)
    if line.name == "include" and line.value.startswith("/"):
        _include(found, line, above)


def _include(found: Scan, line: Line, above: tuple[str, ...]) -> None:
    if "%" in line.value:
        for path in glob.glob(re.sub(r"%(\(\w+\)|.)", "*", line.value)):
            found.varying |= {other.section for other in _headers(path, above)}
        found.varying.add(found.section)
        return
    if _headers(line.value, above):
        line.owned = False  # other sections depend on it
        _walk(found, line.value, True, above)
    else:
        _walk(found, line.value, False, above)  # may be included elsewhere, too


def _headers(path: str, above: tuple[str, ...]) -> list[Line]:
    """The headers in a file, those of parked sections too."""
    inner = Scan(parked=True)
    _walk(inner, path, True, above)
    return [line for line in inner.lines if not line.name]
