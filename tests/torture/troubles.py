"""What goes wrong at one step of a run, on its target or on the controller. Each is as real as it can be made.

A trouble strikes the first time that the step's operation is sent, or that the journal tells of it.
"""

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

import pytest
from lab.faults import ERROR, Fault, Pool, where

from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Answered, ChannelError, Held, TakenOver, Unreachable
from smbplan.drivers.ha import Ha
from smbplan.drivers.pve.cluster import Cluster
from smbplan.drivers.pve.errors import Unreachable as ApiUnreachable
from smbplan.drivers.pve.inside import Inside
from smbplan.drivers.targets import Connect
from smbplan.engine.outcome import Entry
from smbplan.engine.step import Status, Step
from smbplan.kinds.guest import CLUSTER
from smbplan.store import runs

AGENTS = "pgrep -f 'exec[(]zlib'"  # smbplan's, on a machine
PATIENCE = 1.0  # seconds for one answer, where the target hangs
BALLAST = "/var/tmp/ballast"
FILL = f"""
fallocate -l "$(df --output=avail -B1 / | tail -n 1)" {BALLAST} || :
until ! dd if=/dev/zero bs=4k count=256 2>/dev/null; do :; done >>{BALLAST}
"""
FULL = "the disk is full"
SOON = 2.5  # seconds until it goes on
Shell = Callable[[str], str]  # a script's output, as root on the step's target


class Killed(BaseException):
    """The end of the controller: nothing more is written, nothing more is sent."""


@dataclass(frozen=True)
class Place:
    """Where a target is. `shell` reaches it past smbplan; `host` is what is gone with it, and what hangs."""

    shell: Shell
    restart: Callable[[], object]
    host: str
    midst: float = 0.0  # seconds after which it is in the midst of a change
    disk: bool = False  # it has one of its own, which can be full


@dataclass
class Trouble:
    """`last` is a step that fails where the way back is what is tried."""

    kind: str
    step: Step
    place: Place
    last: Step | None = None
    struck: bool = False
    away: bool = False  # the target, for good
    patience: float = inf  # with the target, in seconds
    deaths: int = 0  # of the controller
    _pool: Pool = field(default_factory=Pool)

    # The target's side

    def connect(self, endpoint: Endpoint, counts: Counts) -> Channel:
        line = self._pool.found(where(endpoint), self, lambda: Line(endpoint, counts))
        assert isinstance(line, Line)
        return line

    def wakes(self) -> None:
        """Its agents go on; a guest may be gone by then."""
        with suppress(AssertionError):
            self.place.shell(f"kill -CONT $({AGENTS})")

    def sleeps(self) -> None:
        self.place.shell(f"kill -STOP $({AGENTS})")

    def struck_at(self, endpoint: Endpoint) -> bool:
        """Whether this is a way to what is gone, or hangs."""
        return self.place.host in (endpoint.name, endpoint.host, endpoint.guest)

    def enter(self, there: Channel) -> Channel:
        """The way into a guest; a machine's is no connection of its own."""
        if not isinstance(there, Inside):
            return there
        line = self._pool.found(there.path, self, lambda: InsideLine(there.endpoint, there.counts, path=there.path))
        assert isinstance(line, InsideLine)
        line.counts, line.client = there.counts, there.client
        return line

    def ask(self, real: Callable[..., Any], verb: str, given: Mapping[str, Any]) -> Any:
        """A cluster's API."""
        if self.away and self.step.target == CLUSTER:
            raise ApiUnreachable("seeded: it is away")
        return self.perform(CLUSTER, None, real, given) if verb == "perform" else real(**given)

    def perform(
        self, target: str, line: "Meets | None", request: Callable[..., list[Any]], given: Mapping[str, Any]
    ) -> list[Any]:
        """The answers to a batch of operations."""
        if self.last and (hit := self._place(self.last, target, given)) is not None:
            self.last = None
            return _fails(self, line, request, given, hit)
        hit, strike = self._place(self.step, target, given), STRIKES.get(self.kind)
        if hit is None or strike is None or self.struck:
            return request(**given)
        self.struck = True
        return strike(self, line, request, given, hit)

    @staticmethod
    def _place(step: Step, target: str, given: Mapping[str, Any]) -> int | None:
        if target != step.target:
            return None
        wanted = Fault(step, "").wanted
        return next((number for number, op in enumerate(given["ops"]) if Fault.name(op) == wanted), None)

    # The controller's side

    def write(self, entries: Sequence[Entry], real: Callable[[Sequence[Entry]], None]) -> None:
        """What the journal is told; raises Killed where the controller dies before or after that is durable."""
        told = {(entry.step, entry.status) for entry in entries}
        death = next(iter(DEATHS.get(self.kind, ())[self.deaths : self.deaths + 1]), None)
        if death is None or (self.step.id, death.status) not in told:
            real(entries)
            return
        self.deaths += 1
        self.struck = True
        if death.durable:
            real(entries)
        raise Killed

    def torn(self, site: str) -> None:
        """What a power failure leaves of the journal's last line."""
        cut = runs.interrupted(site)
        if self.kind == "power fails" and cut:
            text = cut.journal.read_bytes()
            cut.journal.write_bytes(text[: -len(text.splitlines()[-1]) // 2])

    def repair(self) -> None:
        """What a person does before anything else."""
        self.away = False
        if self.kind == FULL:
            with suppress(AssertionError, StopIteration):  # it may be gone
                self.place.shell(f"rm -f {BALLAST}")
        self._pool.close()
        self._pool.clear()

    def close(self) -> None:
        self._pool.close()


class Meets:
    """Before the class of a channel: it meets the trouble."""

    fault: Trouble
    endpoint: Endpoint
    _process: "subprocess.Popen[bytes] | None"

    def open(self) -> None:
        if self.fault.away and self.fault.struck_at(self.endpoint):
            raise Unreachable(f"{self.endpoint.name}: seeded: it is away")
        if self.ended:  # type: ignore[attr-defined]
            self.hang_up()
        super().open()  # type: ignore[misc]

    def close(self) -> None:
        """A run has ended; the next one need not log in."""

    def hang_up(self) -> None:
        super().close()  # type: ignore[misc]

    def request(self, verb: str, timeout: float = 900.0, **arguments: Any) -> Any:
        real = partial(self.patiently, verb, timeout)
        if verb != "perform":
            return real(**arguments)
        try:
            return self.fault.perform(self.endpoint.name, self, real, arguments)
        except ChannelError:
            self.hang_up()
            raise

    def patiently(self, verb: str, timeout: float, **given: Any) -> Any:
        patience = self.fault.patience if self.fault.struck_at(self.endpoint) else inf
        try:
            return super().request(verb, min(timeout, patience), **given)  # type: ignore[misc]
        except (Answered, Held, TakenOver):
            raise
        except ChannelError:
            self.hang_up()
            raise


class Line(Meets, Channel):
    """Over SSH."""


class InsideLine(Meets, Inside):
    """By a guest agent."""


Request = Callable[..., list[Any]]
Strike = Callable[[Trouble, Meets | None, Request, Mapping[str, Any], int], list[Any]]


def _fails(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    ops = given["ops"]
    answers = request(**{**given, "ops": ops[:hit] + ops[hit + 1 :]})
    return [*answers[:hit], ERROR, *answers[hit:]]


def _half(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    answers = request(**given)
    return [*answers[:hit], ERROR, *answers[hit + 1 :]]


def _lost(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    request(**given)
    raise ChannelError("seeded: the answer was lost")


def _drops(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    """The connection breaks while the target is at work."""
    assert line is not None and line._process is not None
    threading.Timer(trouble.place.midst or 0.02, line._process.kill).start()
    return request(**given)


def _gone(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    """With what it had done by then."""
    request(**given)
    trouble.away = True
    raise ChannelError("seeded: the line is dead")


def _hangs(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    """Longer than anybody waits; and goes on with what it was asked while that is undone."""
    begins = trouble.place.midst
    if begins:
        threading.Timer(begins, trouble.sleeps).start()
    else:
        trouble.sleeps()
    threading.Timer(begins + SOON, trouble.wakes).start()
    trouble.patience = begins + PATIENCE
    try:
        return request(**given)
    finally:
        trouble.patience = inf


def _full(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    """No file can grow any more, until somebody logs in anew."""
    trouble.place.shell(f"for each in $({AGENTS}); do prlimit --pid $each --fsize=0; done")
    return request(**given)


def _no_room(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    """Not a block is left on its disk, until somebody makes room."""
    trouble.place.shell(FILL)
    return request(**given)


def _restarts(trouble: Trouble, line: Meets | None, request: Request, given: Any, hit: int) -> list[Any]:
    """All its processes end, and its services start anew; what it had done is not told any more."""
    request(**given)
    trouble.place.restart()
    raise ChannelError("seeded: the target has restarted")


# Of a machine of the lab, whose file systems would go with it: whatever runs is killed, and what has died starts again.
RESTART = """
kill -9 -1 2>/dev/null; sleep 0.5
dead=$(systemctl list-units --plain --no-legend --state=failed,auto-restart --type=service | awk '{print $1}')
systemctl reset-failed; [ -z "$dead" ] || systemctl start $dead || true
timeout 30 systemctl is-system-running --wait || true
"""

STRIKES: dict[str, Strike] = {
    "it fails": _fails,
    "it says that it failed": _half,
    "its answer is lost": _lost,
    "the target hangs": _hangs,
    "the connection drops": _drops,
    "the target is gone": _gone,
    "nothing can be written": _full,
    FULL: _no_room,
    "the target restarts": _restarts,
}


@dataclass(frozen=True)
class Death:
    """Of the controller, when its journal comes to this; `durable` is whether that is still written."""

    status: Status
    durable: bool


DEATHS: dict[str, tuple[Death, ...]] = {
    "killed before it": (Death(Status.DOING, True),),
    "killed after it": (Death(Status.DONE, False),),
    "power fails": (Death(Status.DONE, True),),
    "killed in its undo": (Death(Status.UNDOING, True),),
    "killed after its undo": (Death(Status.UNDONE, False),),
    "killed twice": (Death(Status.DONE, False), Death(Status.UNDOING, True)),
    "killed in three": (Death(Status.DOING, True), Death(Status.UNDOING, True), Death(Status.UNDONE, False)),
}
BACKWARDS = {"killed in its undo", "killed after its undo"}  # another step's failure begins the undo
KINDS = (*STRIKES, *DEATHS)
# What a cluster's API can't meet, which is no agent of ours; and a guest agent, which is no connection.
NEVER = {
    CLUSTER: {"the target hangs", "the connection drops", "nothing can be written"},
    "machine": {"the target hangs", "the connection drops"},
}


def clustered(trouble: Trouble, patched: pytest.MonkeyPatch) -> None:
    """What the nodes do together meets it, by the first of them; and what is done on all of them for sessions."""
    perform, everywhere = Ha._perform, Ha._everywhere

    def first(cluster: Ha) -> Meets | None:
        line = cluster._entered(next(iter(cluster._members())))
        return line if isinstance(line, Line) else None

    def performed(self: Ha, request: Mapping[str, Any]) -> list[Any]:
        return trouble.perform(self.endpoint.name, first(self), lambda **given: perform(self, given), request)

    def spread(self: Ha, request: Mapping[str, Any]) -> Any:
        def each(**given: Any) -> list[Any]:
            return [everywhere(self, {**request, "op": op}) for op in given["ops"]]

        return trouble.perform(self.name, first(self), each, {"ops": [request["op"]]})[0]

    patched.setattr(Ha, "_perform", performed)
    patched.setattr(Ha, "_everywhere", spread)


def watched(trouble: Trouble, patched: pytest.MonkeyPatch) -> Connect:
    """The journal and the connections of a run meet the trouble."""
    clustered(trouble, patched)
    real = runs.Journal.write

    def write(self: runs.Journal, entries: Sequence[Entry]) -> None:
        trouble.write(entries, partial(real, self))

    patched.setattr(runs.Journal, "write", write)
    enter, ask = Cluster.enter, Cluster.request
    patched.setattr(Cluster, "enter", lambda self, *words: trouble.enter(enter(self, *words)))

    def request(self: Cluster, verb: str, timeout: float = 0.0, **given: Any) -> Any:
        return trouble.ask(partial(ask, self, verb, timeout), verb, given)

    patched.setattr(Cluster, "request", request)
    return trouble.connect
