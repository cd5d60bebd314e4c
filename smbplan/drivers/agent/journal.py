"""What runs have begun on this host, durable before it is done: whoever recovers a run, from wherever, reads it here.

STATE/journal/SITE/RUN      lines of JSON: who runs it; a step that is begun, with what undoing it needs; how that ended

It is dropped when its run has ended everywhere. `ended` is written first, on all hosts: where a host has dropped it,
the run had ended, whatever another one still says.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any, Iterator

from .core import STATE, Untouched, pinned, private, read_text, sync, tidy

DO, UNDO = "do", "undo"


class Journal:
    """Of one run of a site."""

    def __init__(self, site: str, run: str) -> None:
        self._path = STATE / "journal" / site / run

    def begin(self, about: dict[str, Any]) -> None:
        """Durable when this returns. Raises OSError."""
        if not self._path.exists():
            self._append([about])

    def doing(self, notes: list[dict[str, Any]]) -> None:
        """Raises Untouched where a step can't be written down, so that it must not be begun; undoing needs no line."""
        lines = [_line(note) for note in notes if note["way"] != "probe"]
        try:
            self._append(lines)
        except OSError as error:
            if any(note["way"] == DO for note in notes):
                raise Untouched(f"nothing can be written: {error.strerror}", str(self._path), "make room") from None

    def done(self, notes: list[dict[str, Any]], answers: list[Any]) -> None:
        """What can't be written down any more is unknown to a recovery, which looks."""
        found = [(note, _status(note, answer)) for note, answer in zip(notes, answers)]
        lines = [{"step": note["step"], "status": status} for note, status in found if status]
        with contextlib.suppress(OSError):
            self._append(lines)

    def end(self, outcome: str) -> None:
        """Raises OSError."""
        if self._path.exists():
            self._append([{"ended": outcome}])

    def drop(self, everything: bool) -> None:
        """This one; with `everything` those of earlier runs of the site, too. Raises Refused."""
        with contextlib.suppress(FileNotFoundError), pinned(self._path.parent) as folder:
            for path in list(folder.glob("*")) if everything else [folder / self._path.name]:
                path.unlink(missing_ok=True)
        _tidy(self._path.parent)

    def give_up(self) -> None:
        """Unless something was begun."""
        if len(list(_lines(self._path))) < 2:
            self.drop(False)

    def _append(self, lines: list[dict[str, Any]]) -> None:
        if not lines:
            return
        fresh = not self._path.exists()
        private(self._path.parent)
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
        try:
            now = time.time()  # a torn line before them stands alone
            data = "".join("\n" + json.dumps({**line, "time": now}) for line in lines).encode()
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        finally:
            os.close(file)
        if fresh:
            sync(self._path.parent)
            sync(self._path.parent.parent)


def runs(site: str) -> list[dict[str, Any]]:
    """{run, lines} of all that are known here."""
    folder = STATE / "journal" / site
    return [{"run": path.name, "lines": list(_lines(path))} for path in sorted(folder.glob("*"))]


def unfinished(site: str) -> list[dict[str, Any]]:
    """Those that nobody has ended: their first lines, and whether they have begun anything."""
    return open_of(runs(site))


def open_of(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of what `runs` tells, of several hosts as well: those of which none says that they have ended."""
    ended = {run["run"] for run in found if any("ended" in line for line in run["lines"])}
    rows = (run["lines"] for run in found if run["lines"] and run["run"] not in ended)
    return [{**lines[0], "begun": len(lines) > 1} for lines in rows]


def _line(note: dict[str, Any]) -> dict[str, Any]:
    if note["way"] == DO:
        return {"step": note["step"], "status": "doing", "words": note["words"]}
    return {"step": note["step"], "status": "undoing"}


def _status(note: dict[str, Any], answer: Any) -> str:
    """What a journal says of an answer; "" where that is still unknown."""
    if "ok" in answer:
        return "undone" if note["way"] == UNDO else "done"
    return "cancelled" if "untouched" in answer and note["way"] != UNDO else ""


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Without what a power failure has torn."""
    for text in (read_text(path) or "").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict):
                yield line


def _tidy(folder: Path) -> None:
    for each in (folder, folder.parent):
        with contextlib.suppress(OSError):
            each.rmdir()
    tidy()
