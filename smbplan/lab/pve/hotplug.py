"""Changes that a running container takes without a restart, and those that it doesn't, as PVE sorts them."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

from smbplan.lab.pve import limits, lxcconf, volumes
from smbplan.lab.pve.guest import NUMBERED, ContainerError, Guest, properties
from smbplan.lab.pve.hook import make_target
from smbplan.lab.pve.volumes import Volumes, run

STORED = ("description", "onboot", "startup", "protection", "hostname", "hookscript", "tags", "lock", "digest")
"""Keys that change nothing in a running container and don't count as pending (PVE::LXC::Config)."""
LIMITED = ("memory", "swap", "cores", "cpulimit")

_libc = ctypes.CDLL(None, use_errno=True)
OPEN_TREE, MOVE_MOUNT = 428, 429  # the same on all architectures
CLONE_NEWNS = 0x20000
AT_FDCWD, AT_RECURSIVE, OPEN_TREE_CLONE, MOVE_EMPTY_PATH = -100, 0x8000, 1, 4


def apply(storages: Volumes, pid: int, before: Guest, after: Guest) -> list[str]:
    """Bring the running container from one to the other; the keys that need a restart."""
    keys = sorted(set(before.values) | set(after.values))
    differ = [key for key in keys if before.values.get(key) != after.values.get(key)]
    if any(key in LIMITED for key in differ):
        limits.apply(after)
    waiting = []
    for key in differ:
        if key in LIMITED or key in STORED or key.startswith("unused"):
            continue
        match = NUMBERED.fullmatch(key)
        old, new = before.values.get(key), after.values.get(key)
        if match and match[1] == "net":
            _network(after.vmid, pid, int(match[2]), old, new)
        elif match and old is None and new is not None:
            plug_mount(storages, pid, after, key)
        else:
            waiting.append(key)
    if before.raw != after.raw:
        waiting.append("lxc")
    return waiting


def _network(vmid: int, pid: int, number: int, old: str | None, new: str | None) -> None:
    link = f"veth{vmid}i{number}"
    was, now = properties(old or "", "type"), properties(new or "", "type")
    inside = ("nsenter", "--target", str(pid), "--net", "ip")
    same = all(was.get(key) == now.get(key) for key in ("name", "hwaddr"))
    if was and (not now or not same):
        run("ip", "link", "del", link, check=False)
        was = {}
    if not now:
        return
    if not was:
        run("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}p")
        run("ip", "link", "set", f"{link}p", "netns", str(pid), "name", now["name"])
        if "hwaddr" in now:
            run(*inside, "link", "set", now["name"], "address", now["hwaddr"])
        run(*inside, "link", "set", now["name"], "up")
    if was.get("bridge") != now.get("bridge"):
        run("ip", "link", "set", link, "master", now["bridge"], "up")
    for key, gateway, family in (("ip", "gw", "-4"), ("ip6", "gw6", "-6")):
        if (was.get(key), was.get(gateway)) == (now.get(key), now.get(gateway)):
            continue
        run(*inside, family, "addr", "flush", "dev", now["name"], "scope", "global")
        if "/" in now.get(key, ""):
            run(*inside, family, "addr", "add", now[key], "dev", now["name"])
            if now.get(gateway):
                run(*inside, family, "route", "replace", "default", "via", now[gateway], "dev", now["name"])


def plug_mount(storages: Volumes, pid: int, after: Guest, key: str) -> None:
    """Mount a new mount point into the running container (open_tree, move_mount: Linux 5.2)."""
    entry = after.mounts()[key]
    staging = lxcconf.folder(after.vmid) / f"staging-{key}"
    staging.mkdir(exist_ok=True)
    try:
        volumes.mount(storages, entry, staging)
        try:
            tree = _call(OPEN_TREE, AT_FDCWD, os.fsencode(staging), OPEN_TREE_CLONE | AT_RECURSIVE | os.O_CLOEXEC)
        finally:
            run("umount", staging)
    finally:
        staging.rmdir()
    try:
        _in_child(lambda: _attach(pid, tree, entry["mp"], after.root_ids))
    finally:
        os.close(tree)


def _attach(pid: int, tree: int, place: str, owner: tuple[int, int]) -> None:
    with Path(f"/proc/{pid}/ns/mnt").open() as space:
        if _libc.setns(space.fileno(), CLONE_NEWNS):
            raise ContainerError(f"setns: {os.strerror(ctypes.get_errno())}")
    target = make_target(Path("/"), place, owner)
    _call(MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target), MOVE_EMPTY_PATH)


def _call(number: int, *words: int | bytes) -> int:
    given = [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in words]
    answer = int(_libc.syscall(ctypes.c_long(number), *given))
    if answer < 0:
        raise ContainerError(f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return answer


def _in_child(work: Callable[[], None]) -> None:
    """A process of its own: a mount namespace can't be changed in one with threads."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    os.waitpid(child, 0)
    if said:
        raise ContainerError(f"mount point hotplug: {said}")
