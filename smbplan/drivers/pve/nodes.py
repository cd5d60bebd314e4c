"""The nodes of a cluster by SSH as root, for what its API lets nobody do but root@pam himself."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from smbplan.drivers.agent.journal import open_of
from smbplan.drivers.bundle import bundle
from smbplan.drivers.channel import Channel
from smbplan.drivers.errors import ChannelError, Unreachable
from smbplan.drivers.pve.client import Client
from smbplan.drivers.turn import Claim
from smbplan.kinds.guest import CLUSTER

TRIED = 3  # nodes, until one is reached
SOON = 5.0  # seconds; the signs of life to others must not wait for a node that is at work
ENDS = ("ended", "finish")


class Nodes:
    """Channels by node, opened when first used. Safe for several threads: each node does one thing at a time."""

    def __init__(self, client: Client, connect: Callable[[str, str], Channel]) -> None:
        self._client, self._connect = client, connect
        self._addresses: dict[str, str] = {}
        self._channels: dict[str, tuple[Channel, threading.Lock]] = {}
        self._guard = threading.Lock()
        self._claim: Claim | None = None
        self.keepers: set[str] = set()  # nodes on which this run is written down
        self._keeper = ""  # the node by which the cluster's lease is held
        self.met: Mapping[str, Any] | None = None  # whom it waited for then

    def address(self, node: str) -> str:
        """As the cluster knows it; the name, where it tells none. Raises ApiError."""
        return self._known().get(node) or node

    def _known(self) -> dict[str, str]:
        """{node: its address} of those that the cluster tells. Raises ApiError."""
        with self._guard:
            if not self._addresses:
                rows = self._client.get("cluster/status")
                self._addresses = {row["name"]: row["ip"] for row in rows if row["type"] == "node" and row.get("ip")}
            return self._addresses

    def pct(self, node: str, *argv: str) -> None:
        """Raises ChannelError."""
        self._change(node, "pct", argv=argv)

    def unlock(self, node: str, tool: str, vmid: int) -> None:
        """Of a guest on which nothing works any more. Raises ChannelError."""
        self._change(node, "unlock", tool=tool, vmid=vmid)

    def mounted(self, node: str, vmid: int, path: str) -> str:
        """`mount` or `deleted` where the running container has something there. Raises ChannelError."""
        return str(self._ask(node, "mounted", vmid=vmid, path=path))

    def unmount(self, node: str, vmid: int, path: str) -> None:
        """Take a mount off the running container, if that can be. Raises ChannelError."""
        self._change(node, "unmount", vmid=vmid, path=path)

    def containers(self, node: str) -> Mapping[str, Any]:
        """Those that are there, see drivers.agent.containers. Raises ChannelError."""
        return dict(self._ask(node, "containers"))

    def inside(self, node: str, commands: Mapping[str, str], lines: Mapping[str, str]) -> Mapping[str, str]:
        """What agents in the node's containers answer, by the names of the requests. Raises ChannelError."""
        return dict(self._ask(node, "inside", commands=commands, lines=lines, agent=bundle().decode()))

    @contextmanager
    def console(self, node: str, vmid: int) -> Iterator[Callable[[float], list[str]]]:
        """Listen to a VM's serial console, so many seconds at a time. Raises ChannelError."""
        channel = self._connect(node, self.address(node))
        try:
            yield lambda seconds: list(channel.request("console", vmid=vmid, seconds=seconds))
        finally:
            channel.close()

    def raw(self, node: str, vmid: int, remove: Sequence[str], add: Sequence[str]) -> None:
        """Take `lxc.*` lines out of a container's configuration, and add others. Raises ChannelError."""
        self._change(node, "raw", vmid=vmid, remove=remove, add=add)

    def lock(self, claim: Claim, wait: float, again: bool) -> list[Any]:
        """The lease of the cluster, and a journal, by the first node that can be reached: see drivers.channel.Channel.

        Where none can be, Proxmox's own locks of each guest must do. Raises ChannelError, Held and TakenOver.
        """
        self._claim = claim
        where = {"site": _journal(claim.site), "lease": claim.site, "wide": True}
        for node in sorted(self._known())[:TRIED]:
            with suppress(Unreachable), self._held(node) as channel:
                found = channel.lock(claim, wait, again, **where)
                self._keeper, self.met = node, channel.met
                self.keepers.add(node)
                return found + self._elsewhere(claim, node)
        return []

    def _elsewhere(self, claim: Claim, keeper: str) -> list[Any]:
        """What other nodes that are there know of other runs; not of one of which any knows that it has ended."""
        return open_of([row for row in self.runs(claim.site, but=keeper)["runs"] if row["run"] != claim.run])

    def _of_all(self, verb: str, words: Mapping[str, Any]) -> None:
        """The keeper and those before it. Where one of these can't be told, the keeper does not forget that the run has
        ended: what is written on the other one may show up again. Raises ChannelError.
        """
        away = False
        for node in self.keepers - {self._keeper}:
            try:
                self.keep(verb, node=node, **words)
            except ChannelError:
                away = True
        self.keep("release" if away and verb == "finish" else verb, node=self._keeper, **words)

    def keep(self, verb: str, node: str = "", **words: Any) -> Any:
        """Of the node whose lease it is; of another one when that has gone. Raises ChannelError and TakenOver."""
        if self._claim is None or not self._keeper:
            return None
        if verb in ENDS and not node:
            return self._of_all(verb, words)
        claim = self._claim
        given = {"site": _journal(claim.site), "lease": claim.site, "wide": True, "token": claim.token, **words}
        given |= {"about": claim.about(), "run": claim.run}
        if node:
            return self._ask(node, verb, **given)
        try:
            return self._ask(self._keeper, verb, **given)
        except Unreachable:
            self.lock(claim, 0.0, True)
            return self._ask(self._keeper, verb, **given)

    def runs(self, site: str, but: str = "") -> dict[str, Any]:
        """What all nodes know of runs; `unsure` if one could not be asked. Raises ApiError."""
        found: dict[str, Any] = {"runs": [], "lease": None, "unsure": False}
        nodes = [node for node in sorted(self._known()) if node != but]

        def asked(node: str) -> Any:
            try:
                return self._ask(node, "runs", site=_journal(site), lease=site, wide=True)
            except ChannelError:
                return None

        with ThreadPoolExecutor(max(1, len(nodes))) as pool:
            for told in pool.map(asked, nodes):
                found["unsure"] |= told is None
                found["runs"] += told["runs"] if told else []
                found["lease"] = found["lease"] or (told["lease"] if told else None)
        return found

    def close(self) -> None:
        for channel, _ in self._channels.values():
            channel.close()

    def _change(self, node: str, verb: str, **arguments: Any) -> None:
        """Of a guest, as the API does. Raises ChannelError."""
        with self._held(node) as channel:
            channel.open()
            self._client.changed = True
            channel.request(verb, **arguments)

    def _ask(self, node: str, verb: str, **arguments: Any) -> Any:
        with self._held(node, SOON if verb == "beat" else -1) as channel:
            return channel.request(verb, **arguments)

    @contextmanager
    def _held(self, node: str, longest: float = -1) -> Iterator[Channel]:
        """Raises ChannelError where that takes longer than so many seconds."""
        address = self.address(node)
        with self._guard:
            if node not in self._channels:
                self._channels[node] = self._connect(node, address), threading.Lock()
            channel, lock = self._channels[node]
        if not lock.acquire(timeout=longest):
            raise ChannelError(f"{node} is at work")
        try:
            yield channel
        finally:
            lock.release()


def _journal(site: str) -> str:
    """The name of what is noted on a node of changes to the cluster, beside those to the node itself."""
    return f"{site}{CLUSTER}"
