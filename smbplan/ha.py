"""Clusters as they are: who serves which address, moving one, and a trial with real clients."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from smbplan import observe
from smbplan.drivers.channel import Channel
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.fleet import Connect, Fleet
from smbplan.drivers.ha import Ha
from smbplan.drivers.ha_client import Client, Seen
from smbplan.drivers.secrets import MissingSecret
from smbplan.errors import Refused, Trouble
from smbplan.kinds import cluster
from smbplan.kinds.names import level, shares_of, users_on
from smbplan.kinds.password import secret
from smbplan.spec.clusters import ClusterNode, private_address
from smbplan.spec.model import Gateway, Site

MOVED = 15.0  # seconds that an address may take to its new node
SETTLE = 3.0  # seconds of service before and after what a trial does
Progress = Callable[[str], None]


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


@dataclass(frozen=True, slots=True)
class Trial:
    """What clients met with while something was done to a cluster. Seconds."""

    done: str
    budget: float
    seen: tuple[Seen, ...]
    since: float

    @property
    def good(self) -> bool:
        return all(map(self.fine, self.seen))

    def fine(self, seen: Seen) -> bool:
        return seen.verified and not (seen.lost or seen.wrong) and seen.longest(self.since) <= self.budget


@dataclass(slots=True)
class _Known:
    """A cluster that has been asked."""

    name: str
    gateway: Gateway
    nodes: Mapping[str, ClusterNode]
    channel: Ha
    resolved: Callable[[Any], Any]
    looks: Mapping[str, Any] = field(default_factory=dict)

    def look(self) -> "_Known":
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
def _asked(site: Site, name: str, connect: Connect) -> Iterator[_Known]:
    """Raises Refused."""
    known = clusters(site)
    if name not in known:
        raise Refused(Trouble(f"there is no cluster {name!r}", f"known: {', '.join(known) or 'none'}"))
    with Fleet(site.site, observe.endpoints(site), connect) as fleet:
        channel = fleet.channel(cluster.target(name))
        assert isinstance(channel, Ha)
        try:
            yield _Known(name, site.gateways[name], cluster.nodes(site, name), channel, fleet.resolved).look()
        except ChannelError as error:
            raise Refused(Trouble(error.summary, error.hint, error.detail)) from None
        except MissingSecret as error:
            raise Refused(Trouble(error.summary, error.hint)) from None


def status(site: Site, name: str, connect: Connect = Channel) -> Status:
    """Raises Refused for a cluster that is not defined."""
    with _asked(site, name, connect) as known:
        nodes = tuple(_node(known, each, found) for each, found in known.looks.items())
        served = {address for node in nodes for address in node.addresses}
        assert known.gateway.ha is not None
        return Status(name, nodes, tuple(each for each in known.gateway.ha.plain if each not in served))


def _node(known: _Known, name: str, found: Any) -> Node:
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


def move(site: Site, name: str, address: str, node: str, connect: Connect = Channel) -> float:
    """Have a node serve an address; the seconds that took. Raises Refused."""
    with _asked(site, name, connect) as known:
        return _moved(known, address, node)


def _moved(known: _Known, address: str, node: str) -> float:
    speaker = known.speaker()
    seen = known.status(speaker)
    if address not in seen["addresses"]:
        listed = ", ".join(sorted(seen["addresses"]))
        raise Refused(Trouble(f"{address} is no address of cluster {known.name}", f"its addresses: {listed}"))
    _known_node(known, node)
    if not _healthy(known, node):
        raise Refused(Trouble(f"{node} can't serve {address} now", "`smbplan ha status` says why"))
    began, number = time.monotonic(), known.status(node)["own"]
    # For twice its timeout no other address can move, not even that of a node that is lost.
    known.ask(speaker, "command", words=["-t", "2", "moveip", address, str(number)])

    def moved() -> bool:
        there = known.status(node)
        return bool(there) and there["addresses"].get(address) == number

    _until(known, moved, f"{address} did not move")
    return time.monotonic() - began


def _until(known: _Known, so: Callable[[], bool], words: str) -> None:
    end = time.monotonic() + MOVED
    while not known.look() or not so():
        if time.monotonic() > end:
            raise Refused(Trouble(f"{words} within {MOVED:.0f} s", "`smbplan ha status` says how its nodes are"))
        time.sleep(0.1)


def drain(site: Site, name: str, node: str, connect: Connect = Channel) -> None:
    """Have the others serve a node's addresses, until `back`. Raises Refused."""
    with _asked(site, name, connect) as known:
        _known_node(known, node)
        if not _others(known, node):
            raise Refused(Trouble(f"no other node of {name} is healthy", "`smbplan ha status` says how they are"))
        left = known.ask(node, "drain", seconds=MOVED)
        if left:
            hint = f"`smbplan ha status` says how the others are; `smbplan ha back {node}` ends it"
            raise Refused(Trouble(f"{node} still serves {', '.join(left)} after {MOVED:.0f} s", hint))


def back(site: Site, name: str, node: str, connect: Connect = Channel) -> None:
    """A node serves again. Raises Refused."""
    with _asked(site, name, connect) as known:
        _known_node(known, node)
        known.ask(node, "back")
        known.ask(node, "wait", seconds=MOVED)


def _known_node(known: _Known, node: str) -> None:
    if node not in known.looks:
        raise Refused(Trouble(f"{node} is no node of cluster {known.name}", f"its nodes: {', '.join(known.looks)}"))


def _healthy(known: _Known, name: str) -> bool:
    seen = known.status(name)
    return bool(seen) and seen["nodes"][str(seen["own"])] == cluster.OK


def _others(known: _Known, node: str) -> list[str]:
    """The nodes that could serve in its place."""
    return [each for each in known.looks if each != node and _healthy(known, each)]


def trial(
    site: Site,
    name: str,
    progress: Progress,
    address: str = "",
    node: str = "",
    stop: str = "",
    connect: Connect = Channel,
) -> Trial:
    """Move an address to a node, or stop a node and start it again, while a client at every address reads and writes.

    Without any of that the first address goes to another node and comes back. Raises Refused.
    """
    with _asked(site, name, connect) as known:
        clients = _clients(site, known)
        for client in clients:
            client.start()
        try:
            return _tried(known, clients, progress, address, node, stop)
        finally:
            for client in clients:
                client.stop()


def _tried(known: _Known, clients: list[Client], progress: Progress, address: str, node: str, stop: str) -> Trial:
    silent = [client.seen for client in clients if not client.wait(MOVED)]
    if silent:
        said = "; ".join(silent[0].errors[-2:])
        hint = "`smbplan ha status` says who serves it; this machine has to reach the address, too"
        raise Refused(Trouble(f"nobody serves at {silent[0].address}", hint, said))
    assert known.gateway.ha is not None
    budget = float(known.gateway.ha.failover)
    time.sleep(SETTLE)
    since = time.monotonic()
    if stop:
        done = f"{stop} stopped"
        _stopped(known, clients, progress, stop)
    else:
        home = _server(known, address := address or known.gateway.ha.plain[0])
        goal = node or next(iter(_others(known, home)), "")
        done = f"{address} moved from {home} to {goal}"
        progress(f"moving {address} to {goal}")
        _moved(known, address, goal)
        _served_again(clients, time.monotonic())
        if not node:
            _moved(known, address, home)
            _served_again(clients, time.monotonic())
    progress("comparing what was written with what is there")
    return Trial(done, budget, tuple(client.stop() for client in clients), since)


def _stopped(known: _Known, clients: list[Client], progress: Progress, node: str) -> None:
    """It comes back whatever happens."""
    _known_node(known, node)
    if not _others(known, node):
        raise Refused(Trouble(f"nobody would serve without {node}", "`smbplan ha status` says how the nodes are"))
    progress(f"stopping {node}")
    try:
        known.ask(node, "power", on=False)
        _served_again(clients, time.monotonic())
    finally:
        progress(f"starting {node} again")
        known.ask(node, "power", on=True)
        known.ask(node, "wait", seconds=6 * MOVED)
    _served_again(clients, time.monotonic())


def _served_again(clients: list[Client], after: float) -> None:
    """Every client for some seconds, however long that takes to begin."""
    end = after + 6 * MOVED
    while time.monotonic() < end and not all(client.seen.done and client.seen.done[-1] > after for client in clients):
        time.sleep(0.1)
    time.sleep(SETTLE)


def _server(known: _Known, address: str) -> str:
    seen = known.status(known.speaker())
    number = seen["addresses"].get(address)
    for name in known.looks:
        there = known.status(name)
        if there and there["own"] == number:
            return name
    raise Refused(Trouble(f"no node serves {address}", "`smbplan ha status` says what there is"))


def _clients(site: Site, known: _Known) -> list[Client]:
    """One for each address, with the first account that may write. Raises Refused."""
    assert known.gateway.ha is not None
    for name, share in shares_of(site, known.name).items():
        for user in users_on(site, known.name):
            found = site.users[user]
            if level(site, share, user) == "write" and found.password and found.enabled and not share.homes:
                password = known.resolved(secret(site, user))
                return [Client(each, share.name or name, user, password) for each in known.gateway.ha.plain]
    hint = "write a user with a password into access: {write: …} of one of its shares"
    raise Refused(Trouble(f"cluster {known.name} has no share that a known user may write to", hint))
