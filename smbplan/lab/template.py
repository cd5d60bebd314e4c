"""The template of virtual machines that a lab's PVE node has, as `qm template` would have left it."""

import json
import shutil
import uuid
from pathlib import Path

from smbplan.lab import pvenode
from smbplan.lab.pve import guestconf
from smbplan.lab.state import MACHINES, State, write

FIRST = 9000
IMAGES = "var/lib/vz/images"


def vmid(node: str) -> int:
    """Of the node's template: 9000 on pve1, 9001 on pve2, …"""
    return FIRST + MACHINES.index(node)


def register(state: State, node: str, prepared: Path) -> None:
    """Its ID.conf in the cluster, if it isn't there."""
    path = pvenode.share(state) / "nodes" / node / "qemu-server" / f"{vmid(node)}.conf"
    if not path.exists():
        values = settings(node, json.loads((prepared / "info.json").read_text()))
        write(path, guestconf.render(guestconf.GuestConfig(values=values)), 0o640)


def settings(node: str, known: dict[str, str]) -> dict[str, str]:
    """What is in it."""
    number = vmid(node)
    mark = {"template": {"version": 1, "samba": known["samba"], "built": known["built"]}}
    own = uuid.uuid5(uuid.NAMESPACE_DNS, f"{node}.lab")
    return {
        "description": f"<!-- smbplan {json.dumps(mark, separators=(',', ':'))} -->\n",
        "agent": "1",
        "boot": "order=scsi0",
        "cores": "2",
        "ide2": f"local:{number}/vm-{number}-cloudinit.qcow2,media=cdrom",
        "memory": "512",
        "name": "debian-12-samba",
        "net0": f"virtio=BC:24:11:90:00:{number % 100:02X},bridge=vmbr0",
        "ostype": "l26",
        "scsi0": f"local:{number}/base-{number}-disk-0.qcow2,size=2G",
        "scsihw": "virtio-scsi-pci",
        "serial0": "socket",
        "smbios1": f"uuid={own}",
        "template": "1",
    }


def write_seed(seed: Path, node: str, prepared: Path) -> None:
    """Its disks, which stand on the lab's own disk and are empty."""
    number = vmid(node)
    folder = seed / IMAGES / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    for source, name, mode in (
        ("template.qcow2", f"base-{number}-disk-0.qcow2", 0o444),
        ("cloudinit.qcow2", f"vm-{number}-cloudinit.qcow2", 0o644),
    ):
        (folder / name).unlink(missing_ok=True)
        shutil.copyfile(prepared / source, folder / name)
        (folder / name).chmod(mode)
    # Copied over the machine's own directories, modes and all.
    for path in (seed / "var", *(seed / "var").rglob("*/")):
        path.chmod(0o755)
