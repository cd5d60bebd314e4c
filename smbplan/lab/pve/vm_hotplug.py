"""Changes of a machine that runs, as PVE makes them without `hotplug` options: disks and network cards at once."""

from dataclasses import replace

from smbplan.lab.pve import vm_config, vm_parts
from smbplan.lab.pve.machine import Config, MachineError
from smbplan.lab.pve.vm_config import Card, Drive
from smbplan.lab.pve.vm_disks import Disks
from smbplan.lab.pve.vm_qemu import Place
from smbplan.lab.pve.vm_qmp import Monitor

# The machine that runs knows nothing of these.
OUTSIDE = (
    *("description", "digest", "hookscript", "hotplug", "lock", "meta", "name", "onboot", "parent", "protection"),
    *("shares", "startup", "tags", "template", "vmstatestorage"),
)
LIVE = ("scsi", "virtio")  # buses whose disks can be plugged in
NOTED = ("size", "backup", "replicate", "shared")  # options of a drive that QEMU isn't told


def changed(place: Place, disks: Disks, before: Config, after: Config) -> list[str]:
    """Apply the difference; the keys that only a restart can apply."""
    keys = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    pending = []
    with Monitor(place.monitor) as monitor:
        for key in keys:
            if key in OUTSIDE or key.startswith("unused"):
                continue
            if vm_config.DRIVE.fullmatch(key):
                done = _drive(monitor, disks, vm_config.drives(before).get(key), vm_config.drives(after).get(key))
            elif key in vm_config.cards(before) or key in vm_config.cards(after):
                done = _card(monitor, place, vm_config.cards(before).get(key), vm_config.cards(after).get(key))
            else:
                done = False
            if not done:
                pending.append(key)
    return pending


def _drive(monitor: Monitor, disks: Disks, before: Drive | None, after: Drive | None) -> bool:
    if before and after and _as_qemu_knows(before) == _as_qemu_knows(after):
        return True
    given = [drive for drive in (before, after) if drive]
    if any(drive.bus not in LIVE or drive.cdrom for drive in given):
        return False
    if before and after and before.volume == after.volume:
        return False  # an option such as its serial number
    if before:
        vm_parts.unplug_drive(monitor, before.key)
    if after:
        path = disks.path(after.volume)
        if not path.exists():
            raise MachineError(f"volume '{after.volume}' does not exist")
        vm_parts.plug_drive(monitor, after, path)
    return True


def _as_qemu_knows(drive: Drive) -> Drive:
    return replace(drive, options={key: value for key, value in drive.options.items() if key not in NOTED})


def _card(monitor: Monitor, place: Place, before: Card | None, after: Card | None) -> bool:
    if before and after and (before.model, before.mac) == (after.model, after.mac):
        vm_parts.connect(place.vmid, after)
        monitor.ask("set_link", name=after.key, up=after.up)
        return True
    if before:
        vm_parts.unplug_card(monitor, before.key)
    if after:
        vm_parts.plug_card(monitor, place.vmid, after)
    return True
