"""What a target tells of other gateways: it says where they are, and never what is run or read here."""

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from smbplan import app, observe
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.fleet import Fleet
from smbplan.engine.kind import Options
from smbplan.engine.resource import Live
from smbplan.errors import Refused
from smbplan.kinds.guest import CLUSTER
from smbplan.spec.proxmox import Proxmox
from smbplan.store import runs

TELLER = Endpoint("files", host="files.example", config="/mine/ssh_config")


class Liar(Channel):
    """A host, or guest, that somebody else has taken over."""

    told: ClassVar[dict[str, Any]] = {}

    def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
        peers = {"old": self.told} if self.endpoint.name == "files" else {}
        return {"facts": {}, "states": [], "records": {}, "peers": peers}


def observed(teller: Endpoint, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, state: Path) -> Fleet:
    monkeypatch.setenv("SMBPLAN_STATE", str(state))
    monkeypatch.setattr(Liar, "told", told)
    made: Any = lambda endpoint, counts: Liar(endpoint, Counts())  # noqa: E731
    with Fleet("office", {"files": teller}, made) as fleet:
        with suppress(Refused):
            observe.observe(fleet, [], Options())
        return fleet


def test_it_names_no_command_no_file_and_no_user_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "run"
    secret = {"$secret": {"command": ["touch", str(mark)]}}
    api = {"endpoint": "https://127.0.0.1:1", "token": {"id": "a@pve!b", "secret": secret}}
    told = {"name": "old", "host": "old.example", "api": api, "local": True, "config": "/evil", "identity": "/evil"}
    fleet = observed(TELLER, told, monkeypatch, tmp_path)
    assert not mark.exists()
    assert fleet.endpoints["old"] == Endpoint("old", host="old.example", config="/mine/ssh_config")


def test_what_a_target_tells_is_never_resolved_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state or record that is sent back later, as an undo is."""
    secret = {"text": {"$secret": {"command": ["touch", str(tmp_path / "run")]}}}
    record = {"key": ["file", "x"], "original": secret}
    answer = {"facts": {}, "states": [], "records": {"file.x": record}, "peers": {}}
    monkeypatch.setattr(Liar, "request", lambda self, verb, **_: answer)
    made: Any = lambda endpoint, counts: Liar(endpoint, Counts())  # noqa: E731
    with Fleet("office", {"files": TELLER}, made) as fleet, pytest.raises(ChannelError, match="tells of secrets"):
        fleet.read("files", {})


def test_a_dropped_guest_is_reached_by_the_sites_cluster_and_not_by_who_tells_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path))
    access = {"endpoint": "https://pve:8006", "token": {"id": "a@pve!plan", "secret": {"env": "X"}}}
    proxmox = Proxmox.model_validate({**access, "ssh": {"identity": "/of/the/cluster"}})
    with Fleet("office", {"files": TELLER}, lambda at, counts: Liar(at)) as fleet:
        live = {"files": Live(peers={"old": {"name": "old", "guest": "box"}, "bad": ["x"], "odd": {"name": "other"}})}
        found = observe.peers(fleet, live, proxmox)
        assert found == {"old": Endpoint("old", guest="box", identity="/of/the/cluster")}
        assert fleet.endpoints[CLUSTER].api
        with pytest.raises(Refused) as refused:
            observe.peers(fleet, live, None)
        assert "--forget old" in refused.value.troubles[0].hint


def test_a_guest_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Endpoint("files", host="192.0.2.9", guest="files", by_ssh=True)
    real = Fleet._made
    monkeypatch.setattr(Fleet, "_made", lambda self, at, counts: Liar(at) if at.guest else real(self, at, counts))
    fleet = observed(guest, {"name": "old", "host": "old.example"}, monkeypatch, tmp_path)
    assert set(fleet.endpoints) == {"files"}


def test_no_host_is_taken_for_a_cluster() -> None:
    with Fleet("office", {"files": TELLER}) as fleet:
        told = {name: {"name": name, "host": "files.example"} for name in (CLUSTER, "old")}
        assert observe.peers(fleet, {"files": Live({}, {}, {}, told)}, None).keys() == {"old"}


def test_what_is_told_of_it_holds_no_way_into_this_machine() -> None:
    assert TELLER.peer() == {
        "name": "files", "host": "files.example", "user": "root", "port": None, "sudo": False, "guest": "", "node": "",
    }  # fmt: skip


def test_a_machine_by_ssh_is_entered_anew_when_it_was_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have another address then; every other connection is made anew by itself."""
    made: list[Channel] = []

    def enter(self: Fleet, at: Endpoint, counts: Counts) -> Channel:
        made.append(Liar(at))
        return made[-1]

    monkeypatch.setattr(Fleet, "_made", enter)
    monkeypatch.setattr(Liar, "ended", property(lambda self: len(made) == 1))
    for by_ssh, entered in ((True, 2), (False, 1)):
        made.clear()
        with Fleet("office", {"box": Endpoint("box", guest="box", by_ssh=by_ssh)}) as fleet:
            assert fleet.channel("box") is made[0]
            assert fleet.channel("box") is made[-1] and len(made) == entered
            assert fleet.channel("box") is made[-1] and len(made) == entered


def test_a_stopped_member_is_not_destroyed_without_a_word() -> None:
    from unit.kinds.sites import MEMBER, site

    defined = site(MEMBER)
    (refused,) = observe.orphaned(defined, ["one", "two", "former"], Options(destroy=True))
    assert (refused.address, refused.guardrail) == ("gateway.one", "orphan-account")
    assert observe.orphaned(defined, ["one"], Options(destroy=True, allow=frozenset({"orphan-account"}))) == []
    assert observe.orphaned(defined, ["one"], Options()) == []


def test_a_host_is_not_a_gateway_and_below_one_in_the_same_site() -> None:
    fleet = Fleet("s", {"files": Endpoint("files"), "@proxmox:pve1": Endpoint("@proxmox:pve1", node="pve1")})
    same = {name: Live({"machine": "m1"}) for name in fleet.endpoints}
    (refused,) = observe._twice(fleet, same)
    assert refused.address == "gateway.files" and "a site of their own" in refused.hint
    assert observe._twice(fleet, {**same, "files": Live({"machine": "m2"})}) == []


def test_a_cluster_that_was_dropped_is_found_with_its_nodes() -> None:
    node = Endpoint("n1", host="pve1", config="/of/this/machine")
    whole = Endpoint("@ha:files", home="/mnt/ceph/.smbplan/files", nodes={"n1": node.as_json()})
    told = whole.peer()
    assert told["nodes"] == {"n1": node.peer()} and "/of/this/machine" not in str(told)
    again = TELLER.told(told)
    assert (again.name, again.home, list(again.nodes or {})) == ("@ha:files", whole.home, ["n1"])
    assert Endpoint(**(again.nodes or {})["n1"]).host == "pve1"
    for bad in ("/etc", "/etc/../.smbplan/x", "relative/.smbplan/x", "/a/.smbplan/x y", "/a\n/.smbplan/x"):
        made = TELLER.told({**told, "home": bad})
        assert (made.home, made.nodes) == ("", None)


@pytest.mark.parametrize("answer", [{}, {"managed": True}, {"peers": 7}, None, [], "x"])
def test_one_that_answers_nonsense_keeps_no_run_from_ending(
    answer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the run nor what recovers it came to its end: the others' leases and before-images stayed."""
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path))
    told = []

    class Mixed(Channel):
        def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
            if verb == "peers":
                return told.append(self.endpoint.name)
            return answer if self.endpoint.name == "liar" else {"managed": True, "peers": {"gone": {}}}

    places = {name: Endpoint(name) for name in ("files", "liar")}
    with Fleet("office", places, Mixed) as fleet:
        app._remember(fleet, "office", places)
    assert "files" in told and "files" in runs.peers("office")
