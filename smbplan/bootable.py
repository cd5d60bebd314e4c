"""Disks of virtual machines, bootable by SeaBIOS, made of Debian packages by mmdebstrap(1), mke2fs(8) and qemu-img(1).

No loop device, no mount on this machine, no bootloader's installer: GRUB goes into the gap before the first partition.
"""

import os
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smbplan import debian
from smbplan.debian import Progress

SCRIPT = Path(__file__).with_name("bootable.sh")
PACKAGES = (
    "acl",
    "adduser",
    "attr",
    "ca-certificates",
    "chrony",
    "cloud-guest-utils",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "ifupdown",
    "iproute2",
    "iputils-ping",
    "isc-dhcp-client",
    "libnss-systemd",
    "linux-image-cloud-amd64",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "python3-samba",
    "qemu-guest-agent",
    "resolvconf",
    "smbclient",
    "systemd-sysv",
    "udev",
    "zstd",
)
"""What a virtual machine and smbplan's agent in it need, on top of a minimal Debian and of what it serves."""
TOOLS = debian.TOOLS | {"mke2fs": "e2fsprogs", "qemu-img": "qemu-utils"}
SIZE = 2 * 2**30
START = 2**20  # of the only partition
SECTOR = 512


@dataclass(frozen=True, slots=True)
class Disk:
    """A qcow2 image in a file."""

    file: Path
    samba: str  # its version, as dpkg tells it


def build(target: Path, mirror: str, served: Sequence[str], progress: Progress) -> Disk:
    """A disk of this machine's Debian release at `target`, compressed; it takes two minutes. Raises Refused.

    `served` are packages whose services stay off. `mirror` holds the archives `debian` and `debian-security` that the
    machine gets its updates from; this one downloads from its own sources. A first start grows the file system to the
    disk, makes SSH keys, and does what a cloud-init drive says; without one there is no way in but the guest agent.
    """
    debian.need(TOOLS)
    release = debian.codename()
    with tempfile.TemporaryDirectory(prefix=".disk-", dir=target.parent.absolute()) as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt's own user looks into it
        raw, grub, version, made = (folder / part for part in ("raw", "grub", "version", "qcow2"))
        for path in (raw, grub, version):
            path.touch()
            path.chmod(0o666)  # mmdebstrap's hooks may be another user of this machine
        os.truncate(raw, SIZE)
        own = {step: f'sh {SCRIPT} {step} "$1"' for step in ("before", "after", "grub", "disk")}
        hooks = [own["after"], own["grub"], debian.BLANK_HOOK, own["disk"]]
        command = debian.mmdebstrap(Path("/dev/null"), release, sorted({*PACKAGES, *served}), hooks)
        before = f"--essential-hook={own['before']}"
        environment = debian.build_environment(folder, release, mirror, served, version)
        places = {"IMAGE_DISK": str(raw), "IMAGE_GRUB": str(grub)}
        progress(f"building a disk of Debian {debian.version()} with Samba; this takes two minutes")
        debian.run([*debian.contained(), command[0], before, *command[1:]], environment | places, progress)
        _make_bootable(raw, grub.read_bytes())
        progress("packing it")
        words = ["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", str(raw), str(made)]
        debian.run(words, {**os.environ}, progress)
        made.replace(target)
        progress(f"{target.name} has {target.stat().st_size / 1e6:.0f} MB")
        return Disk(target, version.read_text())


def _make_bootable(disk: Path, grub: bytes) -> None:
    """A partition table with one active partition, and GRUB: its first sector, then its core."""
    boot, core = grub[:SECTOR], grub[SECTOR:]
    sectors = (disk.stat().st_size - START) // SECTOR
    anywhere = b"\xfe\xff\xff"  # cylinders, heads and sectors are not looked at
    entry = struct.pack("<B3sB3sII", 0x80, anywhere, 0x83, anywhere, START // SECTOR, sectors)
    assert len(core) <= START - SECTOR
    with disk.open("r+b") as file:
        file.write(boot[:440].ljust(446, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa")
        file.write(core)
