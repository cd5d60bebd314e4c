"""The nodes of a cluster as one target: what all of them say of it, and changes that go from node to node.

Every node is asked by an agent of its own, whose notes are kept on what the nodes share.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from smbplan.drivers import errors, ha_looks, ha_preflight
from smbplan.drivers.agent.core import matches
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, Answered, Asleep, ChannelError, TakenOver, Unreachable, as_error
from smbplan.drivers.ha_looks import DIFFERENT, DOWN, NOBODY, Looks
from smbplan.drivers.ha_nodes import Enter, at_once, good, unfinished
from smbplan.drivers.turn import Claim, written_down
from smbplan.kinds.cluster import OK

RESTARTING = ("leader_timeout", "realtime")  # what ctdbd reads when it starts, besides its lock
READY = 90.0  # seconds that a node has to become healthy: it recovers databases and starts Samba first
DRAINED = 30.0
AWAY = (Unreachable, Absent, Asleep)
NOTICED = 1.5  # seconds after which CTDB has noticed that smbd was away, if it does


class Ha:
    """The channel to a cluster. See drivers.channel.Channel. `enter` makes one to a node."""

    def __init__(self, endpoint: Endpoint, site: str, counts: Counts, enter: Enter) -> None:
        self.endpoint, self.site, self.counts = endpoint, site, counts
        self._enter = enter
        self._channels: dict[str, Channel] = {}
        self._turn = threading.RLock()  # what sessions need may come while the cluster itself changes
        self._claim: Claim | None = None
        self._locked: set[str] = set()  # nodes
        self._warnings: list[str] = []
        self._part: dict[str, str] = {}  # the site and the run that is being performed

    @property
    def name(self) -> str:
        return PurePosixPath(self.endpoint.home).name

    def open(self) -> None:
        """Raises ChannelError."""
        self._look()

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()
        self._channels.clear()

    def lock(self, claim: Claim, wait: float = 0.0, again: bool = False) -> list[Any]:
        """Nobody else changes the cluster until the run ends. Raises ChannelError, Held and TakenOver."""
        self._claim = claim
        with self._turn:
            try:
                for name in sorted(self._members()):
                    with suppress(*AWAY if claim.partly else ()):
                        self._entered(name).lock(claim, wait, again, **self._lease)
                        self._locked.add(name)
            except ChannelError:
                if not again:
                    self.release(claim)
                raise
        asked = [] if again else sorted(self._locked)[:1]
        known = (unfinished(self._channels[name], self._site, self._lock) for name in asked)
        return [row for rows in known for row in rows if row.get("run") != claim.run]

    def release(self, claim: Claim) -> None:
        """Of all nodes on which it may be held."""
        self._claim, self._locked = None, set()
        at_once(list(self._channels), lambda name: self._channels[name].release(claim, **self._lease))

    def beat(self) -> None:
        """To nodes that are not at work. Raises ChannelError and TakenOver."""
        for channel in list(self._channels.values()):
            channel.beat(lease=self._lock)

    @property
    def _lease(self) -> dict[str, Any]:
        """Each node has its own; what is written down is on what they share, by one of them."""
        return {"lease": self._lock, "bare": True}

    @property
    def _lock(self) -> str:
        return f"{self.site}-ha-{self.name}"

    def _members(self) -> dict[str, Endpoint]:
        return {name: Endpoint(**data) for name, data in (self.endpoint.nodes or {}).items()}

    def _channel(self, name: str) -> Channel:
        """To a node, whose lease is the run's. Raises ChannelError."""
        channel = self._entered(name)
        if self._claim and (name not in self._locked or not channel.locked):
            channel.lock(self._claim, again=name in self._locked, **self._lease)
            self._locked.add(name)
        return channel

    def _entered(self, name: str) -> Channel:
        """To a node of the definition, or to a former one. Raises ChannelError.

        Of others that the nodes tell of, none is asked: a node that lies must not have another host changed.
        """
        if name not in self._channels:
            former = (self.endpoint.former or {}).get(name)
            found = self._members().get(name) or (Endpoint(**former) if former else None)
            if found is None:
                raise ChannelError(f"nobody knows how node {name} is reached")
            self._channels[name] = self._enter(found.at_home(self.endpoint.home), self.counts)
        return self._channels[name]

    def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
        """Raises ChannelError."""
        verbs: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "read": self._read,
            "known": lambda request: {"managed": bool(self._read({"keys": []})["records"]), "peers": {}},
            "perform": self._perform,
            "look": lambda request: self._look(request.get("unreachable", False)),
            "each": lambda request: self._each(request["names"], request["do"], **request["words"]),
            "everywhere": self._everywhere,
            "runs": lambda request: self._note_down("runs"),
            "ended": lambda request: self._note_down("ended", outcome=request["outcome"]),
            "finish": self._finish,
            "preflight": lambda request: list(self._preflight(request["wanted"])),
        }
        with self._turn, errors.understanding(f"cluster {self.name}"):
            return verbs[verb](arguments) if verb in verbs else None

    def _finish(self, request: Mapping[str, Any]) -> None:
        """Nothing of what an undo would have needed stays on a node that was asked. Raises ChannelError."""
        asked = list(self._channels)
        if self._claim:
            self._note_down("drop", everything=request["everything"])
        good(at_once(asked, lambda name: self._channel(name).request("finish", **{**request, **self._lease})))

    def _note_down(self, verb: str, **words: Any) -> Any:
        """Of runs, on what the nodes share. Raises ChannelError and TakenOver."""
        looks = self._look(unreachable=True)
        there = {name: look for name, look in looks.items() if not isinstance(look, ChannelError)}
        claim, name = self._claim, ha_looks.somebody(there or good(dict(looks)))
        given = {"site": self._site, "lease": self._lock, **words}
        if claim:
            given |= {"token": claim.token, "run": claim.run, "about": claim.about()}
        return self._channel(name).request(verb, **given)

    def _ask(self, name: str, do: str, **words: Any) -> Any:
        """While a run changes the cluster, nobody takes it over."""
        held: dict[str, Any] = {"token": self._claim.token, "lease": self._lock} if self._claim else {}
        return self._channel(name).request("ctdb", do=do, **held, **words)

    def _each(self, names: Sequence[str], do: str, **words: Any) -> dict[str, Any]:
        """The same of several nodes at once. Raises the first ChannelError, when all have answered."""
        return good(self._try(names, do, **words))

    def _try(self, names: Sequence[str], do: str, **words: Any) -> dict[str, Any]:
        """What each has answered, or the ChannelError that came of it."""
        return at_once(names, lambda name: self._ask(name, do, **words))

    def _look(self, unreachable: bool = False) -> Looks:
        """Of every node; one that is not there yet has no settings. Raises ChannelError, unless told otherwise."""
        found = self._try(list(self._members()), "look", shared=str(PurePosixPath(self.endpoint.home).parents[1]))
        if unreachable or all(isinstance(answer, Absent) for answer in found.values()):
            return found if unreachable else good(found)
        there = {name: answer for name, answer in found.items() if not isinstance(answer, Absent)}
        return {**good(there), **{name: dict(NOBODY) for name in found.keys() - there.keys()}}

    def _read(self, request: Mapping[str, Any]) -> Any:
        looks = self._look()
        known = self._records(looks)
        records = {address: each for address, each in known["records"].items() if tuple(each["key"]) in self._keys}
        keys = {(type_, name) for type_, name, _ in request["keys"]} | {tuple(each["key"]) for each in records.values()}
        found = dict(zip(self._keys, (ha_looks.state(looks, known["nodes"]), ha_looks.led(looks)), strict=True))
        states = [[*key, {"state": found[key]}] for key in sorted(keys)]
        wrong = ha_looks.strange(looks, known["nodes"], self.endpoint.home)
        if wrong:
            states = [[*self._keys[0], {"error": wrong}], *(each for each in states if each[0] != "ctdb")]
        facts = {"filesystem": looks[ha_looks.somebody(looks)]["filesystem"]}
        facts |= {name: known[name] for name in ("unfinished", "lease") if name in known}
        return {"facts": facts, "states": states, "records": records, "peers": {}}

    @property
    def _keys(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Those of the cluster and of its winbindd: nothing else is on this target, whatever the nodes' notes hold."""
        return ("ctdb", self.name), ("led", self.name)

    def _records(self, looks: Looks) -> Any:
        """What the nodes have noted of the cluster, on what they share."""
        return self._ask(ha_looks.somebody(looks), "records", site=self._site, holder=self._lock)

    @property
    def _site(self) -> str:
        """For the notes of the cluster itself, beside those of what is in it."""
        return f"{self.site}@ha"

    def _preflight(self, wanted: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """See ha_preflight.problems. Raises ChannelError."""
        try:
            yield from ha_preflight.problems(wanted, self._together)
        finally:
            for name in self._channels:
                self._together(name, "leave")

    def _together(self, name: str, do: str, **words: Any) -> Any:
        return self._channel(name).request("together", do=do, **words)

    def _everywhere(self, request: Mapping[str, Any]) -> Any:
        """One call on every node that can be reached: the others serve nobody."""
        asked = {"site": request["site"], "run": request["run"], "ops": [request["op"]]}
        if self._claim:
            asked |= {"token": self._claim.token, **self._lease}

        def call(name: str) -> Any:
            return self._channel(name).request("perform", **asked)[0]

        if request["op"]["call"] in ("restart", "winbind"):
            return self._in_turn(call)
        found = at_once(list(self._members()), call)
        good({name: answer for name, answer in found.items() if isinstance(answer, TakenOver)})
        told = [answer for answer in found.values() if not isinstance(answer, ChannelError)]
        if not told:
            good(found)
        return next((answer for answer in told if "error" in answer), {"ok": None})

    def _in_turn(self, call: Callable[[str], Any]) -> Any:
        """While smbd or winbindd restarts on one node, the others serve; where that fails, they go on."""
        looks = self._try(list(self._members()), "look")
        reached = [name for name, look in looks.items() if not isinstance(look, ChannelError)]
        if not reached:
            good(looks)
        for name in reached:
            wrong = call(name).get("error") or self._ill(name, looks[name])
            if wrong:
                return {"error": wrong}
        return {"ok": None}

    def _ill(self, name: str, before: Mapping[str, Any]) -> dict[str, str] | None:
        """Why a node that was well is not any more."""
        if not ha_looks.is_well(before):
            return None
        time.sleep(NOTICED)
        try:
            self._ask(name, "wait", seconds=READY)
        except ChannelError as error:
            return as_error(error)
        return None

    def _perform(self, request: Mapping[str, Any]) -> list[Any]:
        self._part = {"site": request["site"], "run": request["run"]}
        if "token" not in request:
            return [self._one(op) for op in request["ops"]]
        note = partial(self._note_down, "note")
        return written_down(request["ops"], note, lambda: [self._one(op) for op in request["ops"]])

    def _one(self, op: Mapping[str, Any]) -> Any:
        try:
            if "call" in op:
                record, address = op["arguments"].get("record"), op["arguments"].get("address")
                self._note(self._look(), record["address"] if record else address, record)
                return {"ok": None}
            return self._move(op) if op["type"] == "ctdb" else self._lead(op)
        except ChannelError as error:
            return {"error": as_error(error)}

    def _note(self, looks: Looks, address: str, record: Any) -> None:
        """Into the notes, or out of them."""
        self._ask(ha_looks.somebody(looks), "note", site=self._site, records={address: record})

    def _move(self, op: Mapping[str, Any]) -> Any:
        looks = self._look()
        known, self._warnings = self._records(looks)["nodes"], []
        now, before, after = ha_looks.state(looks, known), op["before"], op["after"]
        wrong = ha_looks.strange(looks, known, self.endpoint.home)
        if wrong:
            return {"error": wrong, "untouched": True}
        torn = bool(now) and DIFFERENT in now["health"].values()
        # A line that was added stays, so that an undo that was cut short finds another number than it began with.
        before, after = (state and {**state, "next": None} for state in (before, after))
        expected = before and {**before, "health": None}
        if not torn and not _same(now, expected) and not _same(now, after):
            words = "the cluster was changed by somebody else since the plan was made"
            return {"error": {"summary": words, "detail": str(now)[:400], "hint": "make a new plan"}, "untouched": True}
        if op.get("record"):
            self._note(looks, op["address"], op["record"])
        if after is None:
            self._dissolve(now, looks)
        elif torn or _cold(now, looks) or not _same(now, after):
            self._bring(now, after, looks)
        if not op.get("record"):
            self._note(looks, op["address"], None)
        if after is None:
            self._ask(min(now["nodes"] if now else looks), "lost", **self._part)
        return {"ok": None, **({"warnings": self._warnings} if self._warnings else {})}

    def _lead(self, op: Mapping[str, Any]) -> Any:
        looks = self._look()
        now, before, after = (
            {*(state or {"nodes": ()})["nodes"]} for state in (ha_looks.led(looks), op["before"], op["after"])
        )
        if not now <= before | after:
            words = "somebody else has changed what CTDB starts since the plan was made"
            return {"error": {"summary": words, "detail": "", "hint": "make a new plan"}, "untouched": True}
        if op["record"]:
            self._note(looks, op["address"], op["record"])
        self._each(sorted(after or before), "lead", on=bool(after))
        if after:
            self._ask(ha_looks.somebody(looks), "wait", seconds=READY, all=True)
        if not op["record"]:
            self._note(looks, op["address"], None)
        return {"ok": None}

    def _bring(self, now: Any, after: Mapping[str, Any], looks: Looks) -> None:
        """From whatever the cluster is now to what it should be, with as many nodes serving all the time as can be."""
        staying = [name for name in after["nodes"] if now and name in now["nodes"]]
        coming = [name for name in after["nodes"] if name not in staying]
        leaving = [name for name in (now["nodes"] if now else ()) if name not in after["nodes"]]
        for name in leaving:
            self._leave(name, staying)
        stale = [name for name in coming if looks[name]["settings"]]  # nodes once, and taken out while they were dead
        self._each(stale, "power", on=False)
        self._each(stale, "restore", stale=True)
        settings = ha_looks.settings(looks, after)
        addresses = {name: node["address"] for name, node in after["nodes"].items()}
        self._ask(min([*staying, *coming]), "found", nodes=addresses, **self._part)
        serving = [name for name in staying if now["health"][name] != DOWN]
        self._each([*staying, *coming], "configure", settings=settings, **self._part)
        if serving and (coming or leaving):
            self._ask(serving[0], "command", words=["reloadnodes"])
        self._each([name for name in staying if name not in serving] + coming, "power", on=True)
        self._each(serving, "tune", tunables=after["tunables"])
        # Going back, one that was ill before may stay so.
        well = [name for name in staying if after["health"] or now["health"][name] == OK] + coming
        old = {name: looks[name]["settings"] or {} for name in serving}
        if any(ha_looks.differ(old[name], after, ("lock",)) for name in serving):
            # Who sees a leader with another lock than its own shuts down: ctdb_recover.c
            self._each(serving, "power", on=False)
            self._each(serving, "power", on=True)
        else:
            self._renew(serving, well, old, after)
        if well:
            self._each(well, "wait", seconds=READY)
        else:  # who was ill may stay so; but what the cluster serves comes next
            self._try(staying, "wait", seconds=READY)
        if after["health"]:
            self._ask(well[0], "wait", seconds=READY, all=True)

    def _renew(
        self, serving: Sequence[str], well: Sequence[str], old: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """What running daemons do by their files now, with as few restarts as can be."""
        for name in self._leader_last([name for name in serving if ha_looks.differ(old[name], after, RESTARTING)]):
            self._ask(name, "drain", seconds=DRAINED)  # clients move while there is a leader, not after an election
            self._ask(name, "restart")
            if name in well:
                self._ask(name, "wait", seconds=READY)
        if any(ha_looks.differ(old[name], after, ("addresses",)) for name in serving):
            self._ask(serving[0], "command", words=["reloadips", "all"])
        self._try(serving, "back")

    def _leave(self, name: str, staying: Sequence[str]) -> None:
        """A node that can't be reached is left as it is: it is out of the cluster all the same."""
        try:
            self._ask(name, "drain", seconds=DRAINED)
            self._ask(name, "power", on=False)
            self._ask(name, "restore", **self._part)
        except Answered:
            raise
        except ChannelError:
            if not staying:
                raise
            self._warnings.append(f"{name} was not reached: before it starts again, `systemctl disable ctdb` there")

    def _leader_last(self, names: Sequence[str]) -> list[str]:
        """So that one election is enough."""
        looks = self._try(names, "look", shared="/")
        answers = {name: look["status"] for name, look in looks.items() if not isinstance(look, ChannelError)}
        leads = {name for name, status in answers.items() if status and status["leader"] == status["own"]}
        return sorted(names, key=lambda name: (name in leads, name))

    def _dissolve(self, now: Any, looks: Looks) -> None:
        names = sorted({*(now["nodes"] if now else ()), *(name for name, look in looks.items() if look["settings"])})
        self._each(names, "power", on=False)
        self._each(names, "restore", **self._part)


def _cold(now: Any, looks: Looks) -> bool:
    """Whether the way to it was cut short: nobody serves, or somebody has no settings."""
    bare = [name for name in now["nodes"] if name in looks and not looks[name]["settings"]] if now else []
    return bool(now) and (bool(bare) or {*now["health"].values()} == {DOWN})


def _same(now: Any, after: Any) -> bool:
    return now is None if after is None else matches(now, after)
