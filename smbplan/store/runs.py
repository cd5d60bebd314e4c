"""Runs of a site on this machine: the plan, its journal, and how it ended.

STATE/SITE/lock                       held while a run lasts
STATE/SITE/runs/RUN/plan.json         the steps, written before the first one
STATE/SITE/runs/RUN/journal.jsonl     one line for each change of status, sealed; durable before it is acted on
STATE/SITE/runs/.new-RUN              a run that is being written down, or could not be; nothing was done
STATE/SITE/runs/RUN/outcome.json      written last; a run without one was cut short
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smbplan.engine.encoding import step_from_json
from smbplan.engine.outcome import Entry
from smbplan.engine.resource import STRANGE
from smbplan.engine.step import Status, Step
from smbplan.store import audit, files
from smbplan.store.codec import BadPlan

ELSEWHERE = (
    "smbplan runs verify shows all of it; by what the targets have written down, smbplan recover works from another "
    "machine, or with another $SMBPLAN_STATE; or put things back by hand"
)
MAKING = ".new-"  # how the name of a run begins that is not written down yet
NAME = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


class Busy(Exception):
    """Another run of the site is going on."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"another run is going on: {holder}")
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Run:
    """One apply or destroy, or a command that does one thing."""

    site: str
    id: str
    folder: Path

    def plan(self) -> Mapping[str, Any]:
        """Raises BadPlan."""
        try:
            document = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
        except (OSError, *STRANGE):
            raise BadPlan(f"run {self.id} has no readable plan", f"look into {self.folder}") from None
        return document if isinstance(document, dict) else {}

    @property
    def begun(self) -> bool:
        """A folder that says nothing is what was left where the run could not be written down: nothing was done."""
        with suppress(BadPlan):
            return bool([self.plan()])
        return self.outcome() is not None or any(audit.lines(self.journal))

    @property
    def is_command(self) -> bool:
        """It was to do one thing besides an apply, of which nothing is to be taken back."""
        with suppress(BadPlan):
            return bool(self.plan().get("command"))
        return False

    def steps(self) -> tuple[Step, ...]:
        """Raises BadPlan."""
        try:
            return tuple(step_from_json(step) for step in self.plan()["steps"])
        except STRANGE:
            raise BadPlan(f"the plan of run {self.id} is damaged", f"look into {self.folder}") from None

    def lines(self) -> list[Mapping[str, Any]]:
        """The journal's words on steps."""
        return [line for line in self._told() if {"step", "status"} <= line.keys()]

    def _told(self) -> list[Mapping[str, Any]]:
        """What a crash has torn was never acted on, and what was altered or put in by others is not, either."""
        return [line.words for line in audit.chain(self.journal) if not line.flaw]

    def entries(self) -> list[Entry]:
        """The journal, as the engine has written it."""
        found = []
        for line in self.lines():
            with suppress(*STRANGE):
                words = (str(line.get(name, "")) for name in ("summary", "detail"))
                found.append(Entry(str(line["step"]), Status(line["status"]), *words))
        return found

    def tokens(self) -> tuple[str, ...]:
        """Those of the leases that its owners here have had."""
        return tuple(str(line["token"]) for line in self._told() if line.get("token"))

    def unkept(self) -> set[str]:
        """Targets that can't be asked what they have written down: they write down nothing."""
        return {str(line["unkept"]) for line in self._told() if line.get("unkept")}

    def ending(self) -> str:
        """How it ended by its journal, though not all may know; "" where that says nothing."""
        found = [str(line["ended"]) for line in self._told() if line.get("ended")]
        return found[-1] if found else ""

    def forgotten(self) -> Mapping[str, Any]:
        """When the targets have dropped what was kept for going back, and which; with `everything` of earlier runs."""
        return next((line for line in self._told() if line.get("forgotten")), {})

    def must_be_whole(self) -> None:
        """Raises BadPlan where its plan or its journal is not what was written; a torn last line is as good as none."""
        flaw = next(audit.flaws(self.folder, audit.chain(self.journal)), None)
        if flaw is not None:
            where = f"line {flaw.line} of its journal: " if flaw.line else ""
            raise BadPlan(f"run {self.id} is not what was written: {where}{flaw.text}", ELSEWHERE)

    def outcome(self) -> Mapping[str, Any] | None:
        """None: it was cut short."""
        try:
            data = json.loads((self.folder / "outcome.json").read_text(encoding="utf-8"))
        except (OSError, *STRANGE):
            return None
        return data if isinstance(data, dict) else None

    @property
    def ended(self) -> bool:
        """Whether it has an outcome. Every plan asks all runs that there were, and reads none that looks whole."""
        with suppress(OSError), (self.folder / "outcome.json").open("rb") as file:
            first = file.read(1)
            file.seek(-2, os.SEEK_END)
            if (first, file.read()) == (b"{", b"}\n"):
                return True
        return self.outcome() is not None

    def finish(self, outcome: Mapping[str, Any], operator: str = "", **cleanup: Any) -> None:
        """The journal knows how it ended before anybody else does, and what became of what was kept for going back."""
        path = self.folder / "outcome.json"
        _write(path.with_suffix(".new"), outcome)
        journal = Journal(self, operator)
        journal.note(outcome=audit.digest(path.with_suffix(".new")), **cleanup)
        journal.close()
        path.with_suffix(".new").replace(path)
        files.sync(self.folder)
        audit.tell(self.site, self.folder, journal.head)

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"


class Journal:
    """Appends to a run's journal, each line sealed; see store.audit, and engine.outcome.Journal."""

    def __init__(self, run: Run, operator: str = "", token: str = "") -> None:
        """`token` is that of the leases on the targets."""
        self.head = audit.head(run.journal)
        self._operator = operator
        self._file = os.open(run.journal, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            self._append(b"\n")  # behind a torn line
        files.sync(run.folder)
        if not self.head:
            before = (audit.head(each.journal) for each in runs(run.site) if each.id < run.id)
            self.head = next(filter(None, before), audit.FIRST)
            self.note(run=run.id, plan=audit.digest(run.folder / "plan.json"), previous=self.head, token=token)
        elif token:
            self.note(token=token)

    def write(self, entries: Sequence[Entry]) -> None:
        self._seal([{"step": entry.step, "status": entry.status, **_words(entry)} for entry in entries])

    def note(self, **words: Any) -> None:
        """What is no step."""
        self._seal([words])

    def _seal(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Durable when this returns."""
        now, text = time.time(), ""
        for line in lines:
            sealed = audit.sealed(self.head, {"time": now, "operator": self._operator, **line})
            self.head = sealed["hash"]
            text += f"{json.dumps(sealed)}\n"
        self._append(text.encode())
        os.fsync(self._file)

    def _append(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        os.close(self._file)


def named() -> str:
    """A name for a new run."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + f"-{secrets.token_hex(2)}"


def is_name(name: object) -> bool:
    """Whether it can be a run's: others may say anything."""
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def start(
    site: str,
    plan: Mapping[str, Any],
    name: str = "",
    operator: str = "",
    token: str = "",
    unkept: Sequence[str] = (),
) -> Run:
    """A new run, or one that has a name already; its plan and how its journal begins are durable when this returns.

    All of it has another name until then: a crash or a full disk leaves nothing that looks like a run. Raises OSError.
    """
    run = _of(site, name or named())
    home = run.folder.parent
    with _one_at_a_time(home):
        for left in home.glob(f"{MAKING}*"):
            shutil.rmtree(left, ignore_errors=True)
        making = replace(run, folder=home / f"{MAKING}{run.id}")
        _write(making.folder / "plan.json", plan)
        journal = Journal(making, operator, token)
        for target in unkept:
            journal.note(unkept=target)
        journal.close()
        if not run.begun:
            shutil.rmtree(run.folder, ignore_errors=True)
        making.folder.rename(run.folder)
        files.sync(home)
    audit.tell(site, run.folder, journal.head)
    return run


@contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """A command that is no apply may begin beside one, and must not drop what that is making."""
    files.make(home)
    folder = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def known(site: str, name: str) -> Run | None:
    """A run of this machine, or one that it has recovered."""
    run = _of(site, name)
    return run if run.begun else None


def outcome(site: str, name: str) -> Mapping[str, Any] | None:
    """How a run ended, if it is known here."""
    return _of(site, name).outcome()


def _of(site: str, name: str) -> Run:
    return Run(site, name, _runs(site) / name)


def _runs(site: str) -> Path:
    return files.home() / site / "runs"


def runs(site: str | None = None) -> list[Run]:
    """The newest first."""
    base = files.home()
    sites = [site] if site else sorted(path.name for path in base.glob("*") if path.is_dir())
    found = [Run(name, path.name, path) for name in sites for path in (base / name / "runs").glob("*")]
    return sorted((run for run in found if not run.id.startswith(MAKING)), key=lambda run: run.id, reverse=True)


def sites(log: audit.Log) -> list[str]:
    """Those with runs here, and those that the system's log knows to have had some."""
    known = audit.trusted(files.home())
    told = {each.site for each in log.told if each.uid in known and each.home == str(_runs(each.site))}
    return sorted({run.site for run in runs()} | told)


def verify(site: str, log: audit.Log | None = None) -> audit.Verdict:
    """Whether what is written of the runs of a site is what was written."""
    log = log or audit.log()  # first: what a run begins with is told when it is here
    return audit.verify(site, _runs(site), [run.folder for run in reversed(runs(site)) if run.begun], log)


def interrupted(site: str) -> Run | None:
    """The run that was cut short and has to be recovered, if there is one."""
    return next((run for run in runs(site) if not run.ended and run.begun and not run.is_command), None)


def stranded(site: str) -> Run | None:
    """The newest run, if a person was told to finish it."""
    newest = next((run for run in runs(site) if run.begun and not run.is_command), None)
    ended = newest.outcome() if newest else None
    return newest if ended and ended.get("outcome") == "stranded" else None


@contextmanager
def lock(site: str, owner: str = "") -> Iterator[None]:
    """One run of a site at a time on this machine. Raises Busy, with who and since when."""
    folder = files.home() / site
    files.make(folder)
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
        file.write(f"{owner or f'process {os.getpid()}'} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield


def peers(site: str) -> dict[str, Any]:
    """The gateways that the site had when it was applied from here last."""
    try:
        data = json.loads((files.home() / site / "peers.json").read_text(encoding="utf-8"))
    except (OSError, *STRANGE):
        return {}
    return data if isinstance(data, dict) else {}


def remember_peers(site: str, found: Mapping[str, Any]) -> None:
    _write(files.home() / site / "peers.json", found)


def _words(entry: Entry) -> dict[str, str]:
    return {name: value for name, value in (("summary", entry.summary), ("detail", entry.detail)) if value}


def _write(path: Path, data: Mapping[str, Any]) -> None:
    files.write(path, json.dumps(data, default=list) + "\n")
