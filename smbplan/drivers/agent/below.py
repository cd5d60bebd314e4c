"""What lies below a share's root: made like it where that is asked for, and put back as it was.

Users change all of it at any time: nothing is touched but the inode that was looked at, whatever its path leads to by
now, and no owner is ever set.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from typing import Any, Iterator

from . import acl
from .core import IMAGES
from .paths import opened

IMAGE = "below {}"
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)  # or something else by now


def deviating(root: str, state: dict[str, Any]) -> Iterator[tuple[str, os.stat_result, dict[str, Any]]]:
    """Entries whose group or ACL differ from the root's, with what they should be.

    Owners are who made them, and a file's x bits mean what its maker (or DOS) says. Snapshots and other filesystems
    are left alone.
    """
    for there, info in _entries(root):
        now, wanted = acl.read(there, True), {key: state[key] for key in ("group", "special", "acl", "default")}
        if not stat.S_ISDIR(info.st_mode):
            # With another group, its maker's set-gid bit would be that group's.
            special = int(now["special"]) & (7 if now["group"] == state["group"] else 5)
            wanted |= {"special": str(special), "default": [], "acl": _of_file(state["acl"], now["acl"])}
        if any(now[key] != value for key, value in wanted.items()):
            yield there, info, wanted


def settle(root: str, state: dict[str, Any]) -> None:
    """Make all of it uniform; what came since its before-image was kept is left for another time."""
    image = IMAGE.format(root)
    IMAGES.keep(image, lambda: "".join(_image(there, info) for there, info, _ in deviating(root, state)))
    known = _kept(root)
    for there, info, wanted in deviating(root, state):
        if info.st_ino in known:
            acl.put(there, wanted)


def is_kept(root: str) -> bool:
    return IMAGES.has(IMAGE.format(root))


def restore(root: str) -> None:
    """What is gone stays gone, and what has come is left alone; also what has an old inode, and another owner."""
    known = _kept(root)
    for there, info in _entries(root):
        row = json.loads(known.get(info.st_ino, "null"))
        if row and row["uid"] == info.st_uid:
            os.chown(there, -1, row["gid"])
            for name in (acl.ACCESS, acl.DEFAULT):
                if name in os.listxattr(there):
                    os.removexattr(there, name)
            os.chmod(there, row["mode"])
            for name, value in row["acl"].items():
                os.setxattr(there, name, bytes.fromhex(value))


def _entries(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Another path of each file and folder, good until the next one is asked for; links have no rights.

    Each folder is opened anew from the root: whoever moves them about leads nobody elsewhere, and needs no more
    open files for a deep one.
    """
    with opened(root) as top:
        yield from _under(top)


def _under(top: str) -> Iterator[tuple[str, os.stat_result]]:
    device, waiting = os.stat(top).st_dev, list[tuple[str, ...]]([()])
    while waiting:
        parts = waiting.pop()
        folder = _opened(top, parts)
        if folder is None:
            continue
        try:
            for name in os.listdir(folder):
                file = _unless_gone(name, os.O_PATH | os.O_NOFOLLOW, folder)
                if file is None:
                    continue
                try:
                    info = os.fstat(file)
                    if stat.S_ISDIR(info.st_mode) and info.st_dev == device:
                        waiting.append((*parts, name))
                    if not stat.S_ISLNK(info.st_mode) and (info.st_dev == device or not stat.S_ISDIR(info.st_mode)):
                        yield f"/proc/self/fd/{file}", info
                finally:
                    os.close(file)
        finally:
            os.close(folder)


def _opened(top: str, parts: tuple[str, ...]) -> int | None:
    """The folder, to be listed; None for one that has gone, or is something else by now."""
    here = os.open(top, os.O_PATH | os.O_DIRECTORY)
    for part in (*parts, "."):
        flags = os.O_RDONLY if part == "." else os.O_PATH
        below = _unless_gone(part, flags | os.O_NOFOLLOW | os.O_DIRECTORY, here)
        os.close(here)
        if below is None:
            return None
        here = below
    return here


def _unless_gone(name: str, flags: int, folder: int) -> int | None:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise


def _image(there: str, info: os.stat_result) -> str:
    rights = {name: os.getxattr(there, name).hex() for name in os.listxattr(there) if name in (acl.ACCESS, acl.DEFAULT)}
    mode = stat.S_IMODE(info.st_mode)
    row = {"inode": info.st_ino, "uid": info.st_uid, "gid": info.st_gid, "mode": mode, "acl": rights}
    return f"{json.dumps(row)}\n"


def _kept(root: str) -> dict[int, str]:
    """The images by inode, as texts: of a million files, these take less room."""
    return {json.loads(row)["inode"]: row for row in IMAGES.recall(IMAGE.format(root)).splitlines()}


def _of_file(wanted: list[str], now: list[str]) -> list[str]:
    """The folder's ACL for a file, with the x bits that the file has; for an entry that it lacks, none."""
    have = {entry[:-3]: entry[-1] for entry in now}
    return [f"{entry[:-1]}{have.get(entry[:-3], '-')}" for entry in wanted]
