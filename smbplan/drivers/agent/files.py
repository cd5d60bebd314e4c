"""Files that are wholly ours, and Samba's smb.conf, which may be somebody else's."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from .core import Object, Refused, read_text, seal, unseal, write

PACKAGED = "/usr/share/samba/smb.conf"
BLOCK_BEGIN = "# smbplan include, begin: made by smbplan, removed by `smbplan destroy`"
BLOCK_END = "# smbplan include, end"
PARKED = "#smbplan# "  # before each line of a section that was taken over
HEADERS = {"xml": ("<!-- smbplan ", " -->"), "#": ("# smbplan ", "")}


def header(path: str) -> tuple[str, str]:
    return HEADERS["xml" if path.endswith((".service", ".xml")) and "/avahi/" in path else "#"]


class File(Object):
    """State: {mark, content, mode}. The mark is a comment in the first line; content is what follows it."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        path = Path(name)
        if path.is_symlink():
            raise Refused(f"{name} is a symbolic link")
        text = read_text(path)
        if text is None:
            return None
        first, _, rest = text.partition("\n")
        begin, end = header(name)
        mark = None
        if first.startswith(begin) and first.endswith(end):
            mark = unseal(first.removeprefix(begin).removesuffix(end), name)
        mode = f"{stat.S_IMODE(path.stat().st_mode):04o}"
        return {"mark": mark, "content": rest if mark else text, "mode": mode}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        path = Path(name)
        if after is None:
            path.unlink()
            if path.parent.name == "smbplan" and not os.listdir(path.parent):
                path.parent.rmdir()  # ours, too
            return
        begin, end = header(name)
        first = f"{begin}{seal(after['mark'], name)}{end}\n" if after.get("mark") else ""
        write(path, first + after["content"], int(after["mode"], 8))


class SmbConf(Object):
    """smb.conf as a whole.

    Ours or replaceable: {mark, content, pristine}. Somebody else's: {foreign, include, globals, services}; of that
    one, only `include` can be set: the file that a marked line at the end of [global] includes, "" for none.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        text = read_text(Path(name))
        if text is None:
            return None
        begin, _ = HEADERS["#"]
        first, _, rest = text.partition("\n")
        mark = unseal(first.removeprefix(begin), name) if first.startswith(begin) else None
        pristine = mark is None and settings(text) == settings(read_text(Path(PACKAGED)) or "?")
        if mark or pristine:
            return {"mark": mark, "content": rest if mark else text, "foreign": False, "include": ""}
        sections = parse(text)
        return {
            "mark": None,
            "content": "",
            "foreign": True,
            "include": _included(text),
            "globals": sections.get("global", {}),
        }

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        path = Path(name)
        if after is None:
            path.unlink()
        elif after["foreign"]:
            text = _without_block(read_text(path) or "")
            write(path, _with_block(text, after["include"]) if after["include"] else text, _mode(path))
        else:
            first = f"# smbplan {seal(after['mark'], name)}\n" if after.get("mark") else ""
            write(path, first + after["content"], 0o644)


def parse(text: str) -> dict[str, dict[str, str]]:
    """Sections of an smb.conf text with their parameters as written; names lower-cased, later ones win."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = found.setdefault("global", {})
    for line in re.sub(r"\\\n", "", text).splitlines():
        words = line.strip()
        if not words or words[0] in "#;":
            continue
        match = re.fullmatch(r"\[\s*(.*?)\s*\]", words)
        if match:
            section = found.setdefault(match[1].lower(), {})
        elif "=" in words:
            name, _, value = words.partition("=")
            section[" ".join(name.split()).lower()] = value.strip()
    return found


def section_lines(text: str, wanted: str) -> list[int]:
    """The numbers of the lines that make up a section, its header included."""
    inside, found = False, []
    for number, line in enumerate(text.splitlines()):
        match = re.fullmatch(r"\s*\[\s*(.*?)\s*\]\s*", line)
        if match:
            inside = match[1].lower() == wanted.lower()
        if inside:
            found.append(number)
    return found


def park_section(text: str, name: str) -> str:
    numbers = set(section_lines(text, name))
    lines = text.splitlines()
    return "".join((PARKED if number in numbers else "") + line + "\n" for number, line in enumerate(lines))


def unpark_section(text: str, name: str) -> str:
    """Take the comment marks off the parked section again."""
    bare = "\n".join(line.removeprefix(PARKED) if line.startswith(PARKED) else "[]" for line in text.splitlines())
    numbers = set(section_lines(bare, name))
    return "".join(
        (line.removeprefix(PARKED) if number in numbers else line) + "\n"
        for number, line in enumerate(text.splitlines())
    )


def settings(text: str) -> dict[str, dict[str, str]]:
    """What a file sets, but for the workgroup, which Debian's installer fills in."""
    found = parse(text)
    found.get("global", {}).pop("workgroup", None)
    return found


def _included(text: str) -> str:
    match = re.search(rf"^{re.escape(BLOCK_BEGIN)}\n\s*include = (.*)\n{re.escape(BLOCK_END)}$", text, re.M)
    return match[1] if match else ""


def _without_block(text: str) -> str:
    return re.sub(rf"^{re.escape(BLOCK_BEGIN)}\n.*\n{re.escape(BLOCK_END)}\n", "", text, flags=re.M)


def _with_block(text: str, include: str) -> str:
    """At the end of [global]: whatever follows an include belongs to the section that the included file ends in."""
    block = f"{BLOCK_BEGIN}\n   include = {include}\n{BLOCK_END}\n"
    numbers = section_lines(text, "global")
    lines = text.splitlines(keepends=True)
    if not numbers:
        return f"[global]\n{block}{text}"
    last = numbers[-1]
    if not lines[last].endswith("\n"):
        lines[last] += "\n"
    return "".join([*lines[: last + 1], block, *lines[last + 1 :]])


def _mode(path: Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode) if path.exists() else 0o644
