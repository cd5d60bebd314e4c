"""What the lab's machines are made of. A change here changes the cache key, hence a new build."""

import hashlib
import json
from pathlib import Path

VERSION = 1

BASE = (
    "acl",
    "adduser",
    "attr",
    "btrfs-progs",
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libnss-systemd",
    "openssh-client",
    "openssh-server",
    "procps",
    "psmisc",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "zfs-fuse",
    "zstd",
)
"""Packages of every machine."""

SAMBA = ("samba", "samba-vfs-modules", "smbclient", "wsdd", "avahi-daemon")
"""Packages of the second layer; nodes without it can install them from the local repository."""

ON_REQUEST = ("ctdb", "ethtool", "krb5-user", "libnss-winbind", "libpam-winbind", "samba-dsdb-modules", "winbind")
"""Packages that only the local repository holds: installing them changes PAM, NSS or the network."""

DOMAIN = (
    "chrony",
    "faketime",
    "krb5-user",
    "ldb-tools",
    "libnss-winbind",
    "samba-ad-provision",
    "samba-dsdb-modules",
    "winbind",
)
"""Packages of a domain's machines, on top of Samba: its controller, a client, and members that need no download."""

PVE = (
    "chrony",
    "dnsmasq-base",
    "genisoimage",
    "lxc",
    "openssl",
    "qemu-system-common",
    "qemu-system-x86",
    "qemu-utils",
    "seabios",
    "uidmap",
)
"""Packages of the third layer: what a node needs to run containers, virtual machines and the PVE API."""

TEMPLATE = (
    "dbus",
    "ifupdown",
    "iproute2",
    "iputils-ping",
    "isc-dhcp-client",
    "libnss-systemd",
    "procps",
    "python3",
    "systemd-sysv",
)
"""Packages of the container template, on top of a minimal Debian."""

TEMPLATE_SAMBA = (
    "acl",
    "attr",
    "avahi-daemon",
    "ctdb",
    "ethtool",
    "libnss-winbind",
    "python3-samba",
    "samba",
    "samba-dsdb-modules",
    "samba-vfs-modules",
    "smbclient",
    "unattended-upgrades",
    "winbind",
    "wsdd",
)
"""What the second template has in addition; containers without it install it from the local repository."""

MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "proc-sys-fs-binfmt_misc.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-journal-flush.service",
    "systemd-logind.service",
    "systemd-modules-load.service",
    "systemd-networkd-wait-online.service",
    "systemd-networkd.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-resolved.service",
    "systemd-sysctl.service",
    "systemd-sysext.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "systemd-user-sessions.service",
    "zfs-fuse.service",
)
"""Units that wait for hardware, change the host's kernel settings, or only cost boot time."""

SCRIPT = Path(__file__).with_name("build.sh")


def key(release: str) -> str:
    """Name of the build for a Debian release: changes with anything that goes into it."""
    packages = (BASE, SAMBA, ON_REQUEST, DOMAIN, PVE, TEMPLATE, TEMPLATE_SAMBA)
    recipe = json.dumps([VERSION, release, packages, MASKED, SCRIPT.read_text()])
    return f"{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
