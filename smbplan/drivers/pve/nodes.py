"""The nodes of a cluster by SSH as root, for what its API lets nobody do but root@pam himself."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from smbplan.drivers.channel import Channel
from smbplan.drivers.pve.client import Client


class Nodes:
    """Channels by node, opened when first used. Safe for several threads: each node does one thing at a time."""

    def __init__(self, client: Client, connect: Callable[[str, str], Channel]) -> None:
        self._client, self._connect = client, connect
        self._addresses: dict[str, str] = {}
        self._channels: dict[str, tuple[Channel, threading.Lock]] = {}
        self._guard = threading.Lock()

    def address(self, node: str) -> str:
        """As the cluster knows it; the name, where it tells none. Raises ApiError."""
        with self._guard:
            if not self._addresses:
                rows = self._client.get("cluster/status")
                self._addresses = {row["name"]: row["ip"] for row in rows if row["type"] == "node" and row.get("ip")}
            return self._addresses.get(node) or node

    def pct(self, node: str, *argv: str) -> None:
        """Raises ChannelError."""
        self._ask(node, "pct", argv=argv)

    def raw(self, node: str, vmid: int, remove: Sequence[str], add: Sequence[str]) -> None:
        """Take `lxc.*` lines out of a container's configuration, and add others. Raises ChannelError."""
        self._ask(node, "raw", vmid=vmid, remove=remove, add=add)

    def close(self) -> None:
        for channel, _ in self._channels.values():
            channel.close()

    def _ask(self, node: str, verb: str, **arguments: Any) -> Any:
        address = self.address(node)
        with self._guard:
            if node not in self._channels:
                self._channels[node] = self._connect(node, address), threading.Lock()
            channel, lock = self._channels[node]
        with lock:
            return channel.request(verb, **arguments)
