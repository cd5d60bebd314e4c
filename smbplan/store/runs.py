"""Runs of a site on this machine: the plan, its journal, and how it ended.

STATE/SITE/lock                       held while a run lasts
STATE/SITE/runs/RUN/plan.json         the steps, written before the first one
STATE/SITE/runs/RUN/journal.jsonl     one line for each change of status; durable before it is acted on
STATE/SITE/runs/RUN/outcome.json      written last; a run without one was cut short
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smbplan.engine.execute import Entry
from smbplan.engine.step import Status, Step
from smbplan.store.codec import BadPlan, step_from_json


class Busy(Exception):
    """Another run of the site is going on."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"another run is going on: {holder}")
        self.holder = holder


def home() -> Path:
    """Where state is kept: $SMBPLAN_STATE, or the user's state folder."""
    from platformdirs import user_state_path

    return Path(os.environ.get("SMBPLAN_STATE") or user_state_path("smbplan"))


@dataclass(frozen=True, slots=True)
class Run:
    """One apply or destroy."""

    site: str
    id: str
    folder: Path

    def plan(self) -> Mapping[str, Any]:
        """Raises BadPlan."""
        try:
            document = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise BadPlan(f"run {self.id} has no readable plan", f"look into {self.folder}") from None
        return document if isinstance(document, dict) else {}

    def steps(self) -> tuple[Step, ...]:
        """Raises BadPlan."""
        try:
            return tuple(step_from_json(step) for step in self.plan()["steps"])
        except (KeyError, TypeError, ValueError):
            raise BadPlan(f"the plan of run {self.id} is damaged", f"look into {self.folder}") from None

    def entries(self) -> list[Entry]:
        """The journal; a torn last line is no entry."""
        found = []
        try:
            lines = (self.folder / "journal.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                data = json.loads(line)
                found.append(
                    Entry(data["step"], Status(data["status"]), data.get("summary", ""), data.get("detail", ""))
                )
            except (ValueError, KeyError, TypeError):
                continue  # torn by a crash, so never acted on; a recovery may have written after it
        return found

    def outcome(self) -> Mapping[str, Any] | None:
        """None: it was cut short."""
        try:
            data = json.loads((self.folder / "outcome.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None

    def finish(self, outcome: Mapping[str, Any]) -> None:
        _write(self.folder / "outcome.json", outcome)


class Journal:
    """Appends to a run's journal. See engine.execute.Journal."""

    def __init__(self, run: Run) -> None:
        self._file = os.open(run.folder / "journal.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            self._append(b"\n")  # behind a torn line
        _sync(run.folder)

    def write(self, entries: Sequence[Entry]) -> None:
        now = time.time()
        lines = [
            json.dumps({"time": now, "step": entry.step, "status": entry.status, **_words(entry)}) for entry in entries
        ]
        self._append(("\n".join(lines) + "\n").encode())
        os.fsync(self._file)

    def _append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        os.close(self._file)


def start(site: str, plan: Mapping[str, Any]) -> Run:
    """A new run; its plan is durable when this returns."""
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{secrets.token_hex(2)}"
    folder = home() / site / "runs" / name
    _make(folder)
    _write(folder / "plan.json", plan)
    _sync(folder.parent)
    return Run(site, name, folder)


def runs(site: str | None = None) -> list[Run]:
    """The newest first."""
    base = home()
    sites = [site] if site else sorted(path.name for path in base.glob("*") if path.is_dir())
    found = [Run(name, path.name, path) for name in sites for path in (base / name / "runs").glob("*")]
    return sorted(found, key=lambda run: run.id, reverse=True)


def interrupted(site: str) -> Run | None:
    """The run that was cut short and has to be recovered, if there is one."""
    return next((run for run in runs(site) if run.outcome() is None), None)


@contextmanager
def lock(site: str) -> Iterator[None]:
    """One run of a site at a time on this machine. Raises Busy."""
    folder = home() / site
    _make(folder)
    with os.fdopen(
        os.open(folder / "lock", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "a+", encoding="utf-8"
    ) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(file.read().strip()) from None
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield


def peers(site: str) -> dict[str, Any]:
    """The gateways that the site had when it was applied from here last."""
    try:
        data = json.loads((home() / site / "peers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def remember_peers(site: str, found: Mapping[str, Any]) -> None:
    _write(home() / site / "peers.json", found)


def _words(entry: Entry) -> dict[str, str]:
    return {name: value for name, value in (("summary", entry.summary), ("detail", entry.detail)) if value}


def _write(path: Path, data: Mapping[str, Any]) -> None:
    _make(path.parent)
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1, default=list)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _sync(path.parent)


def _make(folder: Path) -> None:
    """The folder, and what is missing above it, for the user alone."""
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    file = os.open(folder, os.O_RDONLY)
    os.fsync(file)
    os.close(file)
