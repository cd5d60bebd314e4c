"""Container templates with Samba in them, built on this machine by mmdebstrap(1)."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from smbplan import debian
from smbplan.debian import Progress
from smbplan.kinds.packages import SERVED

SYSTEM = (
    "adduser",
    "ca-certificates",
    "dbus",
    "ifupdown",
    "iproute2",
    "iputils-ping",
    "isc-dhcp-client",
    "libnss-systemd",
    "netbase",
    "procps",
    "python3",
    "python3-samba",
    "systemd-sysv",
)
"""What a container of Proxmox VE and smbplan's agent need, on top of a minimal Debian."""
MIRROR = debian.MIRROR
TOOLS = debian.TOOLS | {"zstd": "zstd"}
# Can't be mounted in an unprivileged container.
MASK = 'ln -sf /dev/null "$1/etc/systemd/system/sys-kernel-debug.mount"'


@dataclass(frozen=True, slots=True)
class Image:
    """A template in a file."""

    file: Path
    samba: str  # its version, as dpkg tells it


@contextmanager
def built(mirror: str, progress: Progress) -> Iterator[Image]:
    """A new template, in a folder that is removed in the end. Raises Refused when it can't be built.

    `mirror` is what holds the archives `debian` and `debian-security` that containers get their updates from. This
    machine downloads from its own sources. It takes about a minute.
    """
    debian.need(TOOLS)
    release, number = debian.codename(), debian.version()
    with tempfile.TemporaryDirectory(prefix="smbplan-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt's own user looks into it
        version, made = folder / "version", folder / "image.tar"
        version.touch()
        version.chmod(0o666)  # mmdebstrap's hook may be another user of this machine
        command = debian.mmdebstrap(made, release, [*SYSTEM, *SERVED], [debian.BLANK_HOOK, MASK])
        progress(f"building a template of Debian {number} with Samba; this takes about a minute")
        environment = debian.build_environment(folder, release, mirror, SERVED, version)
        debian.run([*debian.contained(), command[0], "--skip=output/dev", *command[1:]], environment, progress)
        (folder / "empty/dev").mkdir(parents=True)  # left out with the device nodes, which no container may make
        folders = ["--owner=0", "--group=0", "--mode=755", "-C", str(folder / "empty"), "./dev"]
        samba = version.read_text()
        file = folder / _name(number, samba, time.strftime("%Y%m%d", time.gmtime()))
        progress("packing it")
        debian.run(["tar", "--append", "--numeric-owner", f"--file={made}", *folders], {**os.environ}, progress)
        debian.run(["zstd", "--quiet", "-T0", "-9", "--rm", str(made), "-o", str(file)], {**os.environ}, progress)
        progress(f"{file.name} has {file.stat().st_size / 1e6:.0f} MB")
        yield Image(file, samba)


def _name(number: str, samba: str, day: str) -> str:
    """As Proxmox names templates: system, version, architecture."""
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    return f"debian-{number}-samba_{debian.upstream(samba)}-{day}_{arch}.tar.zst"
