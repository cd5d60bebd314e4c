"""Clusters as they are: who serves which address, and moving one."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from smbplan import observe, recovery
from smbplan.alone import Deed, alone, must_be_recovered
from smbplan.alone import written as alone_written
from smbplan.drivers.channel import Channel
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.ha import AWAY, Ha
from smbplan.drivers.secrets import MissingSecret
from smbplan.drivers.targets import Connect
from smbplan.errors import Refused, Trouble
from smbplan.kinds import cluster
from smbplan.spec.clusters import ClusterNode, private_address
from smbplan.spec.model import Gateway, Site
from smbplan.store import runs

MOVED = 15.0  # seconds that an address may take to its new node


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the cluster and its own host see it."""

    name: str
    number: int | None
    address: str
    health: str
    leader: bool = False
    addresses: tuple[str, ...] = ()
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """`nobody` are the floating addresses that no node serves."""

    cluster: str
    nodes: tuple[Node, ...]
    nobody: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not self.nobody and all(node.health == cluster.OK for node in self.nodes)


@dataclass(slots=True)
class Known:
    """A cluster that has been asked."""

    name: str
    gateway: Gateway
    nodes: Mapping[str, ClusterNode]
    channel: Ha
    fleet: Fleet
    looks: Mapping[str, Any] = field(default_factory=dict)

    def look(self) -> "Known":
        self.looks = self.channel.request("look", unreachable=True)
        return self

    def ask(self, node: str, do: str, **words: Any) -> Any:
        """Have a node do something; what it answers. Raises ChannelError."""
        return self.channel.request("each", names=[node], do=do, words=words)[node]

    def status(self, name: str) -> Any:
        found = self.looks[name]
        return None if isinstance(found, ChannelError) else found["status"]

    def health(self, number: int) -> str:
        """What a node says of itself, if it is not well; or else what others say of it."""
        views = [status for name in self.looks if (status := self.status(name))]
        views.sort(key=lambda status: status["own"] != number)
        said = (status["nodes"].get(str(number), "unknown") for status in views)
        return next((word for word in said if word != cluster.OK), cluster.OK)

    def speaker(self) -> str:
        """A node that knows of the others. Raises Refused."""
        for name in self.looks:
            known = self.status(name)
            if known and known["nodes"][str(known["own"])] not in ("disconnected", "banned", "stopped"):
                return name
        hint = "`smbplan ha status` says what each node does; `smbplan apply` starts what is down"
        raise Refused(Trouble(f"no node of cluster {self.name} is up", hint))


def clusters(site: Site) -> list[str]:
    return [name for name, gateway in site.gateways.items() if gateway.nodes]


@contextmanager
def _asked(site: Site, name: str, connect: Connect) -> Iterator[Known]:
    """Raises Refused."""
    known = clusters(site)
    if name not in known:
        raise Refused(Trouble(f"there is no cluster {name!r}", f"known: {', '.join(known) or 'none'}"))
    with Fleet(site.site, observe.endpoints(site), connect) as fleet:
        channel = fleet.channel(cluster.target(name))
        assert isinstance(channel, Ha)
        try:
            yield Known(name, site.gateways[name], cluster.nodes(site, name), channel, fleet)
        except ChannelError as error:
            raise Refused(Trouble(error.summary, error.hint, error.detail)) from None
        except MissingSecret as error:
            raise Refused(Trouble(error.summary, error.hint)) from None


def status(site: Site, name: str, connect: Connect = Channel) -> Status:
    """Raises Refused for a cluster that is not defined."""
    with _asked(site, name, connect) as known:
        nodes = tuple(_node(known, each, found) for each, found in known.look().looks.items())
        served = {address for node in nodes for address in node.addresses}
        assert known.gateway.ha is not None
        return Status(name, nodes, tuple(each for each in known.gateway.ha.plain if each not in served))


def _node(known: Known, name: str, found: Any) -> Node:
    private = private_address(name, known.nodes[name])
    if isinstance(found, ChannelError):
        return Node(name, None, private, "unreachable", detail=found.summary, hint=found.hint)
    seen = found["status"]
    if not found["settings"]:
        return Node(name, None, private, "no node yet", hint="smbplan apply")
    if seen is None:
        hint = f"`systemctl status ctdb` and `journalctl -u ctdb` on {name}; `smbplan apply` starts it"
        return Node(name, None, private, "down", detail=found["why"], hint=hint)
    own = seen["own"]
    health = known.health(own)
    hint = "" if health == cluster.OK else f"{cluster.EXPLAINED.get(health, '')}; {REMEDIES.get(health, 'ctdb status')}"
    mine = tuple(address for address, number in seen["addresses"].items() if number == own)
    return Node(name, own, private, health, seen["leader"] == own, mine, found["why"], hint)


REMEDIES = {
    "banned": "`smbplan apply` takes it back at once",
    "stopped": "`smbplan apply` lets it go on (ctdb continue)",
    "disabled": "`smbplan ha back NODE`, or `smbplan apply`",
    "unhealthy": "`ctdb event status legacy monitor` there says which service, and why",
    "partially-online": "look at its cables: `ctdb ifaces` there says which interface is down",
    "unknown": "wait some seconds",
}


@contextmanager
def held(site: Site, name: str, connect: Connect = Channel) -> Iterator[Known]:
    """A cluster that nobody else changes meanwhile; nodes that are away do not matter. Raises Refused."""
    must_be_recovered(site.site)
    with alone(site.site), _asked(site, name, connect) as known:
        known.fleet.begin(runs.named(), [known.channel.endpoint.name, name], partly=True)
        try:
            answers = known.fleet.lock()
            bad = [each for each in answers.values() if isinstance(each, ChannelError) and not isinstance(each, AWAY)]
            if bad:
                raise Refused(*dict.fromkeys(Trouble(error.summary, error.hint, error.detail) for error in bad))
            recovery.refuse_cut(known.fleet, answers)
            yield known.look()
        finally:
            known.fleet.release()


def move(site: Site, name: str, address: str, node: str, connect: Connect = Channel) -> float:
    """Have a node serve an address; the seconds that took. Raises Refused."""
    with held(site, name, connect) as known:
        movable(known, address, node)
        with written(known, "ha move", address, node=(server(known, address), node)):
            return moved(known, address, node)


def written(known: Known, command: str, what: str, **fields: tuple[Any, Any]) -> AbstractContextManager[None]:
    """What is done to a cluster, as a run."""
    claim = known.fleet.claim
    assert claim is not None
    return alone_written(known.fleet.site, Deed(command, what, fields), claim.run)


def movable(known: Known, address: str, node: str) -> None:
    """Raises Refused for an address or a node that can't be."""
    seen = known.status(known.speaker())
    if address not in seen["addresses"]:
        listed = ", ".join(sorted(seen["addresses"]))
        raise Refused(Trouble(f"{address} is no address of cluster {known.name}", f"its addresses: {listed}"))
    known_node(known, node)
    if not _healthy(known, node):
        raise Refused(Trouble(f"{node} can't serve {address} now", "`smbplan ha status` says why"))


def moved(known: Known, address: str, node: str) -> float:
    """Once it may be; the seconds that took. Raises Refused."""
    began, number = time.monotonic(), known.status(node)["own"]
    # For twice its timeout no other address can move, not even that of a node that is lost.
    known.ask(known.speaker(), "command", words=["-t", "2", "moveip", address, str(number)])

    def there() -> bool:
        seen = known.status(node)
        return bool(seen) and seen["addresses"].get(address) == number

    _until(known, there, f"{address} did not move")
    return time.monotonic() - began


def server(known: Known, address: str) -> str | None:
    """The node that serves an address."""
    number = known.status(known.speaker())["addresses"].get(address)
    for name in known.looks:
        there = known.status(name)
        if there and there["own"] == number:
            return name
    return None


def _until(known: Known, so: Callable[[], bool], words: str) -> None:
    end = time.monotonic() + MOVED
    while not known.look() or not so():
        if time.monotonic() > end:
            raise Refused(Trouble(f"{words} within {MOVED:.0f} s", "`smbplan ha status` says how its nodes are"))
        time.sleep(0.1)


def drain(site: Site, name: str, node: str, connect: Connect = Channel) -> None:
    """Have the others serve a node's addresses, until `back`. Raises Refused."""
    with held(site, name, connect) as known:
        known_node(known, node)
        if not others(known, node):
            raise Refused(Trouble(f"no other node of {name} is healthy", "`smbplan ha status` says how they are"))
        with written(known, "ha drain", node, health=(_health(known, node), "disabled")):
            left = known.ask(node, "drain", seconds=MOVED)
            if left:
                hint = f"`smbplan ha status` says how the others are; `smbplan ha back {node}` ends it"
                raise Refused(Trouble(f"{node} still serves {', '.join(left)} after {MOVED:.0f} s", hint))


def back(site: Site, name: str, node: str, connect: Connect = Channel) -> None:
    """A node serves again. Raises Refused."""
    with held(site, name, connect) as known:
        known_node(known, node)
        with written(known, "ha back", node, health=(_health(known, node), cluster.OK)):
            known.ask(node, "back")
            known.ask(node, "wait", seconds=MOVED)


def known_node(known: Known, node: str) -> None:
    """Raises Refused."""
    if node not in known.looks:
        raise Refused(Trouble(f"{node} is no node of cluster {known.name}", f"its nodes: {', '.join(known.looks)}"))


def _health(known: Known, node: str) -> str | None:
    seen = known.status(node)
    return known.health(seen["own"]) if seen else None


def _healthy(known: Known, name: str) -> bool:
    seen = known.status(name)
    return bool(seen) and seen["nodes"][str(seen["own"])] == cluster.OK


def others(known: Known, node: str) -> list[str]:
    """The nodes that could serve in its place."""
    return [each for each in known.looks if each != node and _healthy(known, each)]
