"""The targets of a site while they are changed: whose turn it is, and what is done. The only I/O on managed hosts."""

import secrets
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any

from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import TALKS, ChannelError, Held, TakenOver, Unreachable
from smbplan.drivers.secrets import MissingSecret
from smbplan.drivers.targets import AnyChannel, Connect, Targets
from smbplan.drivers.turn import BEAT, Claim, owner
from smbplan.drivers.wire import answer_of, answers_of, encode, note, result
from smbplan.engine.outcome import Result
from smbplan.engine.step import Work
from smbplan.kinds.guest import CLUSTER

MEETING = 3.0  # seconds; two that begin at the same moment need not refuse each other
TOLD = 10.0  # seconds that a target is given to hear that a run has ended
AWAY = 90.0  # seconds that a target which was there before is waited for
LOCK_WAIT = 120.0  # seconds; an agent whose connection was lost first ends what it does
EVERYWHERE = ("reload", "restart", "close")  # calls that every node of a cluster gets


class Fleet(Targets):
    """A context manager."""

    def __init__(
        self,
        site: str,
        endpoints: Mapping[str, Endpoint],
        connect: Connect = Channel,
        kept: Mapping[str, Channel] | None = None,
    ) -> None:
        """`kept` are channels of a fleet before this one."""
        super().__init__(site, endpoints, connect, kept)
        self.claim: Claim | None = None  # of the run for which targets are changed
        self.taken_over: TakenOver | None = None  # somebody else has the run
        self.owner = owner()
        self._away: set[str] = set()  # targets that were waited for in vain
        self._locked: dict[str, float] = {}  # targets whose turn it is, and when they said so last
        self._asked: set[str] = set()  # targets that may be locked, whatever they have answered
        self._talker = threading.Thread(target=self._keep_talking, daemon=True)

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._talker.is_alive():
            self._talker.join(1.0)
        with self._guard:  # what is still being made is closed by who makes it
            known = list(self._channels.values())
        for channel in known:
            channel.close()

    def begin(self, run: str, targets: Sequence[str], former: Sequence[str] = (), **known: Any) -> None:
        """From now on targets are changed for this run. `known` are other words of its Claim."""
        everywhere = sorted({*targets, *({CLUSTER} & self.endpoints.keys())})  # its lock is the site's
        hosts = tuple(target for target in everywhere if self._is_host(self.endpoints[target]))
        token, now = secrets.token_hex(8), time.time()
        self.claim = Claim(self.site, run, self.owner, now, token, tuple(everywhere), hosts, tuple(former), **known)
        if not self._talker.is_alive() and not self._ended.is_set():
            self._talker = threading.Thread(target=self._keep_talking, daemon=True)
            self._talker.start()

    def keeper(self, target: str) -> str:
        """The target on which what a run does on this one is written down, and by whose lease."""
        return CLUSTER if self._is_of_guests(self.endpoints[target]) and CLUSTER in self.endpoints else target

    @property
    def locked(self) -> Collection[str]:
        return self._locked.keys()

    def met(self) -> list[Mapping[str, Any]]:
        """Whom it waited for, as targets tell."""
        met = (getattr(self._channels.get(target), "met", None) for target in self._locked)
        return [lease for lease in met if lease]

    def unkept(self) -> list[str]:
        """Targets of the run that write nothing down."""
        known = {target: self._channels[target] for target in self._locked}
        return [target for target, channel in known.items() if getattr(channel, "unkept", False)]

    @property
    def changes(self) -> bool:
        return self.claim is not None

    @property
    def token(self) -> str:
        return self.claim.token if self.claim else ""

    def lock(self, wait: float = 0.0) -> dict[str, Any]:
        """What each target says of other runs, or the ChannelError that it raised.

        All at once; where two want the same ones, the one that gets the first by name gets the others, too.
        """
        targets = self.claim.targets if self.claim else ()
        wait = max(wait, MEETING)
        found = self.each(targets, lambda target: self._lock(target, wait))
        if any(isinstance(answer, Held) for answer in found.values()):
            self.release()
            for target in sorted(targets, key=lambda target: (target != CLUSTER, target)):
                found[target] = self.each([target], lambda target: self._lock(target, wait))[target]
                if isinstance(found[target], Held):
                    self.release()
                    break
        return found

    def _lock(self, target: str, wait: float) -> list[Any]:
        """Raises ChannelError."""
        assert self.claim is not None
        if self.keeper(target) != target:
            self.channel(target)
            return []
        again = target in self._locked
        if not again and time.clock_gettime(time.CLOCK_BOOTTIME) - min(self._locked.values(), default=inf) > TALKS:
            self._talk()  # this machine may have slept: nobody may have the run by now
        claim = self.claim
        self._asked.add(target)
        found = self.channel(target).lock(replace(claim, sole=self._has_site()), wait, again)
        if self.claim is claim:
            self._locked[target] = time.clock_gettime(time.CLOCK_BOOTTIME)
        return found

    def _has_site(self) -> bool:
        """Whether the site's lease on its Proxmox cluster is this run's. A guest that was off knows nothing of that."""
        return CLUSTER in self._locked and not getattr(self._channels.get(CLUSTER), "unkept", False)

    def _heard(self, target: str) -> None:
        if target in self._locked:
            self._locked[target] = time.clock_gettime(time.CLOCK_BOOTTIME)

    def _keep_talking(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(Exception):  # who works next is told, and nothing ends the talk
                self._talk()

    def _talk(self) -> None:
        """A sign of life to all locked targets. Raises TakenOver."""

        def beat(target: str) -> None:
            channel = self._channels[target]
            if isinstance(channel, Channel) and (not channel.locked or channel.ended):
                self._lock(target, 0.0)  # over a new connection
            else:
                channel.beat()
            self._heard(target)

        known = [target for target in list(self._locked) if target in self._channels]
        for target, answer in self.each(known, beat).items():
            if isinstance(answer, TakenOver) and self._is_host(self.endpoints[target]):
                self.taken_over = self.taken_over or answer
        if self.taken_over:
            raise self.taken_over

    def ended(self, outcome: str) -> list[str]:
        """Have all targets know how the run ended, before any forgets it. Those that could not be told."""
        self.each(self._asleep(), lambda target: self._lock(target, 0.0))
        left, deadline = list(self._locked), time.monotonic() + min(AWAY, TOLD)
        while left and not self.taken_over:
            told = self.each(left, lambda target: self._tell(target, "ended", outcome=outcome))
            hosts = {name: each for name, each in told.items() if self._is_host(self.endpoints[name])}
            self.taken_over = next((each for each in hosts.values() if isinstance(each, TakenOver)), None)
            left = [name for name, answer in told.items() if isinstance(answer, ChannelError)]
            if self._has_site():  # the cluster knows; it is asked what became of a run of which only a guest tells
                left = [name for name in left if not self.endpoints[name].guest]
            left = [name for name in left if name not in self._away and not isinstance(told[name], TakenOver)]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(1)
        return left

    def _asleep(self) -> list[str]:
        """What a cluster serves, and has not been met: it may be there when the run has changed the cluster."""
        targets = self.claim.targets if self.claim else ()
        met = self._locked.keys()
        return [name for name in targets if self.endpoints[name].of and name not in met and self.keeper(name) == name]

    def finish(self, everything: bool) -> list[str]:
        """Drop the run's before-images and journals; with `everything` those of earlier, stranded runs too.

        The targets that have forgotten it.
        """
        told = self.each(list(self._locked), lambda target: self._tell(target, "finish", everything=everything))
        assert self.claim is not None
        others = [name for name in self.claim.targets if self.keeper(name) != name]
        given: dict[str, Any] = {"site": self.site, "run": self.claim.run, "everything": everything}
        told |= self.each(others, lambda target: self._forget(target, **given))
        return sorted(target for target, answer in told.items() if not isinstance(answer, Exception))

    def _forget(self, target: str, **given: Any) -> None:
        """Of what guests share; their hosts see it, too, when the last of these is gone. Raises ChannelError."""
        at = self.endpoints[target]
        try:
            if at.of or target in self._channels:
                self.ask(target, "finish", **given)
        except ChannelError:
            hosts = [name for name, host in self.endpoints.items() if host.node] if at.of else []
            for answer in self.each(hosts, lambda host: self._forget_by(host, at.home, **given)).values():
                if isinstance(answer, Exception):
                    raise answer from None

    def _forget_by(self, host: str, home: str, **given: Any) -> None:
        """Raises ChannelError."""
        channel = self._made(self.endpoints[host].at_home(home), Counts())
        try:
            channel.request("finish", **given)
        finally:
            channel.close()

    def release(self) -> None:
        """It is not the run's turn any more, until it locks targets anew."""
        claim, targets = self.claim, [target for target in self._asked if target in self._channels]
        if claim is None:
            return
        self._locked, self._asked = {}, set()
        self.claim = replace(claim, token=secrets.token_hex(8))
        self.each(targets, lambda target: self._channels[target].release(claim))

    def _tell(self, target: str, verb: str, **words: Any) -> None:
        """Over a new connection, if the last thing that was asked has cost the old one. Raises ChannelError."""
        assert self.claim is not None
        self._lock(target, 0.0)
        self.ask(target, verb, site=self.site, run=self.claim.run, token=self.token, **words)

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        """See engine.outcome.Runner."""
        try:
            ops = [{**self._secrets.resolve(encode(work.op)), "note": note(work)} for work in works]
        except MissingSecret as error:
            return [Result(False, error.summary, "", error.hint, untouched=True)] * len(works)
        try:
            return [result(each) for each in self._patiently(target, ops)]
        except ChannelError as error:
            untouched = isinstance(error, Unreachable | TakenOver | Held)
            return [Result(False, error.summary, error.detail, error.hint, untouched=untouched, lost=True)] * len(ops)

    def _patiently(self, target: str, ops: Sequence[Any]) -> Sequence[Any]:
        """A target that is away, as one that reboots, is waited for; once in a run. Raises ChannelError."""
        deadline = time.monotonic() + (0.0 if target in self._away else AWAY)
        while True:
            try:
                if self.taken_over:
                    raise self.taken_over
                channel = self.channel(target)
                self._lock(target, LOCK_WAIT)
                found = self._performed(target, channel, ops)
                self._heard(target)
                channel.counts.operations += len(ops)
                return found
            except TakenOver as error:
                if self._is_host(self.endpoints[target]):
                    self.taken_over = self.taken_over or error
                else:
                    self._talk()  # what a guest says, a host has to confirm
                raise self.taken_over or ChannelError(error.summary, "", error.hint) from None
            except Unreachable:
                if time.monotonic() >= deadline:
                    self._away.add(target)
                    raise
                time.sleep(1)

    def _performed(self, target: str, channel: AnyChannel, ops: Sequence[Any]) -> Sequence[Any]:
        """Written down with it, or before and after where that is done elsewhere. Raises ChannelError."""
        assert self.claim is not None
        request, keeper = dict[str, Any](site=self.site, run=self.claim.run), self.keeper(target)
        if keeper == target:
            return self._spread(target, channel, ops, {**request, "token": self.token})
        there, notes = self.cluster, [op["note"] for op in ops]
        there.note(notes=notes)
        found = self._spread(target, channel, ops, request)
        with suppress(ChannelError):  # unknown to a recovery, which looks
            there.note(notes=notes, answers=found)
        return found

    def _spread(
        self, target: str, channel: AnyChannel, ops: Sequence[Any], request: Mapping[str, Any]
    ) -> Sequence[Any]:
        """Of what a cluster serves, sessions are on any node: what is for sessions goes to all. Raises ChannelError."""
        at = self.endpoints[target]
        spread = [bool(at.of) and op.get("call") in EVERYWHERE for op in ops]
        here = [op for op, everywhere in zip(ops, spread, strict=True) if not everywhere]
        told = channel.request("perform", ops=here, **request) if here else []
        found = iter(answers_of(target, told, len(here)))
        return [
            self._everywhere(target, op, request) if everywhere else next(found)
            for op, everywhere in zip(ops, spread, strict=True)
        ]

    def _everywhere(self, target: str, op: Any, request: Mapping[str, Any]) -> Any:
        """Written down where the steps before it are. Raises ChannelError."""
        plain = {name: value for name, value in request.items() if name != "token"}
        if "token" in request:
            self._note(target, op)
        found = answer_of(target, self.ask(self.endpoints[target].of, "everywhere", op=op, **plain))
        if "token" in request:
            self._note(target, op, answers=[found])
        return found

    def _note(self, target: str, op: Any, **more: Any) -> None:
        """Raises ChannelError."""
        assert self.claim is not None
        self._tell(target, "note", about=self.claim.about(guest=True), notes=[op["note"]], **more)
