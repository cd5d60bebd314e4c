"""File systems on disks: made on an empty one, grown with it, and never made where anything is. mke2fs(8), blkid(8)"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from .core import IMAGES, Object, Refused, Untouched, run

APPEARS = 10.0  # seconds that a disk has after it was plugged in
SLACK = 4 * 2**20  # bytes at the end of a disk that are too few for another block group
EDGE = 2**20  # bytes at either end of a disk that have to be zero
BLOCKS = Path("/sys/block")
UNNAMED = "data that has no name"


class FileSystem(Object):
    """The name is the disk's serial number. State: {type, uuid, size}; None for none, type "" for one that is empty.

    `size` is that of the disk where the file system fills it. What is on it may be seen, but is not looked into.
    A disk that came after the plan was made is new: storages give what others have left behind the first sectors.
    One that the inventory knew before is not, and has lost its file system. Only what this run made is ever unmade.
    """

    def vacant(self, state: Any) -> bool:
        return state is None or state["type"] in ("", UNNAMED)

    def torn(self, name: str, state: Any, after: Any, options: dict[str, Any]) -> bool:
        """Also of a disk that came back with its file system, and is larger now."""
        own = state and after and (state["type"], state["uuid"]) == (after["type"], after["uuid"])
        return bool(own and state["size"] < after["size"])

    def get(self, name: str, options: dict[str, Any]) -> Any:
        device = _device(name)
        if not device:
            return None
        found, disk = _signature(device), _size(device)
        if not found:
            return {"type": "", "uuid": "", "size": disk}
        inside = _inside(device) if found.get("TYPE") == "ext4" else disk
        type_ = found.get("TYPE") or found.get("PTTYPE") or "an unknown one"
        type_ = "a damaged one" if type_ == UNNAMED and options.get("known") else type_
        return {"type": type_, "uuid": found.get("UUID", ""), "size": disk if disk - inside < SLACK else inside}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        device = _appeared(name, after["size"] if after else 0)
        if self.vacant(after):
            if IMAGES.has(f"filesystem {name}"):  # else it came back with its disk
                self._erase(device)
            return
        now = self.get(name, options)  # the disk may not have been there when it was looked at
        if self.vacant(now):
            IMAGES.keep(f"filesystem {name}", lambda: "empty")
            run(["mkfs.ext4", "-q", "-U", after["uuid"], "-E", "lazy_itable_init=1,lazy_journal_init=1", device])
            run(["debugfs", "-w", "-R", "rmdir lost+found", device])  # no user's; e2fsck makes it when it needs it
            run(["udevadm", "trigger", "--settle", device])  # what mounts it knows it by its UUID
        elif (now["type"], now["uuid"]) != (after["type"], after["uuid"]):
            raise Untouched(f"the disk {name} holds another file system, {now['type']} {now['uuid']}")
        elif after["size"] > now["size"]:
            run(["resize2fs", device])

    @staticmethod
    def _erase(device: str) -> None:
        """Only what nobody has written to, which is looked at."""
        with tempfile.TemporaryDirectory() as place:
            run(["mount", "-o", "ro", device, place])
            try:
                used = [each for each in os.listdir(place) if each != "lost+found"]
            finally:
                run(["umount", place])
        if used:
            raise Untouched(f"the file system on {device} holds data, so it stays")
        run(["wipefs", "-q", "-a", device])
        with open(device, "r+b") as file:  # empty is what it was
            file.write(bytes(EDGE))


def _device(serial: str) -> str:
    """The disk with this serial number, as its vital product data tells it (SPC-4, page 80h); "" if there is none."""
    for page in sorted(BLOCKS.glob("*/device/vpd_pg80")):
        if page.read_bytes()[4:].decode("ascii", "replace").strip(" \0") == serial:
            return f"/dev/{page.parts[-3]}"
    return ""


def _appeared(serial: str, size: int) -> str:
    """The disk, when the kernel has seen that it was plugged in, or has grown to so many bytes."""
    deadline = time.monotonic() + APPEARS
    while not (device := _device(serial)) or _size(device) < size:
        if time.monotonic() > deadline:
            words = f"the disk {serial} has not {'grown' if device else 'appeared'}"
            raise Refused(words, "", "look at `lsblk -o NAME,SERIAL,SIZE` in the VM")
        time.sleep(0.1)
    return device


def _signature(device: str) -> dict[str, str]:
    """What blkid finds; {} of nothing at all: a disk that is all zero where anything would begin or end."""
    done = subprocess.run(["blkid", "-p", "-o", "export", device], capture_output=True, text=True, check=False)
    if done.returncode == 2 and _is_blank(device):
        return {}
    if done.returncode:  # 8 is: several
        return {"TYPE": UNNAMED if done.returncode == 2 else "several at once"}
    return dict(row.split("=", 1) for row in done.stdout.splitlines() if "=" in row and not row.startswith("DEVNAME="))


def _is_blank(device: str) -> bool:
    with open(device, "rb") as file:
        for at in (0, max(0, _size(device) - EDGE)):
            file.seek(at)
            if file.read(EDGE).strip(b"\0"):
                return False
    return True


def _size(device: str) -> int:
    return int(run(["blockdev", "--getsize64", device]))


def _inside(device: str) -> int:
    """Bytes of an ext4, by its superblock. ext4(5)"""
    rows = dict(row.split(":", 1) for row in run(["dumpe2fs", "-h", device]).splitlines() if ":" in row)
    return int(rows["Block count"]) * int(rows["Block size"])
