"""LXC calls this around a container's life: `python3 -m smbplan.lab.pve.hook pre-start` and the like."""

import os
import socket
import sys
from pathlib import Path

from smbplan.lab.pve import guest, inside, limits, lxcconf, volumes
from smbplan.lab.pve.guest import ContainerError, Guest

ROOT = Path("/etc/pve")


def main(step: str, vmid: int) -> None:
    """Do the step; an exception keeps the container from starting."""
    if step == "post-stop":
        limits.remove_legacy(vmid)
        return
    settings = guest.read(ROOT, socket.gethostname(), vmid)
    if step == "pre-start":
        _mount(settings)
    else:
        limits.enter_legacy(settings, int(os.environ["LXC_PID"]))


def _mount(settings: Guest) -> None:
    # Only the container's monitor sees these mounts; when it ends, they go, and loop devices with them.
    rootfs = lxcconf.rootfs(settings.vmid)
    storages = volumes.Volumes(ROOT)
    for name, entry in settings.mounts().items():
        target = make_target(rootfs, entry["mp"], settings.root_ids)
        volumes.mount(storages, entry, target)
        if name == "rootfs":
            inside.write_settings(settings, rootfs)


def make_target(rootfs: Path, place: str, owner: tuple[int, int]) -> Path:
    """A mount point in a container's root, whose missing folders belong to the container's root."""
    target = rootfs
    for part in Path(place).parts[1:]:
        if part == "..":
            raise ContainerError(f"mount point '{place}' leads out of the container")
        target /= part
        if target.is_symlink():
            raise ContainerError(f"mount point '{place}' leads over a symbolic link")
        if not target.exists():
            target.mkdir(0o755)
            os.chown(target, *owner)
    return target


if __name__ == "__main__":
    # LXC adds: name, section and event. The name is all that we don't know.
    try:
        main(sys.argv[1], int(os.environ["LXC_NAME"]))
    except (ContainerError, OSError) as error:
        # Nobody reads what a hook says; `start` looks here.
        lxcconf.failure(int(os.environ["LXC_NAME"])).write_text(f"{error}\n")
        sys.exit(1)
