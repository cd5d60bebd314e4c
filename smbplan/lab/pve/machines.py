"""Real virtual machines as the emulated API needs them, on the node where this runs: QEMU, virtiofsd, qemu-img.

A machine with the lab's own disk and shape is restored from a saved state at its first start (vm_quick.py); all others
boot. Everything raised is MachineError or OSError; its text is the error of the task.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from smbplan.lab.pve import vm_cloudinit, vm_config, vm_files, vm_folders, vm_parts, vm_qemu, vm_quick
from smbplan.lab.pve.machine import AgentError, Config, Log, MachineError
from smbplan.lab.pve.vm_agent import Agent
from smbplan.lab.pve.vm_config import Drive
from smbplan.lab.pve.vm_disks import Disks
from smbplan.lab.pve.vm_hotplug import changed
from smbplan.lab.pve.vm_qemu import Place, Shape
from smbplan.lab.pve.vm_qmp import Monitor


class Machines:
    """The virtual machines and their disks of one node."""

    def __init__(self, root: Path = Path("/etc/pve"), node: str = "") -> None:
        self.root = root
        self.node = node or socket.gethostname()
        self.disks = Disks(root)

    def start(self, vmid: int, config: Config, log: Log) -> None:
        """Start with this configuration; the cloud-init drive is made anew first. Returns when the machine runs."""
        place = Place(vmid)
        if vm_qemu.pid_of(place):
            raise MachineError(f"VM {vmid} already running")
        vm_qemu.RUN.mkdir(exist_ok=True)
        self._clean(place)
        shape = vm_config.shape(config)
        drives = self._drives(vmid, config)
        folders = vm_config.shared_folders(config)
        try:
            self._serve(place, folders)
            if vm_quick.fits(config, shape, drives):
                try:
                    vm_quick.start(place, config, drives, folders, log)
                    return
                except (MachineError, OSError) as error:
                    log(f"the saved machine did not do, booting instead: {error}")
                    self._clean(place)
                    self._serve(place, folders)
            self._boot(place, config, shape, drives, folders)
        except BaseException:
            self._clean(place)
            raise

    def _clean(self, place: Place) -> None:
        vm_qemu.kill(place)
        vm_folders.end(place)
        vm_qemu.forget(place)

    def _serve(self, place: Place, folders: Mapping[str, dict[str, str]]) -> None:
        found = {key: vm_folders.mapped(self.root, self.node, options["dirid"]) for key, options in folders.items()}
        for key, folder in found.items():
            vm_folders.serve(place, key, folder, folders[key])

    def _drives(self, vmid: int, config: Config) -> dict[str, tuple[Drive, Path]]:
        found = {}
        for key, drive in vm_config.drives(config).items():
            if drive.volume in ("none", "cdrom"):
                continue
            path = self.disks.path(drive.volume)
            if drive.cloudinit:
                vm_cloudinit.write(vmid, config, path)
            if not path.exists():
                raise MachineError(f"volume '{drive.volume}' does not exist")
            found[key] = drive, path
        return found

    def _boot(
        self,
        place: Place,
        config: Config,
        shape: Shape,
        drives: Mapping[str, tuple[Drive, Path]],
        folders: Mapping[str, dict[str, str]],
    ) -> None:
        cards = vm_config.cards(config)
        more = vm_parts.options(place, drives, vm_config.boot_order(config))
        more += [word for card in cards.values() for word in vm_parts.card_options(place.vmid, card)]
        more += [word for key, given in folders.items() for word in vm_parts.folder_options(place, key, given)]
        vm_qemu.launch(vm_qemu.command(place, shape, vm_files.info().get("accelerator", "tcg"), more))
        for card in cards.values():
            vm_parts.connect(place.vmid, card)

    def stop(self, vmid: int, log: Log) -> None:
        """Kill it. Returns when its disks are free."""
        self._running(vmid)
        self._clean(Place(vmid))

    def shutdown(self, vmid: int, timeout: int, log: Log) -> None:
        """Ask it (agent, else ACPI) to go down and wait; raise if it still runs after `timeout` seconds."""
        place, pid = Place(vmid), self._running(vmid)
        try:
            Agent(place.agent).ask("guest-shutdown", {"mode": "powerdown"}, 5)
        except AgentError:
            with suppress(MachineError), Monitor(place.monitor) as monitor:
                monitor.ask("system_powerdown")
        try:
            vm_qemu.wait_gone(place, pid, timeout)
        except MachineError:
            raise MachineError("VM quit/powerdown failed - got timeout") from None
        self._clean(place)

    def pause(self, vmid: int) -> None:
        """Stop its processors."""
        self._ask(vmid, "stop")

    def resume(self, vmid: int) -> None:
        """Let them go on."""
        self._ask(vmid, "cont")

    def _running(self, vmid: int) -> int:
        pid = vm_qemu.pid_of(Place(vmid))
        if pid is None:
            raise MachineError(f"VM {vmid} not running")
        return pid

    def _ask(self, vmid: int, command: str, /, **arguments: Any) -> Any:
        self._running(vmid)
        with Monitor(Place(vmid).monitor) as monitor:
            return monitor.ask(command, **arguments)

    def status(self, vmid: int) -> dict[str, Any]:
        """running; qmpstatus, pid, uptime, mem, cpu as far as known."""
        pid = vm_qemu.pid_of(Place(vmid))
        if pid is None:
            return {"running": False, "qmpstatus": "stopped"}
        found: dict[str, Any] = {"running": True, "qmpstatus": "running", "pid": pid}
        with suppress(OSError, IndexError, ValueError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            tick = os.sysconf("SC_CLK_TCK")
            alive = time.clock_gettime(time.CLOCK_BOOTTIME) - int(words[19]) / tick
            used = (int(words[11]) + int(words[12])) / tick
            found |= {
                "uptime": int(alive),
                "cpu": used / max(alive, 1),
                "mem": int(words[21]) * os.sysconf("SC_PAGE_SIZE"),
            }
        with suppress(MachineError), Monitor(Place(vmid).monitor, 2) as monitor:
            found["qmpstatus"] = monitor.ask("query-status")["status"]
        return found

    def changed(self, vmid: int, before: Config, after: Config) -> list[str]:
        """Apply the difference to the running machine; the keys that only a restart can apply."""
        self._running(vmid)
        return changed(Place(vmid), self.disks, before, after)

    def agent(self, vmid: int, command: str, arguments: Mapping[str, Any], timeout: float = 10.0) -> Any:
        """The `return` of a guest agent command. Raises AgentError."""
        if vm_qemu.pid_of(Place(vmid)) is None:
            raise MachineError(f"VM {vmid} is not running")
        return Agent(Place(vmid).agent).ask(command, arguments, timeout)

    def monitor(self, vmid: int, line: str) -> str:
        """What the human monitor prints for a line."""
        self._running(vmid)
        with Monitor(Place(vmid).monitor) as monitor:
            return monitor.human(line)

    def snapshot(self, vmid: int, volid: str, verb: str, name: str) -> None:
        """A snapshot inside of a qcow2 disk: `create`, `delete`, or `revert` to it."""
        if vm_qemu.pid_of(Place(vmid)) is None or verb == "revert":
            self.disks.snapshot(volid, verb, name)
            return
        command = {"create": "blockdev-snapshot-internal-sync", "delete": "blockdev-snapshot-delete-internal-sync"}
        self._ask(vmid, command[verb], device=self._node(vmid, volid), name=name)

    def _node(self, vmid: int, volid: str) -> str:
        """What QEMU calls a disk."""
        path = str(self.disks.path(volid))
        found = (each["node-name"] for each in self._ask(vmid, "query-named-block-nodes") if each["file"] == path)
        return next(str(name) for name in found if name.startswith("drive-"))

    def disk(self, storage: dict[str, str], vmid: int, size: int, form: str, name: str = "") -> str:
        """A new empty disk; its volid."""
        return self.disks.create(storage, vmid, size, form, name)

    def imported(self, storage: dict[str, str], vmid: int, source: Path, form: str, log: Log) -> str:
        """A new disk with the content of an image file; its volid."""
        return self.disks.imported(storage, vmid, source, form, log)

    def cloned(self, volid: str, storage: dict[str, str], vmid: int, full: bool, form: str, log: Log) -> str:
        """A disk for the other guest: a copy, or (of a base disk) one that is linked to it; its volid."""
        return self.disks.cloned(volid, storage, vmid, full, form, log)

    def base(self, volid: str) -> str:
        """Make it the read-only base of clones; the new volid."""
        return self.disks.base(volid)

    def size(self, volid: str) -> int:
        """What the guest sees."""
        return self.disks.size(volid)

    def resize(self, vmid: int, volid: str, size: int) -> None:
        """Grow it; a running machine is told."""
        if vm_qemu.pid_of(Place(vmid)) is None:
            self.disks.grow(volid, size)
            return
        if size < self.size(volid):
            raise MachineError("shrinking disks is not supported")
        try:
            self._ask(vmid, "block_resize", **{"node-name": self._node(vmid, volid), "size": size})
        except StopIteration:  # it is not plugged in
            self.disks.grow(volid, size)

    def free(self, volid: str) -> None:
        """Delete it; nothing happens if it is gone."""
        self.disks.free(volid)
