"""Disks of virtual machines on a node's storages, named and laid out as PVE does.

On `dir` storages they are files. On `btrfs` ones a raw disk is a file in a subvolume. The lab has no others.
"""

import os
from contextlib import suppress
from pathlib import Path

from smbplan.lab.pve import vm_files, volumes
from smbplan.lab.pve.machine import Log, MachineError

KINDS = ("dir", "btrfs")
Storage = dict[str, str]


class Disks:
    """The disks that a node sees; `root` holds storage.cfg."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, volid: str) -> Path:
        """The image file; a path is itself."""
        if volid.startswith("/"):
            return Path(volid)
        name, _, rest = volid.partition(":")
        storage = volumes.storages(self.root).get(name)
        if storage is None:
            raise MachineError(f"storage '{name}' does not exist")
        _usable(storage)
        folder = Path(storage["path"])
        if rest.startswith("iso/"):
            return folder / "template" / rest
        if rest.startswith("import/"):
            return folder / rest
        return _place(storage, *rest.split("/")[-2:])

    def create(self, storage: Storage, vmid: int, size: int, form: str, name: str = "") -> str:
        """An empty disk; its volid."""
        volid, path = self._new(storage, vmid, form, name)
        if form == "raw":
            with path.open("xb") as file:
                file.truncate(size)
        else:
            vm_files.run("qemu-img", "create", "-q", "-f", form, path, str(size))
        return volid

    def imported(self, storage: Storage, vmid: int, source: Path, form: str, log: Log) -> str:
        """A disk with the content of an image file; its volid."""
        if not source.is_file():
            raise MachineError(f"volume '{source}' does not exist")
        return self._filled(storage, vmid, source, form, log)

    def _filled(self, storage: Storage, vmid: int, source: Path, form: str, log: Log) -> str:
        volid, path = self._new(storage, vmid, form)
        size = vm_files.size(source) / 2**30
        try:
            vm_files.copied(source, path, form)
        except BaseException:
            self.free(volid)
            raise
        log(f"transferred {size:.1f} GiB of {size:.1f} GiB (100.00%)")
        return volid

    def cloned(self, volid: str, storage: Storage, vmid: int, full: bool, form: str, log: Log) -> str:
        """A copy, or a disk that is linked to a base; its volid."""
        source = self.path(volid)
        if not source.is_file():
            raise MachineError(f"volume '{volid}' does not exist")
        if full:
            log(f"create full clone of drive ({volid})")
            return self._filled(storage, vmid, source, form, log)
        if not source.name.startswith("base-"):
            raise MachineError("Linked clone feature is not supported for a disk that is no base image")
        log(f"create linked clone of drive ({volid})")
        own, path = self._new(storage, vmid, "qcow2")
        if path.parent.parent != source.parent.parent:
            self.free(own)
            raise MachineError("clone_image: a linked clone stays on its storage")
        vm_files.overlay(path, source, 0, os.path.relpath(source, path.parent))
        return f"{volid}/{own.partition(':')[2]}"

    def base(self, volid: str) -> str:
        """Rename it; what was linked to something stays so."""
        head, _, name = volid.rpartition("/")
        if not name.startswith("vm-"):
            raise MachineError(f"unable to create base volume '{volid}' - unexpected name")
        own = f"{head}/base-{name.removeprefix('vm-')}"
        before, after = self.path(volid), self.path(own)
        if before.name == volumes.IMAGE:
            before, after = before.parent, after.parent
        before.rename(after)
        self.path(own).chmod(0o444)
        return own

    def size(self, volid: str) -> int:
        """What a guest sees."""
        try:
            return vm_files.size(self.path(volid))
        except FileNotFoundError:
            raise MachineError(f"volume '{volid}' does not exist") from None

    def grow(self, volid: str, size: int) -> None:
        """Of a disk that nobody has open."""
        path = self.path(volid)
        if size < self.size(volid):
            raise MachineError("shrinking disks is not supported")
        vm_files.run("qemu-img", "resize", "-q", "-f", vm_files.form(path), path, str(size))

    def snapshot(self, volid: str, verb: str, name: str) -> None:
        """Of a disk that nobody has open. qemu-img(1)"""
        option = {"create": "-c", "delete": "-d", "revert": "-a"}[verb]
        vm_files.run("qemu-img", "snapshot", "-q", option, name, self.path(volid))

    def free(self, volid: str) -> None:
        """Delete it; nothing happens if it is gone. One that others are linked to is refused."""
        path = self.path(volid)
        if path.name.startswith("base-"):
            for other in path.parent.parent.glob("*/*.qcow2"):
                with suppress(OSError):
                    if vm_files.backing(other) == path.resolve():
                        raise MachineError(f"base volume '{path.name}' is still in use by linked cloned")
        if path.name == volumes.IMAGE:
            if path.parent.is_dir():
                volumes.run("btrfs", "subvolume", "delete", path.parent)
            path = path.parent
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def _new(self, storage: Storage, vmid: int, form: str, name: str = "") -> tuple[str, Path]:
        """A volid that is free, and the path of its image, which is to be made."""
        _usable(storage)
        if form not in vm_files.FORMATS:
            raise MachineError(f"unsupported format '{form}'")
        folder = Path(storage["path"]) / "images" / str(vmid)
        folder.mkdir(parents=True, exist_ok=True)
        taken = {file.name.partition(".")[0].removeprefix("base-").removeprefix("vm-") for file in folder.iterdir()}
        names = [name] if name else [f"disk-{number}" for number in range(1000)]
        free = next((each for each in names if f"{vmid}-{each}" not in taken), None)
        if free is None:
            raise MachineError(f"disk image '{folder}/vm-{vmid}-{names[0]}.{form}' already exists")
        file = f"vm-{vmid}-{free}.{form}"
        path = _place(storage, str(vmid), file)
        if path.name == volumes.IMAGE:
            volumes.run("btrfs", "subvolume", "create", path.parent)
        return f"{storage['storage']}:{vmid}/{file}", path


def _usable(storage: Storage) -> None:
    if storage["type"] not in KINDS:
        raise MachineError(f"the lab has no virtual disks on storages of type '{storage['type']}'")


def _place(storage: Storage, vmid: str, file: str) -> Path:
    path = Path(storage["path"]) / "images" / vmid / file
    return path.with_suffix("") / volumes.IMAGE if storage["type"] == "btrfs" and path.suffix == ".raw" else path
