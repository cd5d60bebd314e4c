"""What only root@pam himself may set in a container, by SSH to its node: bind mounts, id maps and mount entries."""

from collections.abc import Mapping
from typing import Any

from smbplan.drivers.agent.core import Untouched
from smbplan.drivers.pve import config
from smbplan.drivers.pve.guests import Guest, Guests
from smbplan.drivers.pve.nodes import Nodes
from smbplan.drivers.pve.volumes import Volumes

SHUTDOWN = 60  # seconds that a container has to end by itself


class Rooted(Volumes):
    """Brings one of these from a state to another."""

    def __init__(self, guests: Guests, nodes: Nodes, gateway: str, guest: Guest | None) -> None:
        super().__init__(guests, gateway, guest)
        self.nodes = nodes

    def _bind(self, op: Mapping[str, Any], now: Any) -> None:
        """A token may take a bind mount away, but not make one."""
        guest, after = self._there(), op["after"]
        with self._unprotected():
            if after is None:
                self.guests.tell(self._there(), self.records, delete=now["key"])
                if guest.running:  # what lies below could not be removed while it is mounted
                    self.nodes.unmount(guest.node, guest.vmid, now["path"])
                return
            key = now["key"] if now else self._key_of(after)
            pairs = {"volume": after["volume"], "mp": after["path"], "ro": after["readonly"] or None}
            there = self._there()
            told = ("--description", self.guests.description(there, self.records))
            change = ("--digest", str(there.config["digest"]), *told, f"--{key}", config.text(pairs, "volume"))
            self.nodes.pct(guest.node, "set", str(guest.vmid), *change)

    def _key_of(self, after: Mapping[str, Any]) -> str:
        """A free one, or that of the same mount point where a running container still has it."""
        guest, path = self._there(), after["path"]
        there = self.nodes.mounted(guest.node, guest.vmid, path) if guest.running else "mount"
        if there == "deleted":  # another folder of that name
            self.nodes.unmount(guest.node, guest.vmid, path)
            there = self.nodes.mounted(guest.node, guest.vmid, path)
            if there:
                words = f"container {guest.vmid} has a folder at {path} that was deleted on {guest.node}"
                raise Untouched(words, "", f"`pct reboot {guest.vmid}` there lets go of it; then apply again")
        if not there:
            return self._free_key()
        for row in self._pending():
            pairs = config.properties(str(row.get("value", "")), "volume")
            if row.get("delete") and (pairs.get("volume"), pairs.get("mp")) == (after["volume"], after["path"]):
                return str(row["key"])
        return self._free_key()

    def _idmap(self, op: Mapping[str, Any], now: Any) -> None:
        before, after = (state["map"] if state else [] for state in (now, op["after"]))
        self._raw([f"lxc.idmap: {line}" for line in before], [f"lxc.idmap: {line}" for line in after])
        if self._there().running:
            self._stop()
            self._wait(self.client.post(f"{self._there().path}/status/start"))

    def _entry(self, op: Mapping[str, Any], now: Any) -> None:
        path = op["name"].partition(":")[2]
        before, after = ([config.entry(state["source"], path)] if state else [] for state in (now, op["after"]))
        self._raw(before, after)

    def _raw(self, before: list[str], after: list[str]) -> None:
        """The lines first: the record of what was not done must not stand there."""
        guest = self._there()
        self.nodes.raw(guest.node, guest.vmid, before, after)
        self.client.changed = True  # though not by the API
        self._again()
        self.guests.tell(self._there(), self.records)

    def _stop(self) -> None:
        self._wait(self.client.post(f"{self._there().path}/status/shutdown", timeout=SHUTDOWN, forceStop=1))
