"""Loop devices of the lab's machines: they belong to the host's kernel, so they must be given back."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from smbplan.lab.tools import run

PREFIX = "smbplan-lab."


def by_tag(start: str) -> list[str]:
    """Loop devices whose image's file name starts so."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            if Path(path.read_text().strip().removesuffix(" (deleted)")).name.startswith(start):
                found.append(f"/dev/{path.parent.parent.name}")
    return sorted(found)


def of_init(pid: int | None) -> list[str]:
    """Loop devices on files that the machine of this init sees at the path they were attached by."""
    if pid is None or _root_of(str(pid)) == _root_of("self"):
        return []  # an init that has not yet entered its own filesystem sees the host's files
    shown = run(["losetup", "--list", "--json", "--output", "NAME,BACK-MAJ:MIN,BACK-INO,BACK-FILE"], check=False)
    return [
        row["name"]
        for row in json.loads(shown or "{}").get("loopdevices", [])
        if _identity(f"/proc/{pid}/root{row['back-file']}") == (row["back-maj:min"].strip(), str(row["back-ino"]))
    ]


def _root_of(process: str) -> tuple[str, str] | None:
    return _identity(f"/proc/{process}/root/.")


def _identity(path: str) -> tuple[str, str] | None:
    with suppress(OSError):
        stat = Path(path).stat()
        return f"{os.major(stat.st_dev)}:{os.minor(stat.st_dev)}", str(stat.st_ino)
    return None


def detach(devices: list[str], timeout: float = 5.0) -> None:
    """Detach what is still attached; a device whose last mount just went may do so by itself."""
    deadline = time.monotonic() + timeout
    for device in dict.fromkeys(devices):
        backing = Path(f"/sys/block/{Path(device).name}/loop/backing_file")
        while backing.exists() and time.monotonic() < deadline:
            run(["losetup", "--detach", device], check=False)
            time.sleep(0.01)
