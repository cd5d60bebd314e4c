"""Memory, CPU and process limits of a container, by cgroup v2 or, where the host lacks a controller there, v1.

The lab shows a node its part of the v1 trees below /run/lab-cgroup; LXC knows nothing of them, so a hook
puts the container's first process there. What lxc-attach starts is then not in the group: on such hosts
limits hold for everything that the container's own init started.
"""

import os
from contextlib import suppress
from pathlib import Path

from smbplan.lab.pve.guest import Guest

UNIFIED = Path("/sys/fs/cgroup")
LEGACY = Path("/run/lab-cgroup")
PERIOD = 100000


def group(vmid: int, controller: str) -> Path:
    """The folder that limits and counts this of the container (it may not exist)."""
    top = LEGACY / controller
    return top / str(vmid) if top.is_dir() else UNIFIED / "lxc" / str(vmid)


def wanted(guest: Guest) -> dict[str, dict[str, str]]:
    """Controller → file → value."""
    found: dict[str, dict[str, str]] = {}
    quota = int(guest.cpus * PERIOD) or None
    if (LEGACY / "memory").is_dir():
        found["memory"] = {"memory.limit_in_bytes": str(guest.memory)}
    else:
        found["memory"] = {"memory.max": str(guest.memory), "memory.swap.max": str(guest.swap)}
    if (LEGACY / "cpu").is_dir():
        found["cpu"] = {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(quota or -1)}
    else:
        found["cpu"] = {"cpu.max": f"{quota or 'max'} {PERIOD}"}
    pids = [value for key, value in guest.raw if key in ("lxc.cgroup2.pids.max", "lxc.cgroup.pids.max")]
    return found | ({"pids": {"pids.max": pids[-1]}} if pids else {})


def lxc_lines(guest: Guest) -> list[str]:
    """Limits for LXC itself to set."""
    return [
        f"lxc.cgroup2.{file} = {value}"
        for controller, files in wanted(guest).items()
        if not (LEGACY / controller).is_dir()
        for file, value in files.items()
    ]


def enter_legacy(guest: Guest, pid: int) -> None:
    """Limit a container's first process, and with it all that it starts, by v1 controllers."""
    for controller in wanted(guest):
        if (LEGACY / controller).is_dir():
            group(guest.vmid, controller).mkdir(exist_ok=True)
    apply(guest)
    for controller in wanted(guest):
        if (LEGACY / controller).is_dir():
            (group(guest.vmid, controller) / "cgroup.procs").write_text(str(pid))


def apply(guest: Guest) -> None:
    """Set the limits of a running container. Lower memory than it uses is OSError (v1) or ends processes (v2)."""
    for controller, files in wanted(guest).items():
        for file, value in files.items():
            with suppress(FileNotFoundError):
                (group(guest.vmid, controller) / file).write_text(value)


def remove_legacy(vmid: int) -> None:
    """Give up the v1 groups of a container whose processes are gone."""
    for top in LEGACY.glob("*"):
        _remove(top / str(vmid))


def remove(vmid: int) -> None:
    """Give up all groups of a container that doesn't run; the kernel keeps those that have processes.

    A monitor's group that was left behind takes the name, and no later start gets beyond that.
    """
    remove_legacy(vmid)
    for top in ("lxc.monitor", "lxc"):
        _remove(UNIFIED / top / str(vmid))


def _remove(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()


def memory_used(vmid: int) -> int:
    """Bytes, without what the kernel would drop at once."""
    place = group(vmid, "memory")
    legacy = place.parent.parent == LEGACY
    try:
        used = int((place / ("memory.usage_in_bytes" if legacy else "memory.current")).read_text())
        stat = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return max(0, used - int(stat.get("total_inactive_file" if legacy else "inactive_file", "0")))


def cpu_seconds(vmid: int) -> float:
    """CPU time used since start; v2 counts it without a controller."""
    with suppress(OSError):
        for line in (UNIFIED / "lxc" / str(vmid) / "cpu.stat").read_text().splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
    return 0.0
