"""A container's settings in LXC's own terms, as pve-container writes them to /var/lib/lxc/ID/config at each start."""

import os
from pathlib import Path

from smbplan.lab.pve import limits
from smbplan.lab.pve.guest import Guest

HOME = Path("/var/lib/lxc")
PACKAGE_PATH = "/usr/share/smbplan-lab"
PYTHON = f"/usr/bin/env PYTHONPATH={PACKAGE_PATH} PYTHONPYCACHEPREFIX={PACKAGE_PATH}/bytecode /usr/bin/python3"
PACKAGES = "var/cache/smbplan-debs"
"""Where a lab's templates look for Debian packages."""


def folder(vmid: int) -> Path:
    """Everything of a container's that is not its volumes."""
    return HOME / str(vmid)


def failure(vmid: int) -> Path:
    """Where a hook says why it failed."""
    return folder(vmid) / "failure"


def rootfs(vmid: int) -> Path:
    """Where its file systems are mounted, in the view of its monitor only: they go when that ends."""
    return folder(vmid) / "rootfs"


def write(guest: Guest) -> Path:
    """Write LXC's configuration for the next start."""
    home = folder(guest.vmid)
    rootfs(guest.vmid).mkdir(parents=True, exist_ok=True)
    for path in (HOME, home, rootfs(guest.vmid)):
        path.chmod(0o755)
    config = home / "config"
    config.write_text("\n".join(_lines(guest)) + "\n")
    return config


def _lines(guest: Guest) -> list[str]:
    vmid = guest.vmid
    hook = f"{PYTHON} -sS -m smbplan.lab.pve.hook"
    lines = [
        "lxc.include = /usr/share/lxc/config/common.conf",
        "lxc.arch = amd64" if os.uname().machine == "x86_64" else f"lxc.arch = {os.uname().machine}",
        f"lxc.uts.name = {(guest.values.get('hostname') or f'CT{vmid}').partition('.')[0]}",
        f"lxc.rootfs.path = dir:{rootfs(vmid)}",
        "lxc.monitor.unshare = 1",
        f"lxc.hook.pre-start = {hook} pre-start",
        f"lxc.hook.start-host = {hook} start-host",
        f"lxc.hook.post-stop = {hook} post-stop",
        f"lxc.cgroup.dir.monitor = lxc.monitor/{vmid}",
        f"lxc.cgroup.dir.container = lxc/{vmid}",
        "lxc.cgroup.dir.container.inner = ns",
        "lxc.apparmor.profile = unconfined",
        "lxc.environment = TERM=linux",
        *limits.lxc_lines(guest),
        # There is no other source of packages in a lab.
        f"lxc.mount.entry = /{PACKAGES}-templates {PACKAGES} none bind,ro,optional 0 0",
    ]
    if guest.idmap:
        lines.insert(1, "lxc.include = /usr/share/lxc/config/userns.conf")
        lines += [f"lxc.idmap = {kind} {inside} {outside} {count}" for kind, inside, outside, count in guest.idmap]
    if guest.features.get("nesting") == "1":
        lines += [f"lxc.mount.entry = {kind} dev/.lxc/{name} {kind} create=dir,optional 0 0" for name, kind in NESTED]
    for number, entry in guest.networks().items():
        lines += [f"lxc.net.{number}.{key} = {value}" for key, value in _network(vmid, number, entry).items()]
    skipped = ("lxc.idmap", "lxc.cgroup2.pids.max", "lxc.cgroup.pids.max")  # both are above already
    return lines + [f"{key} = {value}" for key, value in guest.raw if key not in skipped]


NESTED = (("proc", "proc"), ("sys", "sysfs"))


def _network(vmid: int, number: int, entry: dict[str, str]) -> dict[str, str]:
    found = {
        "type": "veth",
        "link": entry.get("bridge", ""),
        "veth.pair": f"veth{vmid}i{number}",
        "name": entry["name"],
    }
    found |= {"hwaddr": entry["hwaddr"]} if "hwaddr" in entry else {}
    found |= {"mtu": entry["mtu"]} if "mtu" in entry else {}
    return {key: value for key, value in found.items() if value} | {"flags": "up"}
