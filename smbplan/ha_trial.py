"""A trial of a cluster: something is done to it while real clients read and write."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from smbplan import ha
from smbplan.drivers.channel import Channel
from smbplan.drivers.errors import Answered, ChannelError, TakenOver
from smbplan.drivers.ha_client import Client, Seen
from smbplan.drivers.targets import Connect
from smbplan.errors import Refused, Trouble
from smbplan.ha import MOVED, Known
from smbplan.kinds.names import levels, shares_of
from smbplan.kinds.password import secret
from smbplan.spec.model import Site

SETTLE = 3.0  # seconds of service before and after what is done
Progress = Callable[[str], None]


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


def run(
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
    with ha.held(site, name, connect) as known:
        known.speaker()  # where no node is up, clients would try for minutes
        clients = _clients(site, known)
        for client in clients:
            client.start()
        try:
            return _tried(known, clients, progress, address, node, stop)
        finally:
            for client in clients:
                client.stop()


def _tried(known: Known, clients: list[Client], progress: Progress, address: str, node: str, stop: str) -> Trial:
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
        _may_stop(known, stop)
        with ha.written(known, "ha test", stop, power=("on", "off, and on")):
            _stopped(known, clients, progress, stop)
    else:
        home, goal = _way(known, address := address or known.gateway.ha.plain[0], node)
        done = f"{address} moved from {home} to {goal}"
        with ha.written(known, "ha test", address, node=(home, goal if node else f"{goal}, and back")):
            progress(f"moving {address} to {goal}")
            _moved(known, clients, address, goal)
            if not node:
                _moved(known, clients, address, home)
    progress("comparing what was written with what is there")
    return Trial(done, budget, tuple(client.stop() for client in clients), since)


def _way(known: Known, address: str, node: str) -> tuple[str, str]:
    """From which node an address moves, and where to. Raises Refused."""
    home = ha.server(known, address)
    if home is None:
        raise Refused(Trouble(f"no node serves {address}", "`smbplan ha status` says what there is"))
    goal = node or next(iter(ha.others(known, home)), "")
    ha.movable(known, address, goal)
    return home, goal


def _moved(known: Known, clients: list[Client], address: str, node: str) -> None:
    ha.movable(known, address, node)
    ha.moved(known, address, node)
    _served_again(clients, time.monotonic())


def _may_stop(known: Known, node: str) -> None:
    """Raises Refused."""
    ha.known_node(known, node)
    if not ha.others(known, node):
        raise Refused(Trouble(f"nobody would serve without {node}", "`smbplan ha status` says how the nodes are"))


def _stopped(known: Known, clients: list[Client], progress: Progress, node: str) -> None:
    """It comes back whatever happens."""
    progress(f"stopping {node}")
    try:
        known.ask(node, "power", on=False)
        _served_again(clients, time.monotonic())
    finally:
        progress(f"starting {node} again")
        _started(known, node)
        known.ask(node, "wait", seconds=6 * MOVED)
    _served_again(clients, time.monotonic())


def _started(known: Known, node: str) -> None:
    """Over a new connection, if the old one is lost. Raises ChannelError, and Refused where nobody gets there."""
    end = time.monotonic() + 6 * MOVED
    while True:
        try:
            known.ask(node, "power", on=True)
            return
        except (Answered, TakenOver):
            raise
        except ChannelError as error:
            if time.monotonic() > end:
                hint = "`smbplan apply` starts it; or there `systemctl enable --now ctdb`"
                raise Refused(Trouble(f"{node} is stopped still: {error.summary}", hint, error.detail)) from None
        time.sleep(1)


def _served_again(clients: list[Client], after: float) -> None:
    """Every client for some seconds, however long that takes to begin."""
    end = after + 6 * MOVED
    while time.monotonic() < end and not all(client.seen.done and client.seen.done[-1] > after for client in clients):
        time.sleep(0.1)
    time.sleep(SETTLE)


def _clients(site: Site, known: Known) -> list[Client]:
    """One for each address, with the first account that may write. Raises Refused."""
    assert known.gateway.ha is not None
    for name, share in shares_of(site, known.name).items():
        for user, may in levels(site, known.name, share.access.lists).items():
            found = site.users[user]
            if may == "write" and found.password and found.enabled and not share.homes:
                password = known.fleet.resolved(secret(site, user))
                return [Client(each, share.name or name, user, password) for each in known.gateway.ha.plain]
    hint = "write a user with a password into access: {write: …} of one of its shares"
    raise Refused(Trouble(f"cluster {known.name} has no share that a known user may write to", hint))
