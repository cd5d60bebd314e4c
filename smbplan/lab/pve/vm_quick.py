"""The first start of a machine with the lab's own disk, in seconds: the saved machine becomes this one."""

import json
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smbplan.lab.pve import vm_config, vm_files, vm_parts, vm_qemu
from smbplan.lab.pve.machine import AgentError, Config, Log, MachineError
from smbplan.lab.pve.vm_agent import Agent
from smbplan.lab.pve.vm_config import Drive
from smbplan.lab.pve.vm_qemu import Place, Shape

Drives = Mapping[str, tuple[Drive, Path]]
BOOT = "scsi0"
ORDER, DONE = "/run/smbplan-order", "/run/smbplan-done"
BECOME = 90.0


def fits(config: Config, shape: Shape, drives: Drives) -> bool:
    """Whether the saved state is of such a machine, and nothing was ever written to its disk."""
    if not vm_files.STATE.is_file() or shape != Shape() or not vm_config.has_agent(config):
        return False
    if BOOT not in drives or vm_config.boot_order(config)[:1] != [BOOT]:
        return False
    late = [drive for key, (drive, _) in drives.items() if key != BOOT]
    if not all(drive.cdrom or drive.bus in ("scsi", "virtio") for drive in late):
        return False
    first, path = drives[BOOT]
    return not first.cdrom and not first.serial and vm_files.form(path) == "qcow2" and vm_files.untouched(path)


def start(place: Place, config: Config, drives: Drives, folders: Mapping[str, dict[str, str]], log: Log) -> None:
    """Returns when cloud-init has done its part of a first start. Raises MachineError, and the disk is new again."""
    path = drives[BOOT][1]
    size, below, named = vm_files.size(path), vm_files.backing(path), vm_files.backing_name(path)
    assert below is not None
    try:
        _start(place, config, drives, folders, log, size, named)
    except (MachineError, OSError):
        vm_qemu.kill(place)
        path.unlink()
        vm_files.overlay(path, below, size, named)
        raise


def _start(
    place: Place,
    config: Config,
    drives: Drives,
    folders: Mapping[str, dict[str, str]],
    log: Log,
    size: int,
    named: str,
) -> None:
    began = time.monotonic()
    path = drives[BOOT][1]
    shutil.copyfile(vm_files.DELTA, path)
    vm_files.run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", named, "-F", "qcow2", path)
    argv = vm_qemu.command(place, Shape(), vm_files.info()["accelerator"], vm_qemu.boot_disk(path))
    cards = vm_config.cards(config)
    with vm_qemu.restored(argv, vm_files.STATE, place) as monitor:
        if size > vm_files.size(path):
            monitor.ask("block_resize", **{"node-name": f"drive-{BOOT}", "size": size})
        for drive, where in drives.values():
            if drive.key != BOOT:
                vm_parts.plug_drive(monitor, drive, where)
        for card in cards.values():
            vm_parts.plug_card(monitor, place.vmid, card)
        for key, options in folders.items():
            vm_parts.plug_folder(monitor, place, key, options)
        monitor.ask("cont")
    agent = Agent(place.agent)
    agent.wait(20)
    order: dict[str, Any] = {
        "time": time.time(),
        "noise": secrets.token_hex(64),
        "machine": secrets.token_hex(16),
        "macs": [card.mac for card in cards.values()],
        "cidata": any(drive.cloudinit for drive, _ in drives.values()),
    }
    agent.write(ORDER, json.dumps(order))
    told = _done(agent)
    log(f"restored in {time.monotonic() - began:.1f} s ({told.strip()})")


def _done(agent: Agent) -> str:
    end = time.monotonic() + BECOME
    while time.monotonic() < end:
        try:
            return agent.read(DONE)
        except AgentError as error:
            if "No such file" not in str(error):
                raise
        time.sleep(0.1)
    raise MachineError(f"the restored machine is not ready after {BECOME:.0f} s")
