"""What is done on a node of Proxmox VE because its API can't: ids for containers, raw settings, views of snapshots."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .core import Object, Refused, Untouched, read_text, rewrite, run

FILES = {"u": Path("/etc/subuid"), "g": Path("/etc/subgid")}
CONFIG = "/etc/pve/lxc/{}.conf"  # of a container that is on this node
LOCK = "/run/lock/lxc/pve-config-{}.lock"  # PVE::LXC::Config takes it for every change


class SubId(Object):
    """Ids that root may hand on; the name is `u:first:count` or `g:first:count`. State: {owner: root} (subuid(5))."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        kind, first, count = _range(name)
        owners = set()
        for owner, start, many in _lines(FILES[kind]):
            if owner in ("root", "0") and start <= first and first + count <= start + many:
                return {"owner": "root"}
            if owner not in ("root", "0") and start < first + count and first < start + many:
                owners.add(owner)
        if owners:
            raise Refused(
                f"the ids {first} to {first + count - 1} on the node are {', '.join(sorted(owners))}'s",
                "",
                f"move that range in {FILES[kind]} first, or use ids that need another one",
            )
        return None

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        kind, first, count = _range(name)
        line = f"root:{first}:{count}\n"
        text = read_text(FILES[kind]) or ""
        rest = "".join(each for each in text.splitlines(keepends=True) if each != line)
        rest += "\n" if rest and not rest.endswith("\n") else ""
        rewrite(FILES[kind], rest if after is None else rest + line)


class View(Object):
    """A folder in which snapshots are mounted, one each. State: {there: true}."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        return {"there": True} if os.path.isdir(name) else None

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        if after is not None:
            os.makedirs(name, 0o755, exist_ok=True)
            return
        for each in sorted(Path(name).iterdir()):
            if os.path.ismount(each):
                run(["umount", str(each)])
            each.rmdir()
        os.rmdir(name)
        for parent in Path(name).parents[:-3]:  # up to /var/lib/smbplan
            with contextlib.suppress(OSError):
                parent.rmdir()


def pct(request: dict[str, Any]) -> Any:
    """A command of pct(1), as root@pam."""
    return run(["pct", *request["argv"]])


def unlock(request: dict[str, Any]) -> Any:
    """Take the lock off a guest that something was doing which has ended; no API call does. qm(1), pct(1)"""
    return run([request["tool"], "unlock", str(request["vmid"])])


def mounted(request: dict[str, Any]) -> str:
    """What a running container has at a path of its own: `mount`, `deleted` if its folder is no more, or nothing."""
    pid = run(["lxc-info", "--name", str(request["vmid"]), "--pid", "--no-humanize"]).strip()
    rows = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines() if pid.isdigit() else []
    roots = [row.split()[3] for row in rows if row.split()[4] == request["path"]]
    return "" if not roots else "deleted" if roots[-1].endswith("//deleted") else "mount"


def unmount(request: dict[str, Any]) -> None:
    """Take a mount off a running container, at once: Proxmox VE does it at the next start only.

    What it got when it started is locked, and stays (mount_namespaces(7)). Who has files open in it keeps them.
    """
    enter = ["lxc-attach", "-n", str(request["vmid"]), "--clear-env", "--", "umount"]
    for lazy in ([], ["--lazy"]):
        if mounted(request):
            with contextlib.suppress(Refused):
                run([*enter, *lazy, request["path"]])


def raw(request: dict[str, Any]) -> Any:
    """Take lines out of a container's configuration and add others; both are `lxc.*` keys, which no API call sets.

    Raises Untouched where a line that is to go is not there any more.
    """
    path, gone, new = Path(CONFIG.format(request["vmid"])), request["remove"], request["add"]
    with _locked(request["vmid"]):
        text = read_text(path)
        if text is None:
            raise Untouched(f"container {request['vmid']} is not on this node", "", "make a new plan")
        head, mark, sections = re.split(r"(?m)(^\[|\Z)", text, maxsplit=1)
        lines = head.splitlines()
        missing = [line for line in gone if line not in lines]
        if missing:
            raise Untouched(f"{path} was changed by somebody else", f"without the line {missing[0]}", "make a new plan")
        kept = [line for line in lines if line not in gone and line not in new]
        blank = kept.pop() if kept and not kept[-1] else None
        body = [*kept, *new, *([blank] if blank is not None else [])]
        part = path.with_name(f"{path.name}.tmp.{os.getpid()}")  # the cluster's file system knows no modes
        try:
            part.write_text("".join(f"{line}\n" for line in body) + mark + sections)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _locked(vmid: int) -> Iterator[None]:
    path = Path(LOCK.format(vmid))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _range(name: str) -> tuple[str, int, int]:
    kind, first, count = name.split(":")
    return kind, int(first), int(count)


def _lines(path: Path) -> Iterator[tuple[str, int, int]]:
    for line in (read_text(path) or "").splitlines():
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if first.isdigit() and count.isdigit():
            yield owner, int(first), int(count)
