"""Many containers: their node tells of all of them at once, and asks inside for us."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from unit.pve.emulated import Lab
from unit.pve.gateways import Gateways, defined

from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Answered, ChannelError, Unreachable
from smbplan.drivers.pve import conf, guests
from smbplan.drivers.pve.client import Access, Client
from smbplan.drivers.pve.cluster import Cluster
from smbplan.drivers.pve.guests import Guest
from smbplan.drivers.targets import Targets
from smbplan.kinds.guest import CLUSTER
from smbplan.lab.pve import guests as emulated
from smbplan.lab.pve.guestconf import GuestConfig

TRICKY = {
    "description": "Größe: 5%\n\n<!-- a -->\n#b",
    "hostname": "box",
    "cores": "2",
    "memory": "1024",
    "rootfs": "local:7/vm-7-disk-0.raw,size=1G",
    "mp0": "/srv/a b,mp=/srv/a",
    "tags": "a;b",
    "net0": "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=dhcp,type=veth",
}
RAW = [("lxc.idmap", "u 0 100000 65536"), ("lxc.idmap", "g 0 100000 65536"), ("lxc.mount.entry", "/a b none bind 0 0")]


@pytest.mark.parametrize(
    "config",
    [
        GuestConfig(dict(TRICKY)),
        GuestConfig(dict(TRICKY), raw=RAW),
        GuestConfig(dict(TRICKY), pending={"cores": "4", "delete": "mp0,!tags"}),
        GuestConfig(dict(TRICKY), raw=RAW, snapshots={"before": {"cores": "1", "description": "old\n"}}),
        GuestConfig({"hostname": "bare"}),
    ],
)
def test_a_file_says_what_the_api_does(gateways: Gateways, config: GuestConfig) -> None:
    emulated.store(gateways.lab.site, 107, config)
    text = emulated.config_path(gateways.lab.site, 107).read_text("utf-8")
    answer = gateways.lab.ask("GET", "/nodes/pve1/lxc/107/config")
    assert _as_text(conf.told(text)) == _as_text(answer)


def _as_text(told: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers come as either."""
    return {name: value if name == "lxc" else str(value) for name, value in told.items()}


class Node:
    """What drivers.agent.containers tells of the emulated node."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.asked, self.away = lab, 0, False

    def __call__(self, node: str) -> Mapping[str, Any]:
        self.asked += 1
        if self.away:
            raise Unreachable(f"{node}: no answer from the host")
        found = {}
        for path in (self.lab.site.root / "nodes" / node / "lxc").glob("*.conf"):
            status = self.lab.ask("GET", f"/nodes/{node}/lxc/{path.stem}/status/current")["status"]
            found[path.stem] = {"text": path.read_text("utf-8"), "running": status == "running", "rules": 0}
        return found


def test_a_node_with_many_is_asked_once(gateways: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(gateways.lab)
    gateways.apply(defined())
    for number in range(20):
        gateways.lab.guest(200 + number, {"rootfs": f"local:{200 + number}/vm-disk-0.raw,size=1G"})

    def found() -> tuple[dict[str, Guest], int]:
        there = gateways.cluster
        there.guests._containers, there.guests.nodes = node, {"pve1"}
        return there.guests.find(), there.counts.round_trips

    asked, trips = found()
    assert (node.asked, trips) == (1, 2), "the rights, and the list of guests"
    monkeypatch.setattr(guests, "MANY", 22)
    by_api, more = found()
    assert (node.asked, more) == (1, 2 + 21 + 1)
    assert [_as_text(guest.config) for guest in asked.values()] == [_as_text(each.config) for each in by_api.values()]
    assert [(each.running, each.path, each.pool) for each in asked.values()] == [
        (each.running, each.path, each.pool) for each in by_api.values()
    ]
    monkeypatch.setattr(guests, "MANY", 1)
    node.away = True
    assert found()[0].keys() == by_api.keys(), "who can't be reached by SSH"


class Asked(Channel):
    """A container that is asked by itself."""

    def request(self, verb: str, timeout: float = 0.0, **words: Any) -> Any:
        if self.endpoint.name == "gone":
            raise ChannelError("gone: it is gone")
        return f"{self.endpoint.name} itself"


class Inside(Cluster):
    """With containers on two nodes, of which some do not answer."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        super().__init__(
            Client(Access("https://pve1", "a@pve!b", "")), "s", lambda node, address: Asked(Endpoint(node))
        )
        self.answers, self.asked = answers, list[tuple[str, list[str]]]()
        self._last = {
            name: Guest("pve1" if number else "pve2", 100 + number, name != "asleep", {})
            for number, name in enumerate(("alone", "a", "b", "mute", "odd", "refuses", "asleep", "gone"))
        }

    def inside(self, node: str, commands: Mapping[str, str], lines: Mapping[str, str]) -> Mapping[str, str]:
        self.asked.append((node, sorted(lines)))
        assert all(f"lxc-attach -n {self._last[name].vmid} " in command for name, command in commands.items())
        if not self.answers:
            raise Unreachable(f"{node}: no answer from the host")
        return self.answers

    def enter(self, endpoint: Endpoint, counts: Counts, connect: Any) -> Channel:
        return Asked(endpoint, counts)


ANSWERS = {
    "a": json.dumps({"ok": "a by its node", "commands": 3}),
    "b": json.dumps({"ok": "b by its node"}),
    "odd": "[" * 100_000,
    "host": json.dumps({"ok": "what a node says of another host"}),
    "refuses": json.dumps({"error": {"summary": "no", "detail": "", "hint": ""}}),
}


def test_containers_of_a_node_are_asked_by_it_and_others_by_themselves() -> None:
    there = Inside(ANSWERS)
    names = [*there._last, "host"]
    ends = {name: Endpoint(name, guest="" if name == "host" else name) for name in names}
    targets = Targets("s", {CLUSTER: Endpoint(CLUSTER), **ends}, Asked, None)
    targets._channels[CLUSTER] = there
    found = targets.ask_all({name: {"verb": "read"} for name in names})
    assert there.asked == [("pve1", ["a", "b", "gone", "mute", "odd", "refuses"])]
    assert found["a"] == "a by its node" and found["b"] == "b by its node"
    assert {name: found[name] for name in ("alone", "mute", "odd", "refuses", "asleep", "host")} == {
        name: f"{name} itself" for name in ("alone", "mute", "odd", "refuses", "asleep", "host")
    }
    assert isinstance(found["gone"], ChannelError) and not isinstance(found["gone"], Answered)
    assert targets.counts["a"].commands == 3


def test_a_node_that_can_not_be_asked_leaves_each_to_be_asked(tmp_path: Path) -> None:
    there = Inside({})
    targets = Targets(
        "s", {CLUSTER: Endpoint(CLUSTER), **{name: Endpoint(name, guest=name) for name in ("a", "b")}}, Asked, None
    )
    targets._channels[CLUSTER] = there
    asked: dict[str, Mapping[str, Any]] = {name: {"verb": "read"} for name in ("a", "b")}
    assert targets.ask_all(asked) == {"a": "a itself", "b": "b itself"}
    targets._channels["a"] = Asked(Endpoint("a"))
    assert targets.ask_all(asked) == {"a": "a itself", "b": "b itself"}
    assert len(there.asked) == 1, "one that has a connection is asked by that"
