"""A target that goes away in the middle of a run: it is waited for, once."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from smbplan.drivers import fleet as fleets
from smbplan.drivers import ha_nodes
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, Asleep, ChannelError, Unreachable
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.targets import Connect
from smbplan.engine.step import Call, Step, Way, Work
from smbplan.kinds.guest import CLUSTER

CALLS = [Call("reload"), Call("close")]
WORKS = [Work(Step(call.name, call.name, "files", "", call, None), Way.DO, call) for call in CALLS]


@dataclass
class Target:
    """Answers when it has been asked in vain so many times."""

    away: int = 0
    asked: int = 0
    breaks: bool = False
    verbs: list[str] = field(default_factory=list)

    def connect(self, endpoint: Endpoint, counts: Counts) -> Channel:
        return Line(endpoint, counts, target=self)


@dataclass(slots=True)
class Line(Channel):
    target: Target | None = None

    def request(self, verb: str, timeout: float = 900.0, **arguments: Any) -> Any:
        assert self.target is not None
        self.target.asked += 1
        if self.target.asked <= self.target.away:
            raise Unreachable("away")
        if self.target.breaks and verb == "perform":
            self.locked = ""
            raise ChannelError("the line broke")
        if verb in ("ended", "finish") and not self.locked:
            raise Unreachable("it has to be locked anew")
        self.target.verbs.append(verb)
        return [{"ok": None} for _ in arguments["ops"]] if verb == "perform" else {"held": None, "unfinished": []}

    def open(self) -> None:
        """Nothing is there."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
    """Its seconds pass while somebody sleeps."""
    now = [0.0]
    monkeypatch.setattr(fleets.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(fleets.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return lambda: now[0]


def made(target: Target) -> Fleet:
    fleet = Fleet("office", {"files": Endpoint("files")}, target.connect)
    fleet.begin("run", ["files"])
    return fleet


def test_one_that_comes_back_in_time_does_what_it_is_asked(clock: Callable[[], float]) -> None:
    with made(target := Target(away=5)) as fleet:
        assert [result.ok for result in fleet.run("files", WORKS)] == [True, True]
        assert (clock(), fleet.counts["files"].operations) == (5, 2)
    assert target.asked == 7


def test_one_that_stays_away_is_waited_for_once_and_nothing_has_happened_there(clock: Callable[[], float]) -> None:
    with made(Target(away=10_000)) as fleet:
        for waited in (fleets.AWAY, fleets.AWAY):
            results = fleet.run("files", WORKS)
            assert [(each.ok, each.untouched, each.lost) for each in results] == [(False, True, True)] * 2
            assert clock() == waited


def test_a_run_whose_last_answer_was_lost_is_ended_over_a_new_connection(clock: Callable[[], float]) -> None:
    with made(target := Target(breaks=True)) as fleet:
        fleet.run("files", WORKS)
        assert fleet.ended("rolled_back") == []
        fleet.finish(everything=False)
        assert (target.verbs, clock()) == (["lock", "lock", "ended", "finish"], 0)


@pytest.mark.parametrize(("unkept", "untold"), [(False, []), (True, ["box"])])
def test_a_guest_that_the_run_has_turned_off_is_not_waited_for_where_the_cluster_knows(
    clock: Callable[[], float], unkept: bool, untold: list[str]
) -> None:
    box = Endpoint("box", guest="box", by_ssh=True, host="box")
    target = Target()
    fleet = Fleet("office", {CLUSTER: Endpoint(CLUSTER, api={"endpoint": "pve1"}), "box": box}, target.connect)
    there = SimpleNamespace(lock=lambda *_: [], request=lambda *_, **__: None, unkept=unkept, close=bool)
    fleet._channels |= {CLUSTER: cast(Any, there), "box": target.connect(box, Counts())}
    with fleet:
        fleet.begin("run", ["box"])
        fleet.lock()
        target.away = 10_000
        assert fleet.ended("applied") == untold
        assert (clock() >= fleets.TOLD) is bool(untold)


def test_nobody_knows_what_happened_where_the_line_broke(clock: Callable[[], float]) -> None:
    with made(Target(breaks=True)) as fleet:
        results = fleet.run("files", WORKS)
    assert [(each.ok, each.untouched, each.lost) for each in results] == [(False, False, True)] * 2
    assert clock() == 0


def test_what_a_cluster_serves_is_told_of_the_end_when_nobody_served_it_before(
    clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, cluster = Target(), Endpoint("@ha:files", nodes={"n1": Endpoint("n1").as_json()})
    fleet = Fleet("office", {"files": Endpoint("files", of="@ha:files"), "@ha:files": cluster}, target.connect)
    fleet.begin("run", ["files"])
    served = iter([Asleep("no node of cluster files serves")])

    def enter(endpoint: Endpoint, members: object, counts: Counts, connect: Connect) -> Channel:
        for error in served:
            raise error
        return target.connect(endpoint, counts)

    monkeypatch.setattr(ha_nodes, "enter", enter)
    with fleet:
        assert isinstance(fleet.lock()["files"], Asleep)
        assert fleet.ended("rolled_back") == []
        fleet.finish(everything=False)
    assert target.verbs == ["lock", "ended", "finish"]


def test_what_containers_shared_is_tidied_up_by_their_hosts_when_they_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before-images of what the cluster served stayed on the shared folder for ever."""
    asked: list[tuple[str, str, str, bool]] = []

    class Host(Channel):
        def request(self, verb: str, timeout: float = 0.0, **words: Any) -> Any:
            asked.append((self.endpoint.name, self.endpoint.home, verb, words["everything"]))

    member = Endpoint("files1", guest="files1").as_json()
    places = {
        CLUSTER: Endpoint(CLUSTER, api={"endpoint": "pve1"}),
        **{f"{CLUSTER}:{node}": Endpoint(f"{CLUSTER}:{node}", node=node) for node in ("pve1", "pve2")},
        "@ha:files": Endpoint("@ha:files", home="/mnt/shared/.smbplan/files", nodes={"files1": member}),
        "files": Endpoint("files", home="/mnt/shared/.smbplan/files", of="@ha:files"),
    }
    fleet = Fleet("office", places, Host)
    gone = {name: Absent("gateway files1 has no guest") for name in ("files", "@ha:files")}
    real = fleet._made

    def made(at: Endpoint, counts: Counts) -> Any:
        if at.name in gone:
            raise gone[at.name]
        return real(at, counts)

    monkeypatch.setattr(fleet, "_made", made)
    fleet._channels[CLUSTER] = cast(Any, SimpleNamespace(address=str, close=bool))
    fleet.begin("run", ["@ha:files", "files"])
    with fleet:
        fleet.finish(everything=True)
    assert sorted(asked) == [
        (f"{CLUSTER}:{node}", "/mnt/shared/.smbplan/files", "finish", True) for node in ("pve1", "pve2")
    ]


@pytest.mark.parametrize(
    ("first", "unkept", "guest", "sole"),
    [
        (True, False, True, True),
        (False, False, True, False),
        (True, True, True, False),  # without SSH to a node there is no lease of the site
        (True, False, False, False),
    ],
)
def test_who_has_the_sites_lease_may_take_those_of_its_guests(
    first: bool, unkept: bool, guest: bool, sole: bool
) -> None:
    asked: list[bool] = []

    class Guest(Channel):
        def open(self) -> None:
            """Nothing is there."""

        def request(self, verb: str, timeout: float = 0.0, **words: Any) -> Any:
            asked.append(words["sole"])
            return {"held": None, "unfinished": []}

    box = Endpoint("box", guest="box" if guest else "", by_ssh=True, host="box")
    fleet = Fleet("office", {CLUSTER: Endpoint(CLUSTER, api={"endpoint": "pve1"}), "box": box}, Guest)
    fleet._channels |= {
        CLUSTER: cast(Any, SimpleNamespace(lock=lambda *_: [], unkept=unkept, close=bool)),
        "box": Guest(box, Counts()),
    }
    with fleet:
        fleet.begin("run", ["box"])
        for target in (CLUSTER, "box") if first else ("box",):
            fleet._lock(target, 0.0)
    assert asked == [sole]


@dataclass(slots=True)
class Loser(Channel):
    """Says that it is somebody else's turn by now."""

    lost: bool = True
    verbs: list[str] = field(default_factory=list)

    def open(self) -> None:
        """Nothing is there."""

    def _exchange(self, line: bytes, timeout: float) -> bytes:
        verb = json.loads(line)["verb"]
        self.verbs.append(verb)
        if verb in ("perform", "beat") and self.lost:
            return b'{"lost": {"owner": "bob@far", "run": "r", "site": "office"}}'
        quiet = {"held": None, "unfinished": []} if verb == "lock" else None
        return json.dumps({"ok": quiet}).encode()


def losers(**lost: bool) -> tuple[Fleet, dict[str, Loser]]:
    made: dict[str, Loser] = {}

    def connect(endpoint: Endpoint, counts: Counts) -> Channel:
        return made.setdefault(endpoint.name, Loser(endpoint, counts, lost=lost[endpoint.name]))

    places = {"files": Endpoint("files"), "box": Endpoint("box", guest="box", by_ssh=True, host="box")}
    fleet = Fleet("office", {name: places[name] for name in lost}, connect)
    if "box" in lost:
        fleet._channels["box"] = connect(places["box"], Counts())
    fleet.begin("run", list(lost))
    assert [answer for answer in fleet.lock().values() if answer] == []
    return fleet, made


def work(target: str) -> list[Work]:
    return [replace(WORKS[0], step=replace(WORKS[0].step, target=target))]


def test_what_a_host_says_of_its_lease_ends_the_run(clock: Callable[[], float]) -> None:
    fleet, _ = losers(files=True)
    with fleet:
        (result,) = fleet.run("files", work("files"))
        assert result.untouched and fleet.taken_over and "bob@far" in fleet.taken_over.summary


@pytest.mark.parametrize("host", [False, True])
def test_what_a_guest_says_of_it_a_host_has_to_confirm(clock: Callable[[], float], host: bool) -> None:
    fleet, _ = losers(files=host, box=True)
    with fleet:
        (result,) = fleet.run("box", work("box"))
        assert result.untouched == host and not result.ok
        assert bool(fleet.taken_over) == host


def test_a_lock_that_may_have_been_taken_is_given_up(clock: Callable[[], float]) -> None:
    fleet, made = losers(files=False)
    with fleet:
        former = fleet.token
        fleet.release()
        assert made["files"].verbs[-1] == "release" and fleet.token != former and not fleet.locked


@dataclass(slots=True)
class Hung(Line):
    """Answers nothing until it is closed."""

    closed: threading.Event = field(default_factory=threading.Event)

    def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
        if not self.closed.wait(20):
            raise AssertionError("it was not closed")
        raise ChannelError("lost the connection")

    def close(self) -> None:
        self.closed.set()


def test_a_plan_of_what_hangs_ends_with_the_first_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one was needed, or a quarter of an hour."""

    def connect(endpoint: Endpoint, counts: Counts) -> Channel:
        return Hung(endpoint, counts, target=Target())

    former, began = signal.signal(signal.SIGINT, signal.default_int_handler), time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt), Fleet("office", {"files": Endpoint("files")}, connect) as fleet:
            threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
            fleet.ask_all({"files": {"verb": "read"}})
    finally:
        signal.signal(signal.SIGINT, former)
    assert time.monotonic() - began < 10


@dataclass(slots=True)
class Slow(Line):
    """Takes a while to connect to, or can't be."""

    refuses: bool = False

    def open(self) -> None:
        self.counts.connections += 1
        threading.Event().wait(0.1)
        if self.refuses:
            raise Unreachable("nobody is there")


def test_who_is_expected_is_connected_meanwhile_and_the_first_request_waits_for_it() -> None:
    def connect(endpoint: Endpoint, counts: Counts) -> Channel:
        return Slow(endpoint, counts, target=Target(), refuses=endpoint.name == "vault")

    with Fleet("office", {name: Endpoint(name) for name in ("files", "vault")}, connect) as fleet:
        began = time.monotonic()
        fleet.expect()
        assert time.monotonic() < began + 0.1
        assert fleet.ask("files", "read") == {"held": None, "unfinished": []}
        assert time.monotonic() > began + 0.1
        with pytest.raises(Unreachable, match="nobody is there"):
            fleet.ask("vault", "read")
        assert [fleet.counts[name].connections for name in ("files", "vault")] == [1, 1], "it is not tried twice"


def test_connections_that_are_still_being_made_do_not_hide_why_a_plan_was_refused() -> None:
    """They came into the list that was being closed: more hosts than are connected to at once."""
    closed: set[str] = set()

    class Slow(Channel):
        def connect(self) -> None:
            time.sleep(0.05)

        def close(self) -> None:
            time.sleep(0.01)
            closed.add(self.endpoint.name)

    hosts = {f"host{number}": Endpoint(f"host{number}") for number in range(40)}
    with pytest.raises(KeyError, match="why"), Fleet("office", hosts, Slow) as fleet:
        fleet.expect()
        raise KeyError("why")
    end = time.monotonic() + 10.0
    while closed != hosts.keys() and time.monotonic() < end:
        time.sleep(0.01)
    assert closed == hosts.keys()
