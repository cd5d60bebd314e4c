"""What shows that nobody has altered what was written of runs.

Every line of a journal holds the hash of its words and of the line before it; the first line of a run stands on the
last one of the run before, and holds the hash of its plan. The hashes with which a run begins and ends go to the
system's log: whoever rewrites all of it here can't take them back there.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import syslog
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from smbplan.engine.resource import STRANGE

FIRST = "0" * 64  # what the first line of all stands on
TAG = "smbplan"  # in the system's log
HASH = re.compile("[0-9a-f]{64}")
ALTERED = "this line was altered, or one before it is gone"
UNASKED = "the system's log could not be asked: {}; what was cut off or written anew is not found out"
FOREIGN = "{} lines of the system's log that fit nothing here are somebody else's (uid {}): they count for nothing"
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


class Told(NamedTuple):
    """A hash in the system's log, and the user who had it written there."""

    uid: str
    site: str
    run: str
    hash: str
    home: str  # of the site's runs


@dataclass(frozen=True, slots=True)
class Log:
    """What the system's log remembers, or what is wrong with it."""

    told: tuple[Told, ...]
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The system's log knows `logged` hashes, and nothing (any more) of `unlogged`; None: it could not be asked."""

    site: str
    runs: int
    lines: int
    head: str
    logged: int | None
    unlogged: int | None
    flaws: tuple[Flaw, ...]
    warnings: tuple[str, ...]


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


def verify(site: str, home: Path, folders: Iterable[Path], log: Log) -> Verdict:
    """Of the folders of all runs of a site, the oldest first; all of them are in `home`."""
    wrong, hashes, expected, count = list[Flaw](), list[str](), set[str](), 0
    journals = {folder: chain(folder / "journal.jsonl") for folder in folders}
    known = {line.hash for found in journals.values() for line in found}
    for folder, found in journals.items():
        own = [line for line in found if line.hash]
        if found and not own and not hashes:
            continue  # of a version that sealed nothing
        count += 1
        if own and _hash(own[0].words, "previous") not in {*known, FIRST, ""}:
            wrong.append(Flaw(folder.name, own[0].number, "the run before it is gone, or was altered"))
        wrong += flaws(folder, found)
        hashes += [line.hash for line in own]
        expected |= {line.hash for line in own if "outcome" in line.words} or {line.hash for line in own[:1]}
    head = hashes[-1] if hashes else ""
    if log.wrong:
        return Verdict(site, count, len(hashes), head, None, None, tuple(wrong), (UNASKED.format(log.wrong),))
    mine = [told for told in log.told if (told.site, told.home) == (site, str(home))]
    logged = {told.hash: told.run for told in mine if told.uid in trusted(home)}
    words = "the system's log knows a line of it that is not here"
    wrong += [Flaw(run, 0, words) for one, run in logged.items() if one not in known]
    others = [told.uid for told in mine if told.uid not in trusted(home) and told.hash not in known]
    warnings = [FOREIGN.format(len(others), ", ".join(sorted(set(others))))] if others else []
    unlogged = len(expected - logged.keys())
    return Verdict(site, count, len(hashes), head, len(logged), unlogged, tuple(wrong), tuple(warnings))


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


def flaws(folder: Path, found: Sequence[Line]) -> Iterator[Flaw]:
    """What of a run with this chain is not what was written, by itself. What a crash has left is no flaw."""
    run = folder.name
    start = next((line for line in found if line.hash), None)
    if start is None:
        yield Flaw(run, 0, "its journal is gone")
        return
    if not _hash(start.words, "previous"):
        yield Flaw(run, start.number, "its beginning is gone")
    elif start.words.get("run") != run:
        yield Flaw(run, start.number, "it is another run: its folder was renamed")
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


def trusted(home: Path) -> set[str]:
    """Users whose lines in the system's log count for what is in a folder: anybody can write there."""
    with suppress(OSError):
        return {"0", str(os.getuid()), str(home.stat().st_uid)}
    return {"0", str(os.getuid())}


def log() -> Log:
    """All that it remembers of runs; who has written it is what the system says."""
    tool = shutil.which("journalctl")
    if tool is None:
        return Log((), "there is no journalctl")
    done = subprocess.run(
        [tool, "-q", "-t", TAG, "-o", "json", "--output-fields=MESSAGE,_UID", "--no-pager"],
        capture_output=True, text=True, errors="replace", check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return Log((), said[-1] if said else f"journalctl ends with {done.returncode}")
    return Log(tuple(_told(done.stdout)))


def _told(text: str) -> Iterator[Told]:
    """Without what is none of ours."""
    for line in text.split("\n"):
        with suppress(*STRANGE):
            found = json.loads(line)
            word, *words = found["MESSAGE"].split(" ", 4)
            if word == "audit":
                yield Told(str(found["_UID"]), *words)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
