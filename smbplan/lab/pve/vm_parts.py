"""Parts of a machine that can be plugged in: disks, network cards, folders. Each is told as QMP takes it."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smbplan.lab.pve import vm_files, vm_folders
from smbplan.lab.pve.machine import MachineError
from smbplan.lab.pve.vm_config import MODELS, Card, Drive
from smbplan.lab.pve.vm_qemu import BUS, Place, disk
from smbplan.lab.pve.vm_qmp import Monitor

Device = dict[str, Any]
UNPLUG = 20.0


def block(drive: Drive, path: Path) -> Device:
    """The node below a disk or CD."""
    read_only = drive.cdrom or drive.options.get("ro", "0") == "1"
    return disk(path, vm_files.form(path), f"drive-{drive.key}", read_only=read_only)


def front(drive: Drive, boot: int | None, *, any_bus: bool = True) -> Device:
    """What the guest sees of it. A machine that runs takes CDs by SCSI only."""
    device: Device = {"id": drive.key, "drive": f"drive-{drive.key}"}
    kind = "cd" if drive.cdrom else "hd"
    if drive.bus == "virtio":
        device |= {"driver": "virtio-blk-pci"}
    elif drive.bus == "scsi" or (drive.cdrom and not any_bus):
        number = drive.number if drive.bus == "scsi" else 100 + drive.number
        device |= {"driver": f"scsi-{kind}", "bus": BUS, "channel": 0, "scsi-id": 0, "lun": number}
        device["device_id"] = f"drive-{drive.key}"  # as Proxmox VE does for every machine from QEMU 10 on
    else:
        place = {"bus": f"ide.{drive.number // 2}", "unit": drive.number % 2}
        device |= {"driver": f"ide-{kind}"} | (place if drive.bus == "ide" else {})
    device |= {"serial": drive.serial} if drive.serial else {}
    return device | ({} if boot is None else {"bootindex": 100 + boot})


def tap(vmid: int, card: Card) -> Device:
    """The node's side of a network card. It is not persistent: it goes when QEMU does."""
    return {"type": "tap", "id": card.key, "ifname": _tap(vmid, card), "script": "no", "downscript": "no"}


def card_front(card: Card) -> Device:
    """The guest's side."""
    return {"driver": MODELS[card.model], "id": f"dev-{card.key}", "netdev": card.key, "mac": card.mac}


def folder_front(key: str, options: Mapping[str, str]) -> Device:
    """The guest's side of a folder; the mapping's name is what it mounts it by."""
    return {"driver": "vhost-user-fs-pci", "id": f"dev-{key}", "chardev": key, "tag": options["dirid"]}


def connect(vmid: int, card: Card) -> None:
    """Make the tap a port of its bridge, once QEMU has made it."""
    name = _tap(vmid, card)
    words = (
        ["ip", "link", "set", name, "master", card.bridge, "up"] if card.bridge else ["ip", "link", "set", name, "up"]
    )
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"bridge '{card.bridge}': {done.stderr.strip()}")


def _tap(vmid: int, card: Card) -> str:
    return f"tap{vmid}i{card.key.removeprefix('net')}"


def plug_drive(monitor: Monitor, drive: Drive, path: Path) -> None:
    """Into a machine that runs."""
    monitor.ask("blockdev-add", **block(drive, path))
    try:
        monitor.ask("device_add", **front(drive, None, any_bus=False))
    except MachineError:
        monitor.ask("blockdev-del", **{"node-name": f"drive-{drive.key}"})
        raise


def unplug_drive(monitor: Monitor, key: str) -> None:
    """Out of it; returns when the guest has let it go."""
    monitor.ask("device_del", id=key)
    monitor.wait("DEVICE_DELETED", key, UNPLUG)
    monitor.ask("blockdev-del", **{"node-name": f"drive-{key}"})


def plug_card(monitor: Monitor, vmid: int, card: Card) -> None:
    """Into a machine that runs."""
    monitor.ask("netdev_add", **tap(vmid, card))
    connect(vmid, card)
    monitor.ask("device_add", **card_front(card))
    if not card.up:
        monitor.ask("set_link", name=card.key, up=False)


def unplug_card(monitor: Monitor, key: str) -> None:
    """Out of it."""
    monitor.ask("device_del", id=f"dev-{key}")
    monitor.wait("DEVICE_DELETED", f"dev-{key}", UNPLUG)
    monitor.ask("netdev_del", id=key)


def plug_folder(monitor: Monitor, place: Place, key: str, options: Mapping[str, str]) -> None:
    """Into a machine that runs; its virtiofsd waits already."""
    address = {"type": "unix", "data": {"path": str(vm_folders.socket(place, key))}}
    monitor.ask("chardev-add", id=key, backend={"type": "socket", "data": {"addr": address, "server": False}})
    monitor.ask("device_add", **folder_front(key, options))


def options(place: Place, drives: Mapping[str, tuple[Drive, Path]], order: list[str]) -> list[str]:
    """Of drives on the command line."""
    words: list[str] = []
    for key, (drive, path) in drives.items():
        boot = order.index(key) if key in order else None
        words += ["-blockdev", json.dumps(block(drive, path)), "-device", json.dumps(front(drive, boot))]
    return words


def card_options(vmid: int, card: Card) -> list[str]:
    """On the command line."""
    return ["-netdev", json.dumps(tap(vmid, card)), "-device", json.dumps(card_front(card))]


def folder_options(place: Place, key: str, given: Mapping[str, str]) -> list[str]:
    """On the command line."""
    where = f"socket,id={key},path={vm_folders.socket(place, key)}"
    return ["-chardev", where, "-device", json.dumps(folder_front(key, given))]
