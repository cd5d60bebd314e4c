"""What shows that nobody has altered what was written of runs.

Every line of a journal holds the hash of its words and of the line before it; the first line of a run stands on the
last one of the run before, and holds the hash of its plan. The newest hash goes to the system's log: whoever rewrites
all of it here can't take it back there.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import syslog
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from smbplan.engine.resource import STRANGE

FIRST = "0" * 64  # what the first line of all stands on
TAG = "smbplan"  # in the system's log
HASH = re.compile("[0-9a-f]{64}")
ALTERED = "this line was altered, or one before it is gone"
UNSEALED = "this line is not sealed: smbplan did not write it"


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is not as it was written. `line` is 0 for what is no line of the journal."""

    run: str
    line: int
    text: str


class Line(NamedTuple):
    """One of a journal. With a flaw it is not to be acted on."""

    number: int
    words: Mapping[str, Any]
    hash: str
    flaw: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`logged` is how many hashes the system's log knew; None where it could not be asked."""

    site: str
    runs: int
    lines: int
    head: str
    logged: int | None
    flaws: tuple[Flaw, ...]


def sealed(previous: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """A line that stands on the one whose hash is `previous`."""
    return {**data, "hash": _digest(previous.encode() + json.dumps(data, sort_keys=True).encode())}


def digest(path: Path) -> str:
    """Of a file; "" of none."""
    try:
        return _digest(path.read_bytes())
    except OSError:
        return ""


def head(journal: Path) -> str:
    """The hash of the last line that has one; "" of none."""
    found = [_hash(line) for _, line in lines(journal)]
    return next(filter(None, reversed(found)), "")


def tell(site: str, folder: Path, found: str) -> None:
    """Have the system's log remember the newest hash of a run. syslog(3)"""
    syslog.openlog(TAG, 0, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_NOTICE, f"audit {site} {folder.name} {found} {folder.parent}")


def verify(site: str, home: Path, folders: Iterable[Path]) -> Verdict:
    """Of the folders of all runs of a site, the oldest first; all of them are in `home`."""
    wrong, hashes, previous, count = list[Flaw](), list[str](), "", 0
    folders = list(folders)
    known = {_hash(line) for each in folders for _, line in lines(each / "journal.jsonl")}
    for folder in folders:
        found = chain(folder / "journal.jsonl")
        own = [line.hash for line in found if line.hash]
        if not own and not hashes:
            continue  # of a version that sealed nothing
        count += 1
        start = next((line for line in found if line.hash), None)
        stands_on = _hash(start.words, "previous") if start else ""
        if start and previous and stands_on and stands_on not in known:
            wrong.append(Flaw(folder.name, start.number, "the run before it is gone, or was altered"))
        wrong += flaws(folder)
        hashes += own
        previous = hashes[-1] if hashes else previous
    told = _logged(site, home)
    wrong += [
        Flaw(run, 0, "the system's log knows a line of it that is not here")
        for run, one in told or ()
        if one not in known
    ]
    return Verdict(site, count, len(hashes), previous, None if told is None else len(told), tuple(wrong))


def chain(journal: Path) -> list[Line]:
    """Its lines, each judged by the one before it; where none is sealed, a version that sealed nothing wrote them."""
    found = [(number, line, _hash(line)) for number, line in lines(journal)]
    first = next((line for _, line, own in found if own), None)
    if first is None:
        return [Line(number, line, "", "") for number, line, _ in found]
    stands_on, judged = _hash(first, "previous") or FIRST, list[Line]()
    for number, line, own in found:
        flaw = "" if _fits(stands_on, line) else ALTERED if own else UNSEALED
        judged.append(Line(number, line, own, flaw))
        stands_on = own or stands_on
    return judged


def flaws(folder: Path) -> Iterator[Flaw]:
    """What of a run is not what was written, by itself. What a crash has left is no flaw."""
    run, found = folder.name, chain(folder / "journal.jsonl")
    start = next((line for line in found if line.hash), None)
    if start is None:
        yield Flaw(run, 0, "its journal is gone")
        return
    if not _hash(start.words, "previous"):
        yield Flaw(run, start.number, "its beginning is gone")
    elif start.words.get("plan") != digest(folder / "plan.json"):
        yield Flaw(run, 0, "its plan was altered")
    yield from (Flaw(run, line.number, line.flaw) for line in found if line.flaw)
    ends = ["", *(line.words["outcome"] for line in found if line.hash and "outcome" in line.words)]
    now, coming = (digest(folder / f"outcome.{end}") for end in ("json", "new"))
    if now != ends[-1] and not (coming == ends[-1] and now in ends):  # it died between its journal and its outcome
        yield Flaw(run, 0, "its outcome was altered")


def lines(journal: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """With their numbers; without what a crash has torn."""
    try:
        text = journal.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found = json.loads(line)
        except STRANGE:
            continue
        if isinstance(found, dict):
            yield number, found


def _hash(line: Mapping[str, Any], name: str = "hash") -> str:
    """What the line says it is; "" where that is no hash."""
    found = line.get(name)
    return found if isinstance(found, str) and HASH.fullmatch(found) else ""


def _fits(previous: str, line: Mapping[str, Any]) -> bool:
    words = {name: value for name, value in line.items() if name != "hash"}
    try:
        return bool(sealed(previous, words)["hash"] == line.get("hash"))
    except STRANGE:
        return False


def _logged(site: str, home: Path) -> list[tuple[str, str]] | None:
    """(run, hash) of those that the system's log remembers; others may keep runs of that site elsewhere."""
    tool = shutil.which("journalctl")
    if tool is None:
        return None
    done = subprocess.run(
        [tool, "-q", "-t", TAG, "-o", "cat", "--no-pager"],
        capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    rows = (line.split(" ", 4) for line in done.stdout.splitlines())
    return [(row[2], row[3]) for row in rows if row[:2] == ["audit", site] and row[4:] == [str(home)]]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
