"""Nodes of a cluster that are played: what each has, and what it was asked to do, in order."""

from collections.abc import Mapping
from typing import Any

from smbplan.drivers import ha
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, ChannelError, TakenOver

HOME = "/mnt/ceph/.smbplan/files"
ADDRESSES = {"n1": "10.0.0.1", "n2": "10.0.0.2", "n3": "10.0.0.3", "n4": "10.0.0.4"}
SETTINGS = {
    "addresses": ["192.0.2.61/24"],
    "lock": "!lock",
    "leader_timeout": 2,
    "realtime": True,
    "tunables": {"KeepaliveLimit": 2},
}
CHANGING = ("configure", "power", "restart", "restore", "drain", "command", "tune", "found", "lost", "back", "lead")


class Nodes:
    """What is on each node, and in what order it was asked to change."""

    def __init__(self, *names: str) -> None:
        lines = [ADDRESSES[name] for name in names]
        self.settings: dict[str, Any] = {name: {**SETTINGS, "lines": lines} for name in names}
        self.words: dict[str, str] = {}
        self.records: dict[str, Any] = {}
        self.left: dict[str, Any] = {}
        self.names = {name: ADDRESSES[name] for name in names}
        self.leader = names[0] if names else ""
        self.dead: set[str] = set()
        self.absent: set[str] = set()
        self.waits: set[str] = set()
        self.led: set[str] = set()
        self.foreign: set[str] = set()
        self.broken: set[str] = set()
        self.done: list[str] = []
        self.tokens: dict[str, str | None] = {}
        self.taken: set[str] = set()

    def connect(self, endpoint: Endpoint, counts: Counts) -> Channel:
        return Fake(endpoint, counts, nodes=self)  # type: ignore[call-arg]

    def cluster(self, *names: str) -> ha.Ha:
        nodes = {name: Endpoint(name).as_json() for name in names}
        former = {name: Endpoint(name).as_json() for name in ADDRESSES if name not in names}
        whole = Endpoint("@ha:files", home=HOME, nodes=nodes, former=former)
        return ha.Ha(whole, "s", Counts(), self.connect)

    def status(self, name: str) -> Any:
        mine = self.settings.get(name)
        if not mine or self.words.get(name) == "down":
            return None
        numbers = {line: number for number, line in enumerate(mine["lines"])}
        words = {
            str(numbers[ADDRESSES[each]]): self.words.get(each, "ok")
            for each in self.settings
            if ADDRESSES[each] in numbers
        }
        leader = numbers.get(ADDRESSES.get(self.leader, ""))
        return {"own": numbers[ADDRESSES[name]], "leader": leader, "nodes": words, "addresses": {}}

    def ask(self, name: str, do: str, words: Mapping[str, Any]) -> Any:
        if name in self.dead:
            raise ChannelError(f"{name}: no answer from the host")
        if name in self.absent:
            raise Absent(f"gateway {name} has no guest yet")
        if do == "wait":
            self.waits.add(name)
        if do in CHANGING:
            self.done.append(f"{do} {name}" + ("" if words.get("on", True) else " off"))
        if do == "look":
            return {
                "settings": self.settings.get(name),
                "status": self.status(name),
                "filesystem": "ceph",
                "version": "1",
                "own": [ADDRESSES[name]],
                "foreign": name in self.foreign,
                "led": sorted(self.led & {name}) and ["smbd", "winbind"],
            }
        if do == "lead":
            (self.led.add if words["on"] else self.led.discard)(name)
        if do == "configure":
            self.settings[name] = words["settings"]
        if do == "power":
            self.words[name] = "ok" if words["on"] else "down"
        if do == "restore":
            del self.settings[name]
        if do == "back":
            self.words.pop(name, None)
        if do == "found":
            self.names = dict(words["nodes"])
        if do == "note":
            self.records |= words["records"]
        return {"records": self.records, "nodes": self.names, **self.left} if do == "records" else None

    def perform(self, name: str, op: Mapping[str, Any]) -> Any:
        if name in self.dead:
            raise ChannelError(f"{name}: no answer from the host")
        self.done.append(f"{op['call']} {name}")
        return {"error": {"summary": "smbd does not start"}} if name in self.broken else {"ok": None}


class Fake(Channel):
    nodes: Nodes

    def __init__(self, endpoint: Endpoint, counts: Counts, nodes: Nodes) -> None:
        super().__init__(endpoint, counts)
        self.nodes = nodes

    def open(self) -> None:
        """Nothing is there."""

    def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
        if verb in ("lock", "release", "runs"):
            return {"held": None, "unfinished": [], "runs": [], "lease": None}
        if verb == "perform":
            if self.endpoint.name in self.nodes.taken:
                raise TakenOver(self.endpoint.name, {"owner": "bob"})
            self.nodes.tokens[self.endpoint.name] = arguments.get("token")
            return [self.nodes.perform(self.endpoint.name, op) for op in arguments["ops"]]
        if verb == "finish":
            return self.nodes.done.append(f"finish {self.endpoint.name}")
        return self.nodes.ask(self.endpoint.name, arguments.pop("do"), arguments)


def read(cluster: ha.Ha) -> Any:
    answer = cluster.request("read", site="s", keys=[["ctdb", "files", {}]])
    ((_, _, found),) = answer["states"]
    return found["state"]


def moved(cluster: ha.Ha, before: Any, after: Any) -> Any:
    record = {"address": "ctdb.cluster.files", "key": ["ctdb", "files"]} if after else None
    op = {
        "type": "ctdb",
        "name": "files",
        "before": before,
        "after": after,
        "record": record,
        "address": "ctdb.cluster.files",
    }
    (answer,) = cluster.request("perform", site="s", run="r", ops=[op])
    return answer


def wanted(*names: str, state: Any = None, **changed: Any) -> Any:
    known = (state or {"nodes": {}, "next": 0})["nodes"]
    following, nodes = (state or {"next": 0})["next"], {}
    for name in names:
        number = known[name]["number"] if name in known else following
        following += name not in known
        nodes[name] = {"number": number, "address": ADDRESSES[name]}
    return {**SETTINGS, **changed, "nodes": nodes, "next": following, "health": dict.fromkeys(names, "ok")}
