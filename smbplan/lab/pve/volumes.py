"""Volumes of containers on a node's storages, named and laid out as PVE does.

`dir`: raw images with ext4, on loop devices; `btrfs`: the same in a subvolume; without a size both give a
folder or subvolume. `zfspool`: a dataset with refquota; zfs-fuse has no ACLs and lets no mapped root change
owners, so in the lab such a dataset holds an image, too.
"""

import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from smbplan.lab.pve.guest import ContainerError

IMAGE = "disk.raw"
BLOCK = 4096
DEFAULTS = {"local": {"type": "dir", "path": "/var/lib/vz"}}
Storage = dict[str, str]


def run(*argv: str | Path, check: bool = True) -> str:
    """Run a tool and return what it prints; ContainerError with its last words if it fails."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise ContainerError(f"command '{' '.join(map(str, argv))}' failed: exit code {done.returncode}: {said}")
    return done.stdout


def storages(root: Path) -> dict[str, Storage]:
    """Sections of storage.cfg by name, with their type."""
    found: dict[str, Storage] = {}
    section: Storage = {}
    with suppress(FileNotFoundError):
        for line in (root / "storage.cfg").read_text().splitlines():
            if line[:1] in (" ", "\t"):
                key, _, value = line.strip().partition(" ")
                section[key] = value.strip()
            elif ":" in line and not line.startswith("#"):
                kind, _, name = line.partition(":")
                section = found[name.strip()] = {"type": kind.strip(), "storage": name.strip()}
    return found or DEFAULTS


class Volumes:
    """The volumes that a node sees; `root` holds storage.cfg."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def allocate(self, storage: Storage, vmid: int, size: int | None, owner: tuple[int, int] = (100000, 100000)) -> str:
        """A new volume with an empty file system that belongs to `owner`; its volid."""
        kind, name = storage["type"], storage["storage"]
        if kind == "zfspool":
            return self._dataset(storage, vmid, size, owner)
        if kind not in ("dir", "btrfs"):
            raise ContainerError(f"the lab has no containers on storages of type '{kind}'")
        folder = Path(storage["path"]) / "images" / str(vmid)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            file = f"vm-{vmid}-disk-{number}.raw" if size else f"subvol-{vmid}-disk-{number}.subvol"
            volid = f"{name}:{vmid}/{file}"
            with suppress(FileExistsError):
                _make(kind, self.path(volid), size, owner)
                return volid
        raise ContainerError(f"unable to allocate an image name for VM {vmid} in storage '{name}'")

    def _dataset(self, storage: Storage, vmid: int, size: int | None, owner: tuple[int, int]) -> str:
        taken = run("zfs", "list", "-H", "-o", "name").split()
        names = (f"subvol-{vmid}-disk-{number}" for number in range(1000))
        name = next(name for name in names if f"{storage['pool']}/{name}" not in taken)
        run("zfs", "create", "-o", f"refquota={size or 'none'}", f"{storage['pool']}/{name}")
        volid = f"{storage['storage']}:{name}"
        _make("dir", self.path(volid) / IMAGE, size or self.storage(storage)[2], owner)
        return volid

    def _storage(self, volid: str) -> tuple[Storage, str]:
        name, _, rest = volid.partition(":")
        try:
            return storages(self.root)[name], rest
        except KeyError:
            raise ContainerError(f"storage '{name}' does not exist") from None

    def path(self, volid: str) -> Path:
        """The image or folder on the node."""
        storage, rest = self._storage(volid)
        if storage["type"] == "zfspool":
            return Path(run("zfs", "get", "-H", "-o", "value", "mountpoint", f"{storage['pool']}/{rest}").strip())
        place = Path(storage["path"]) / "images" / rest
        if storage["type"] != "btrfs":
            return place
        return place.with_suffix("") / IMAGE if place.suffix == ".raw" else place.with_suffix("")

    def image(self, volid: str) -> Path:
        """The image to mount, or the folder to bind if the volume is one."""
        path = self.path(volid)
        return path / IMAGE if (path / IMAGE).is_file() else path

    def free(self, volid: str) -> None:
        """Delete the volume; nothing happens if it is gone."""
        storage, rest = self._storage(volid)
        deadline = time.monotonic() + 5
        while self.image(volid).is_file() and loop_of(self.image(volid)) and time.monotonic() < deadline:
            time.sleep(0.01)  # the kernel gives up a loop device a moment after its last mount
        if storage["type"] == "zfspool":
            if rest in run("zfs", "list", "-H", "-o", "name").replace(f"{storage['pool']}/", "").split():
                _destroy_dataset(f"{storage['pool']}/{rest}", deadline)
            return
        path = self.path(volid)
        top = path.parent if path.name == IMAGE else path
        if storage["type"] == "btrfs" and top.is_dir():
            run("btrfs", "subvolume", "delete", top)
        elif top.is_dir():
            shutil.rmtree(top)
        top.unlink(missing_ok=True)
        with suppress(OSError):
            top.parent.rmdir()

    def resize(self, volid: str, size: int) -> None:
        """Grow the volume and the file system on it, mounted in a container or not.

        A mounted ext4 grows for a process with CAP_SYS_RESOURCE only. Where the whole host lacks that (it may be
        a container itself), the volume is larger at once and its file system at the next start.
        """
        storage, rest = self._storage(volid)
        path = self.image(volid)
        if path.is_dir():
            raise ContainerError(f"can't resize '{volid}': it has no size")
        if size < path.stat().st_size:
            raise ContainerError(f"unable to shrink disk size of '{volid}'")
        if storage["type"] == "zfspool":
            run("zfs", "set", f"refquota={size}", f"{storage['pool']}/{rest}")
        os.truncate(path, size)
        device = loop_of(path)
        if device is None:
            _fill(path)
        else:
            run("losetup", "--set-capacity", device)
            with suppress(PermissionError):
                _grow_mounted(device)

    def storage(self, storage: Storage) -> tuple[int, int, int]:
        """Bytes: total, used, available."""
        if storage["type"] == "zfspool":
            shown = run("zfs", "get", "-H", "-p", "-o", "value", "used,available", storage["pool"])
            used, free = map(int, shown.split())
            return used + free, used, free
        usage = shutil.disk_usage(storage["path"])
        return usage.total, usage.used, usage.free


def _destroy_dataset(name: str, deadline: float) -> None:
    while True:
        try:
            run("zfs", "destroy", "-r", name)
            return
        except ContainerError as error:  # zfs-fuse needs a moment after its own unmount
            if "is busy" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _make(kind: str, path: Path, size: int | None, owner: tuple[int, int]) -> None:
    if kind == "btrfs":
        top = path.parent if size else path
        if top.exists():
            raise FileExistsError
        run("btrfs", "subvolume", "create", top)
    if size:
        with path.open("xb") as file:
            file.truncate(size)
        format_image(path, owner)
    else:
        if kind == "dir":
            path.mkdir()
        os.chown(path, *owner)
    _open_the_way(path)


def format_image(path: Path, owner: tuple[int, int]) -> None:
    """ext4 whose top folder belongs to `owner`; left to be initialised later, so that it stays sparse."""
    extended = f"root_owner={owner[0]}:{owner[1]},nodiscard,lazy_itable_init=1,lazy_journal_init=1"
    run("mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-E", extended, path)


def _open_the_way(path: Path) -> None:
    # A container's root must be able to walk down to its own root file system.
    for parent in path.parents:
        mode = parent.stat().st_mode
        if mode & 0o011 != 0o011 and len(parent.parts) > 2:
            parent.chmod(mode & 0o7777 | 0o011)


def loop_of(path: Path) -> str | None:
    """The loop device of an image, by device and inode: other machines have files of that name, too."""
    return next(iter(run("losetup", "--noheadings", "--output", "NAME", "--associated", path).split()), None)


def loop_nodes() -> None:
    """Make device files for the loop devices that the kernel has and for some that it may add: there is no udev."""
    known = len(list(Path("/sys/block").glob("loop*")))
    for number in range(known + 8):
        with suppress(FileExistsError):
            os.mknod(f"/dev/loop{number}", 0o060660, os.makedev(7, number))


def mount(volumes: Volumes, entry: dict[str, str], target: Path, *, options: Sequence[str] = ()) -> None:
    """Mount what `rootfs` or `mpN` says at target: a volume, or a folder of the node's."""
    volume = entry["volume"]
    source = Path(volume) if volume.startswith("/") else volumes.image(volume)
    if not source.exists():
        raise ContainerError(f"unable to mount '{volume}': '{source}' does not exist")
    read_only = ["ro"] if entry.get("ro") == "1" else []
    if source.is_file():
        loop_nodes()
        if _extent(source) < source.stat().st_size // BLOCK and loop_of(source) is None:
            _fill(source)
        run("mount", "-t", "ext4", "-o", ",".join(["loop", *options, *read_only]), source, target)
        return
    run("mount", "--bind", source, target)
    if read_only:
        run("mount", "-o", "remount,bind,ro", target)


def _extent(path: Path) -> int:
    """Blocks of the ext4 in an image."""
    with path.open("rb") as file:
        file.seek(1024)
        block = file.read(1024)
    return int.from_bytes(block[0x4:0x8], "little") | int.from_bytes(block[0x150:0x154], "little") << 32


def _fill(path: Path) -> None:
    run("e2fsck", "-f", "-p", path, check=False)  # 1 is: repaired
    run("resize2fs", path)


def _grow_mounted(device: str) -> None:
    """Let ext4 fill its device, through any mount of it in any process's view."""
    status = Path(device).stat()
    number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    blocks = int(run("blockdev", "--getsize64", device)) // BLOCK
    for info in Path("/proc").glob("[0-9]*/mountinfo"):
        lines: list[str] = []
        with suppress(OSError):  # processes come and go
            lines = info.read_text().splitlines()
        for fields in map(str.split, lines):
            if fields[2] == number:
                folder = os.open(f"{info.parent}/root{fields[4]}", os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.ioctl(folder, 0x40086610, struct.pack("Q", blocks))  # EXT4_IOC_RESIZE_FS
                finally:
                    os.close(folder)
                return
    raise ContainerError(f"no mount of {device} found to resize it by")
