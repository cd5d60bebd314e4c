"""Loop devices of the lab's machines: they belong to the host's kernel, so they must be given back."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from smbplan.lab.tools import run

PREFIX = "smbplan-lab."
SHARED = "/mnt/pve/shared/"
Device = tuple[str, str]
"""A loop device and what is behind it: its number is another's as soon as it is free."""


def by_tag(start: str) -> list[Device]:
    """Loop devices whose image's file name starts so."""
    return [(device, behind) for device, behind, path in _attached() if Path(path).name.startswith(start)]


def of_init(pid: int | None) -> list[Device]:
    """Loop devices on files that the machine of this init sees at the path they were attached by."""
    if pid is None or _identity(f"/proc/{pid}/root/.") == _identity("/proc/self/root/."):
        return []  # an init that has not yet entered its own filesystem sees the host's files
    return [
        (device, behind)
        for device, behind, path in _attached()
        # What is on the shared storage may be another machine's; containers' devices go with their mounts.
        if not path.startswith(SHARED) and _identity(f"/proc/{pid}/root{path}") == behind
    ]


def _attached() -> list[tuple[str, str, str]]:
    """Device, identity of its file, and the file's path as it was when attached."""
    shown = run(["losetup", "--list", "--json", "--output", "NAME,BACK-MAJ:MIN,BACK-INO,BACK-FILE"], check=False)
    return [
        (
            row["name"],
            f"{row['back-maj:min'].strip()} {row['back-ino']}",
            (row["back-file"] or "").removesuffix(" (deleted)"),
        )
        for row in json.loads(shown or "{}").get("loopdevices", [])
        if row["back-maj:min"]
    ]


def _identity(path: str) -> str | None:
    with suppress(OSError):
        stat = Path(path).stat()
        return f"{os.major(stat.st_dev)}:{os.minor(stat.st_dev)} {stat.st_ino}"
    return None


def detach(devices: list[Device], timeout: float = 5.0) -> None:
    """Detach what is still attached; a device whose last mount just went may do so by itself."""
    left = list(dict.fromkeys(devices))
    deadline = time.monotonic() + timeout
    while left and time.monotonic() < deadline:
        now = {(device, behind) for device, behind, _ in _attached()}
        left = [device for device in left if device in now]
        for device, _ in left:
            run(["losetup", "--detach", device], check=False)
        if left:
            time.sleep(0.01)
