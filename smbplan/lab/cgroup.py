"""The lab's own part of the cgroup v2 tree: who lives in a machine, and ending all of them at once."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from smbplan.lab.tools import LabError

ROOT = "smbplan-lab"
LIMITS = ("cpu", "memory", "pids")
"""Controllers that containers are limited by."""


def mount_point() -> Path:
    """Where cgroup v2 is mounted: alone, or beside v1 on a hybrid host. LabError if nowhere."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise LabError("cgroup v2 is not mounted on this host", "mount -t cgroup2 cgroup2 /sys/fs/cgroup")


def legacy() -> dict[str, Path]:
    """Where cgroup v1 has the controllers that v2 lacks on this host, if anywhere (a hybrid host)."""
    unified = (mount_point() / "cgroup.controllers").read_text().split()
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup":
            found |= {name: Path(place) for name in LIMITS if name in options.split(",") and name not in unified}
    return found


def delegate(group: Path) -> dict[str, Path]:
    """Make a machine's group, able to limit what is in it; the places in v1 for controllers that v2 lacks."""
    group.mkdir(parents=True, exist_ok=True)
    for parent in reversed(group.relative_to(mount_point()).parents):
        for name in LIMITS:
            with suppress(OSError):  # one by one: a controller may be missing
                (mount_point() / parent / "cgroup.subtree_control").write_text(f"+{name}")
    places = {name: _counterpart(group, top) for name, top in legacy().items()}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    return places


def _counterpart(group: Path, top: Path) -> Path:
    return top / group.relative_to(mount_point())


def lab_dir(lab: str) -> Path:
    """The cgroup that holds all machines of a lab (it may not exist)."""
    return mount_point() / ROOT / lab


def pids(group: Path) -> list[int]:
    """Processes in the group and below it, as this host numbers them."""
    found: list[int] = []
    for child in _tree(group):
        with suppress(OSError):
            found += [int(pid) for pid in (child / "cgroup.procs").read_text().split() if pid != "0"]
    return found


def init_pid(group: Path) -> int | None:
    """Host's id of the process that is number 1 in the machine's own process namespace."""
    for pid in pids(group):
        with suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            if len(numbers) == 2 and numbers[1] == "1":
                return pid
    return None


def remove(group: Path, timeout: float = 10.0) -> None:
    """End every process in the group by SIGKILL and remove it; nothing happens if there is none."""
    deadline = time.monotonic() + timeout
    for tree in (group, *(_counterpart(group, top) for top in legacy().values())):
        _remove(tree, deadline)


def _remove(group: Path, deadline: float) -> None:
    while group.is_dir():
        _kill(group)
        for child in reversed(_tree(group)):
            with suppress(OSError):
                child.rmdir()
        if not group.is_dir():
            return
        if time.monotonic() > deadline:
            raise LabError(f"processes {pids(group)} in {group} can't be ended")
        time.sleep(0.01)


def remove_root() -> None:
    """Remove the group of all labs if none is left in it."""
    for top in (mount_point(), *legacy().values()):
        with suppress(OSError):
            (top / ROOT).rmdir()


def _tree(group: Path) -> list[Path]:
    # Groups come and go while we look: os.walk passes over what vanished, rglob raises.
    return [Path(place) for place, _, _ in os.walk(group)]


def _kill(group: Path) -> None:
    try:
        (group / "cgroup.kill").write_text("1")
    except OSError:  # before Linux 5.14
        for pid in pids(group):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
