"""Parameters of containers: what can be in a configuration, and what create takes beside it."""

import re

from smbplan.lab.pve.schema import BOOL, INT, NEED, STR, Param, Table

OS_TYPES = (
    "debian",
    "devuan",
    "ubuntu",
    "centos",
    "fedora",
    "opensuse",
    "archlinux",
    "alpine",
    "gentoo",
    "nixos",
    "unmanaged",
)
LOCKS = (
    "backup",
    "create",
    "destroyed",
    "disk",
    "fstrim",
    "migrate",
    "mounted",
    "rollback",
    "snapshot",
    "snapshot-delete",
)
NEW_VOLUME = re.compile(r"([^:\s]+):(\d+(?:\.\d+)?)")

CONFIG: Table = {
    "arch": Param(enum=("amd64", "i386", "arm64", "armhf", "riscv32", "riscv64")),
    "cmode": Param(enum=("shell", "console", "tty")),
    "console": BOOL,
    "cores": Param("integer", low=1, high=8192),
    "cpulimit": Param("number", low=0, high=8192),
    "cpuunits": Param("integer", low=0, high=500000),
    "debug": BOOL,
    "description": Param(longest=8192),
    "dev[n]": Param(props="dev"),
    "entrypoint": Param(since=9),
    "env": Param(since=9),
    "features": Param(props="features"),
    "hookscript": Param(format="volume-id"),
    "hostname": Param(format="dns-name", longest=255),
    "lock": Param(enum=LOCKS),
    "memory": Param("integer", low=16),
    "mp[n]": Param(props="mp"),
    "nameserver": Param(format="address-list"),
    "net[n]": Param(props="net"),
    "onboot": BOOL,
    "ostype": Param(enum=OS_TYPES),
    "protection": BOOL,
    "rootfs": Param(props="rootfs"),
    "searchdomain": Param(format="dns-name-list"),
    "startup": Param(format="startup"),
    "swap": Param("integer", low=0),
    "tags": Param(format="tags"),
    "template": BOOL,
    "timezone": Param(format="timezone"),
    "tty": Param("integer", low=0, high=6),
    "unprivileged": BOOL,
    "unused[n]": Param(props="unused"),
}
CREATE: Table = {
    **CONFIG,
    "vmid": Param("integer", optional=False, format="vmid"),
    "ostemplate": Param(optional=False, longest=255),
    "bwlimit": Param("number", low=0),
    "force": BOOL,
    "ha-managed": Param("boolean", since=9),
    "ignore-unpack-errors": BOOL,
    "password": Param(shortest=5),
    "pool": Param(format="pool"),
    "restore": BOOL,
    "ssh-public-keys": STR,
    "start": BOOL,
    "storage": Param(format="storage-id"),
    "unique": BOOL,
}
UPDATE: Table = {**CONFIG, "delete": STR, "digest": Param(longest=40), "revert": STR}
DESTROY: Table = {"destroy-unreferenced-disks": BOOL, "force": BOOL, "purge": BOOL}
RESIZE: Table = {
    "disk": Param(optional=False, pattern=r"rootfs|mp\d{1,3}"),
    "size": Param(optional=False, pattern=r"\+?\d+(\.\d+)?[KMGT]?"),
    "digest": Param(longest=40),
}
MIGRATE: Table = {
    "target": NEED,
    "online": BOOL,
    "restart": BOOL,
    "timeout": INT,
    "bwlimit": Param("number", low=0),
    "target-storage": STR,
}


def is_volume_key(key: str) -> bool:
    """Whether the key holds a mount point."""
    return key == "rootfs" or bool(re.fullmatch(r"mp\d+", key))


def volume_type(volume: str) -> str:
    """`volume`, `bind` (a path) or `device`."""
    if volume.startswith("/dev/"):
        return "device"
    return "bind" if volume.startswith("/") else "volume"
