"""Nobody else changes a site meanwhile; and what is done to it besides applying it is written down like a run."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from smbplan.drivers.turn import owner
from smbplan.engine.outcome import Entry
from smbplan.engine.step import Status
from smbplan.errors import CutShort, Refused, Trouble
from smbplan.report import document
from smbplan.store import files, runs

DONE, FAILED = "applied", "failed"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Deed:
    """What a person has told a program to do: `ha move`, say. `fields` are what it changes, each from what to what."""

    command: str
    address: str
    fields: Mapping[str, tuple[Any, Any]]

    @property
    def change(self) -> dict[str, Any]:
        """As a plan tells of changes."""
        told = [{"path": path, "before": old, "after": new} for path, (old, new) in self.fields.items()]
        return {"action": self.command, "address": self.address, "fields": told}


@contextmanager
def alone(site: str) -> Iterator[None]:
    """Nobody else changes the site from this machine. Raises Refused."""
    try:
        with runs.lock(site, owner()):
            yield
    except runs.Busy as busy:
        raise Refused(Trouble(f"site {site} is being changed by {busy.holder}", "wait until that run ends")) from None


def must_be_recovered(site: str) -> None:
    """Raises Refused where a run was cut short, or still goes on."""
    cut = runs.interrupted(site)
    if cut is None:
        return
    with alone(site):
        raise Refused(Trouble(f"run {cut.id} of site {site} was cut short", "smbplan recover puts things back first"))


@contextmanager
def written(site: str, deed: Deed, run: str = "") -> Iterator[None]:
    """The deed as a run of one step that is never taken back: before it is done, and how that went. Raises Refused."""
    step = f"{deed.command} {deed.address}"
    plan = {"command": deed.command, "steps": [], "changes": [deed.change]}

    def tell(status: Status, summary: str = "") -> None:
        journal = runs.Journal(started, owner())
        journal.write([Entry(step, status, summary)])
        journal.close()

    def finish(outcome: str, status: Status, troubles: Sequence[Trouble] = ()) -> None:
        tell(status, troubles[0].summary if troubles else "")
        row = {"id": step, "address": deed.address, "status": status}
        started.finish({"outcome": outcome, "steps": [row], **document.errors(troubles)}, owner())

    try:
        started = runs.start(site, plan, run, owner())
        tell(Status.DOING)
    except OSError as error:
        words = f"{step} can't be written down in {files.home()}: {error.strerror or error}"
        raise Refused(Trouble(words, "make room there, or have it writable; nothing was changed")) from None
    try:
        with signalled(_interrupt):
            yield
    except BaseException as error:
        known = error.troubles if isinstance(error, Refused) else ()
        with suppress(OSError):  # what has gone wrong is the news
            finish(FAILED, Status.FAILED, known or [Trouble(str(error) or type(error).__name__)])
        raise
    try:
        finish(DONE, Status.DONE)
    except OSError as error:
        words = f"{step} is done, but that can't be written down in {files.home()}: {error.strerror or error}"
        raise CutShort(Trouble(words, "make room there, or have it writable")) from None


def _interrupt(*_: object) -> None:
    """Once: nothing cuts short what that has put back."""
    for name in SIGNALS:
        signal.signal(name, lambda *_: None)  # children would go on with SIG_IGN
    raise KeyboardInterrupt


@contextmanager
def signalled(handler: Callable[..., None]) -> Iterator[None]:
    """What Ctrl-C, a closed terminal and a shutdown do meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {name: signal.signal(name, handler) for name in SIGNALS}
    try:
        yield
    finally:
        for name, known in former.items():
            signal.signal(name, known)
