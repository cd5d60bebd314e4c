"""File systems on disks: made on an empty one, grown with it, and never made where anything is. mke2fs(8), blkid(8)"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from typing import Any

from .core import Object, Refused, Untouched, run

APPEARS = 10.0  # seconds that a disk has after it was plugged in
SLACK = 2**20  # bytes at the end of a disk that a file system may leave


class FileSystem(Object):
    """The name is the disk's path. State: {type, uuid, size}; None for a disk without any signature, or none at all.

    `size` is that of the disk where the file system fills it. What is on it may be seen, but is not looked into.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        if not os.path.exists(name):
            return None
        found = _signature(name)
        if not found:
            return None
        disk = _size(name)
        inside = _inside(name) if found.get("TYPE") == "ext4" else disk
        type_ = found.get("TYPE") or found.get("PTTYPE") or "an unknown"
        return {"type": type_, "uuid": found.get("UUID", ""), "size": disk if disk - inside < SLACK else inside}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        _wait_for(name)
        if after is None:
            self._erase(name)
        elif before is None:
            if _signature(name):  # the disk was not there when it was looked at
                raise Untouched(f"{name} holds a file system already", "", "make a new plan")
            run(["mkfs.ext4", "-q", "-U", after["uuid"], "-E", "lazy_itable_init=1,lazy_journal_init=1", name])
        elif (before["type"], before["uuid"]) == (after["type"], after["uuid"]):
            if after["size"] > before["size"]:
                run(["resize2fs", name])
        else:
            raise Untouched(f"{name} holds another file system, {before['type']} {before['uuid']}")

    @staticmethod
    def _erase(name: str) -> None:
        """Only what nobody has written to, which is looked at."""
        with tempfile.TemporaryDirectory() as place:
            run(["mount", "-o", "ro", name, place])
            try:
                used = [each for each in os.listdir(place) if each != "lost+found"]
            finally:
                run(["umount", place])
        if used:
            raise Untouched(f"the file system on {name} holds data, so it stays")
        run(["wipefs", "-q", "-a", name])


def _wait_for(name: str) -> None:
    deadline = time.monotonic() + APPEARS
    while not os.path.exists(name):
        if time.monotonic() > deadline:
            raise Refused(f"the disk {name} has not appeared", "", "look at `lsblk -o NAME,SERIAL` in the VM")
        time.sleep(0.1)


def _signature(name: str) -> dict[str, str]:
    """What blkid finds; {} of nothing at all."""
    done = subprocess.run(["blkid", "-p", "-o", "export", name], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 2):  # 2 is: nothing found; 8: several, which is no empty disk either
        return {"TYPE": "more than one"}
    return dict(row.split("=", 1) for row in done.stdout.splitlines() if "=" in row and not row.startswith("DEVNAME="))


def _size(name: str) -> int:
    return int(run(["blockdev", "--getsize64", name]))


def _inside(name: str) -> int:
    """Bytes of an ext4, by its superblock. ext4(5)"""
    rows = dict(row.split(":", 1) for row in run(["dumpe2fs", "-h", name]).splitlines() if ":" in row)
    return int(rows["Block count"]) * int(rows["Block size"])
