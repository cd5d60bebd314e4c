"""What lies below a share's root: made like it where that is asked for, and put back as it was.

Users change all of it at any time: nothing is touched but the inode that was looked at, whatever its path leads to by
now, and no owner is ever set.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from typing import Any, Iterator

from . import acl
from .core import IMAGES

IMAGE = "below {}"


def deviating(root: str, state: dict[str, Any]) -> Iterator[tuple[str, os.stat_result, dict[str, Any]]]:
    """Entries whose group or ACL differ from the root's, with what they should be.

    Owners are who made them, and a file's x bits mean what its maker (or DOS) says. Snapshots and other filesystems
    are left alone.
    """
    for there, info in _entries(root):
        now, wanted = acl.read(there, True), {key: state[key] for key in ("group", "special", "acl", "default")}
        if not stat.S_ISDIR(info.st_mode):
            wanted |= {"special": now["special"], "default": [], "acl": _of_file(state["acl"], now["acl"])}
        if any(now[key] != value for key, value in wanted.items()):
            yield there, info, wanted


def settle(root: str, state: dict[str, Any]) -> None:
    """Make all of it uniform; what came since its before-image was kept is left for another time."""
    image = IMAGE.format(root)
    IMAGES.keep(image, lambda: json.dumps([_image(there, info) for there, info, _ in deviating(root, state)]))
    known = {row["inode"] for row in json.loads(IMAGES.recall(image))}
    for there, info, wanted in deviating(root, state):
        if info.st_ino in known:
            acl.put(there, wanted)


def is_kept(root: str) -> bool:
    return IMAGES.has(IMAGE.format(root))


def restore(root: str) -> None:
    """What is gone stays gone, and what has come is left alone; also what has an old inode, and another owner."""
    known = {row["inode"]: row for row in json.loads(IMAGES.recall(IMAGE.format(root)))}
    for there, info in _entries(root):
        row = known.get(info.st_ino)
        if row and row["uid"] == info.st_uid:
            os.chown(there, -1, row["gid"])
            for name in (acl.ACCESS, acl.DEFAULT):
                if name in os.listxattr(there):
                    os.removexattr(there, name)
            os.chmod(there, row["mode"])
            for name, value in row["acl"].items():
                os.setxattr(there, name, bytes.fromhex(value))


def _entries(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Another path of each file and folder, good until the next one is asked for; links have no rights."""
    device = os.stat(root, follow_symlinks=False).st_dev
    for _, names, files, folder in os.fwalk(root):
        for name in [*names, *files]:
            with suppress(FileNotFoundError):  # it has just gone
                file = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder)
                try:
                    info = os.fstat(file)
                    if info.st_dev != device and name in names:
                        names.remove(name)
                    if not stat.S_ISLNK(info.st_mode) and info.st_dev == device:
                        yield f"/proc/self/fd/{file}", info
                finally:
                    os.close(file)


def _image(there: str, info: os.stat_result) -> dict[str, Any]:
    rights = {name: os.getxattr(there, name).hex() for name in os.listxattr(there) if name in (acl.ACCESS, acl.DEFAULT)}
    mode = stat.S_IMODE(info.st_mode)
    return {"inode": info.st_ino, "uid": info.st_uid, "gid": info.st_gid, "mode": mode, "acl": rights}


def _of_file(wanted: list[str], now: list[str]) -> list[str]:
    """The folder's ACL for a file, with the x bits that the file has; for an entry that it lacks, none."""
    have = {entry[:-3]: entry[-1] for entry in now}
    return [f"{entry[:-1]}{have.get(entry[:-3], '-')}" for entry in wanted]
