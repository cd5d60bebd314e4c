"""Volumes of a container: where they are mounted, how they grow, and when they go.

A running container keeps its mount points: what is taken off or changed is pending until it starts again
(PVE::LXC::Config, vmconfig_hotplug_pending). Only a new mount point is there at once.
"""

import re
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from smbplan.drivers.agent.core import Untouched
from smbplan.drivers.pve import config
from smbplan.drivers.pve.tagged import Tagged

WAITS = "stays mounted until the container is restarted, and the next apply after that deletes its volume"


class Volumes(Tagged):
    """Brings a volume from a state to another."""

    def _volume(self, op: Mapping[str, Any], now: Any) -> None:
        guest, after = self._there(), op["after"]
        if after is None or str(after.get("key", "")).startswith("unused"):
            self._take_off(op, now)
            return
        new = now is None or now["key"].startswith("unused")
        if not new and after["size"] > now["size"]:
            self._grow(now["key"], after["size"])
        pairs = {"mp": after["path"], "backup": after["backup"], "ro": after["readonly"] or None}
        with self._unprotected() if new or _differs(now, after) else nullcontext():
            if new:
                key, volume, found = self._place(after, now)
                wish = volume or f"{after['volume']}:{config.gibibytes(after['size'])}"
                doomed = {path: one for path, one in guest.told.get("doomed", {}).items() if path != after["path"]}
                mount = config.text({"volume": wish, **pairs}, "volume")
                self.guests.tell(self._there(), self.records, {"doomed": doomed}, **{key: mount})
                self._remember(after["path"], found)
            elif _differs(now, after):  # a running container would keep an equal one as pending
                size = f"{max(now['size'], after['size']) >> 20}M"
                mount = config.text({"volume": now["id"], **pairs, "size": size}, "volume")
                changes: dict[str, Any] = {now["key"]: mount}
                self.guests.tell(self._there(), self.records, **changes)
            else:
                self.guests.tell(self._there(), self.records)

    def _place(self, after: Mapping[str, Any], now: Any) -> tuple[str, str, bool]:
        """Key of the mount point, a volume that is there ("" for a new one), and whether that one is to stay.

        What was taken off comes back: the volume has the share's data.
        """
        guest, path = self._there(), after["path"]
        known, doomed = (guest.told.get(name, {}).get(path, {}) for name in ("volumes", "doomed"))
        ours = {known.get("id"), doomed.get("id")}
        found = known.get("found", True) if doomed else True
        for row in self._pending():
            volume = config.properties(str(row.get("value", "")), "volume").get("volume", "")
            if row.get("delete") and re.fullmatch(r"mp\d+", row["key"]) and volume in ours:
                return row["key"], volume, found
        unused = {value for name, value in guest.config.items() if name.startswith("unused")}
        volume = now["id"] if now else next((each for each in ours if each in unused), "")
        return self._free_key(), volume, bool(volume) and found

    def _pending(self) -> list[Mapping[str, Any]]:
        """The keys that a running container has now, or will have."""
        guest = self._there()
        return list(self.client.get(f"{guest.path}/pending")) if guest.running else []

    def _free_key(self) -> str:
        """For a mount point. A running container keeps those that are to go, and would not mount another in place."""
        taken = {*self._there().config, *(row["key"] for row in self._pending())}
        return next(f"mp{number}" for number in range(256) if f"mp{number}" not in taken)

    def _remember(self, path: str, found: bool) -> None:
        """Which volume a mount point has got; one that was found is not deleted when the step is undone."""
        self._again()
        guest = self._there()
        mount = config.mounts(guest.config).get(path)
        if mount:
            volumes = {**guest.told.get("volumes", {}), path: {"id": mount["id"], "found": found}}
            self.guests.tell(guest, self.records, {"volumes": volumes})

    def _take_off(self, op: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """The mount point goes; the volume too, unless it was found and this is undone."""
        guest, path, planned = self._there(), now["path"], op["options"].get("delete_data")
        doomed = {key: one for key, one in guest.told.get("doomed", {}).items() if key != path}
        self.records[op["address"]] = None
        if guest.protected and planned:
            raise Untouched(f"container {guest.vmid} was protected since the plan was made", "", "make a new plan")
        with self._unprotected():
            mounted = now["key"].startswith("mp")
            if mounted and (op["after"] or planned or not guest.told.get("volumes", {}).get(path, {}).get("found")):
                doomed[path] = {"id": now["id"], "record": op["record"] or guest.records.get(op["address"])}
            self.guests.tell(self._there(), self.records, {"doomed": doomed}, delete=now["key"])
            if path in doomed and not op["after"]:
                self._free(path)

    def _free(self, path: str) -> None:
        """A volume that was taken off stands as `unusedN` until that is deleted, too."""
        self._again()
        guest = self._there()
        there = config.doomed(guest.config).get(path)
        if there:
            doomed = {key: one for key, one in guest.told["doomed"].items() if key != path}
            self.guests.tell(guest, self.records, {"doomed": doomed}, delete=there["state"]["key"])
        else:
            self.warnings.append(f"{path} {WAITS}")


def _differs(now: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a mount point has to be written: its size is another matter."""
    return any(after[name] != now[name] for name in ("backup", "readonly"))
