"""Where data lies: directories, btrfs subvolumes and ZFS datasets. Content is never deleted but on request.

State: {mark, owner, group, special, acl, default, quota, deviating, mapped, unmapped}. `deviating` counts the entries
below whose owner or ACL differ, where recursion was asked for. Of a folder for a container with the ids `mapped`, that
tells whether its owner and group are among them, and `unmapped` names others below it, until the folder is ours.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import acl, below, mapped
from .core import Object, Refused, Untouched, run, seal, unseal
from .marks import MARKS
from .paths import inside, opened, plain

MARK = "trusted.smbplan"  # unlike user.*, no SMB client can write it
PARENT = "trusted.smbplan.parent"
SNAPSHOTS = ".snapshots"  # of a btrfs subvolume, inside it
ROOT = ("root", "root")
BARE = (["group::---", "other::---"], ["group::r-x", "other::r-x"])  # of a folder, and of a dataset, that is new
GONE = ".smbplan-deleted"  # after the name of what is being deleted


def _is_as_made(state: dict[str, Any]) -> bool:
    """With our mark, and nobody's rights but root's."""
    fresh = state["acl"] in (["user::rwx", *rights] for rights in BARE)
    return bool(state["mark"]) and fresh and not state["default"] and (state["owner"], state["group"]) == ROOT


class Directory(Object):
    """A plain directory. `used` tells the folders of all shares, with their names."""

    uncounted = ("deviating",)

    def __init__(self, used: Callable[[], Mapping[str, str]] = dict) -> None:
        self._used = used

    def torn(self, name: str, state: Any, after: Any, options: dict[str, Any]) -> bool:
        """One that was to go may be half removed, and one that was to come and goes again, half made."""
        if after is not None:
            return False
        if state is None:
            return _is_going(name)
        return bool(options.get("undo") and state["empty"] and _is_as_made(state))

    def unrestored(self, name: str, after: Any) -> bool:
        """Whatever is uniform by now: others go on working in it."""
        return bool(after) and after.get("deviating") is not None and below.is_kept(after.get("path") or name)

    def get(self, name: str, options: dict[str, Any]) -> Any:
        plain(name)
        if not os.path.isdir(name) or not self._is_one(name):
            return None
        state = {"mark": unseal(self._mark(name), name), **acl.read(name), **self._extra(name)}
        state["empty"] = _is_empty(name)
        return {**state, **_asked(name, state, options)}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> list[str] | None:
        if after is None:
            self._remove(name, options)
            return None
        if before is None:
            self._make_parents(name)
            self._create(name)
            with opened(name) as there:
                os.chmod(there, 0o700)
        self._set_mark(name, seal(after["mark"], name) if after.get("mark") else None)
        self._configure(name, after)
        _permit(name, after, options)
        return None

    def _is_one(self, name: str) -> bool:
        return True

    def _extra(self, name: str) -> dict[str, Any]:
        return {}

    def _create(self, name: str) -> None:
        with inside(name) as here:
            os.mkdir(here, 0o700)

    def _configure(self, name: str, after: dict[str, Any]) -> None:
        return

    def _remove(self, name: str, options: dict[str, Any]) -> None:
        """Only what is empty, unless the options say that the data goes too."""
        if options.get("delete_data"):
            if os.path.isdir(name):
                _must_be_its_own(name, self._used())
            _delete_aside(name, _delete_tree)
        elif os.path.isdir(name):
            try:
                with inside(name) as here:
                    os.rmdir(here)
            except OSError as error:
                if error.errno == errno.ENOTEMPTY:
                    raise Untouched(f"{name} is not empty any more, so it stays") from None
                raise
        MARKS.set(name, None)
        _remove_parents(name)

    @staticmethod
    def _make_parents(name: str) -> None:
        missing = [path for path in Path(name).parents if not path.exists()]
        for path in reversed(missing):
            with inside(str(path)) as here, contextlib.suppress(PermissionError):
                os.mkdir(here, 0o755)
                _set_xattr(here, PARENT, b"1")  # not in a container, where it stays, and goes with that

    @staticmethod
    def _mark(name: str) -> str | None:
        return (_get_xattr(name, MARK) or b"").decode("utf-8", "replace") or MARKS.get(name)

    @staticmethod
    def _set_mark(name: str, sealed: str | None) -> None:
        try:
            with inside(name) as here:
                _set_xattr(here, MARK, sealed.encode() if sealed else None)
        except PermissionError:
            MARKS.set(name, sealed)
        else:
            MARKS.set(name, None)


class Subvolume(Directory):
    """A btrfs subvolume with a quota group's limit (btrfs-qgroup(8))."""

    def _is_one(self, name: str) -> bool:
        return os.stat(name).st_ino == 256  # the root of every subvolume, btrfs(5)

    def _extra(self, name: str) -> dict[str, Any]:
        try:
            rows = run(["btrfs", "qgroup", "show", "-re", "-f", "--raw", name]).splitlines()
        except Refused:
            return {"quota": 0}  # quotas are off
        words = rows[-1].split() if rows else []
        limit = words[3] if len(words) > 3 else "none"
        return {"quota": int(limit) if limit.isdigit() else 0}

    def _create(self, name: str) -> None:
        run(["btrfs", "subvolume", "create", name])

    def _configure(self, name: str, after: dict[str, Any]) -> None:
        if after.get("quota") is None or after["quota"] == self._extra(name)["quota"]:
            return
        run(["btrfs", "quota", "enable", name])
        run(["btrfs", "qgroup", "limit", str(after["quota"] or "none"), name])

    def _remove(self, name: str, options: dict[str, Any]) -> None:
        there = os.path.isdir(name)
        if options.get("delete_data"):
            if there:
                _must_be_its_own(name, self._used())
            _delete_aside(name, self._delete)
        elif there and os.listdir(name):
            raise Untouched(f"{name} is not empty any more, so it stays")
        elif there:
            run(["btrfs", "subvolume", "delete", name])
        _remove_parents(name)

    @staticmethod
    def _delete(gone: str) -> None:
        snapshots = Path(gone) / SNAPSHOTS
        try:
            for snapshot in sorted(snapshots.iterdir()) if snapshots.is_dir() else ():
                run(["btrfs", "subvolume", "delete", str(snapshot)])
            run(["btrfs", "subvolume", "delete", gone])
        except Refused as refused:
            raise Refused(refused.summary, refused.detail, f"what is left lies in {gone}") from None


class Dataset(Directory):
    """A ZFS dataset with a quota; its name is that of the dataset, and its mark a user property (zfsprops(7))."""

    PROPERTY = "smbplan:mark"

    def get(self, name: str, options: dict[str, Any]) -> Any:
        try:
            found = self._inspect(name)
        except Refused as refused:
            if "does not exist" in refused.detail:
                return None
            raise
        path = os.path.realpath(found[name]["mountpoint"])
        if not os.path.isdir(path):
            raise Refused(f"dataset {name} is not mounted", f"mountpoint is {path}", f"zfs mount {name}")
        quota = int(found[name]["quota"]) if found[name]["quota"].isdigit() else 0
        state = {"mark": unseal(found[name][self.PROPERTY], name), **acl.read(path), "quota": quota, "path": path}
        # A snapshot may hold what was deleted; children are datasets of somebody.
        state["empty"] = _is_empty(path) and len(found) == 1
        return {**state, **_asked(path, state, options)}

    def _inspect(self, name: str) -> dict[str, dict[str, str]]:
        """{dataset: {property: value}} of itself, its snapshots and its children."""
        wanted = f"quota,mountpoint,{self.PROPERTY}"
        found: dict[str, dict[str, str]] = {}
        for row in run(["zfs", "get", "-Hp", "-d", "1", "-o", "name,property,value", wanted, name]).splitlines():
            dataset, key, value = row.split("\t")
            found.setdefault(dataset, {})[key] = value
        return found

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> list[str] | None:
        if after is None:
            return self._remove_dataset(name, before["path"], options)
        if before is None:
            run(["zfs", "create", "-p", "-o", f"mountpoint=/{name}", name])
        now = self.get(name, options)
        if after.get("mark") != now["mark"]:
            mark = seal(after["mark"], name) if after.get("mark") else "-"
            run(["zfs", "set", f"{self.PROPERTY}={mark}", name])
        if after.get("quota") is not None and after["quota"] != now["quota"]:
            run(["zfs", "set", f"quota={after['quota'] or 'none'}", name])
        _permit(now["path"], after, options)
        return None

    def _remove_dataset(self, name: str, path: str, options: dict[str, Any]) -> list[str]:
        """A container has until it stops what was mounted in it: what is empty may wait for that, but in an undo."""
        delete_data = bool(options.get("delete_data"))
        children = [child for child in self._inspect(name) if child.startswith(f"{name}/")]
        if children:
            raise Untouched(f"{children[0]} lies inside dataset {name}", "", "remove or rename it first")
        if delete_data:
            _must_be_its_own(path, self._used())
        elif not _is_empty(path):
            raise Untouched(f"dataset {name} is not empty any more, so it stays")
        try:
            self._destroy(name, delete_data)
        except Refused as refused:
            if delete_data or options.get("undo") or "busy" not in refused.detail:  # an undo is asked again
                raise
            return [f"dataset {name} is empty and in use; `zfs destroy {name}` removes it when that has ended"]
        if os.path.isdir(path) and not os.listdir(path):
            os.rmdir(path)  # ZFS by FUSE leaves the mount point
        return []

    @staticmethod
    def _destroy(name: str, with_snapshots: bool) -> None:
        """A dataset is busy for a moment after its last file was closed; one that stays busy stays mounted."""
        for attempt in range(10):
            try:
                run(["zfs", "destroy", *(["-r"] if with_snapshots else []), name])
                return
            except Refused as refused:
                if "busy" not in refused.detail or attempt == 9:
                    subprocess.run(["zfs", "mount", name], capture_output=True, check=False)
                    raise
                time.sleep(0.3)


def _asked(path: str, state: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What costs a walk through all that lies below."""
    found: dict[str, Any] = {}
    if options.get("recursive"):
        found["deviating"] = sum(1 for _ in below.deviating(path, state))
    if options.get("mapped"):
        found["mapped"] = mapped.is_mapped(os.stat(path), options["mapped"]) == (True, True)
        if not state["mark"] and not options.get("top"):
            found["unmapped"] = mapped.unmapped(path, options["mapped"])
    return found


def _permit(path: str, after: dict[str, Any], options: dict[str, Any]) -> None:
    """Owner and ACL of the root, and of what is below it where that was asked for."""
    have = acl.read(path)
    wanted = {key: have[key] if after.get(key) is None else after[key] for key in have}
    if wanted != have:
        acl.write(path, wanted)
    if after.get("mapped"):
        mapped.let_in(path, options["mapped"])
    if options.get("undo"):
        if after.get("deviating") is not None and below.is_kept(path):
            below.restore(path)
    elif after.get("deviating") == 0:
        below.settle(path, wanted)


def _is_empty(path: str) -> bool:
    """Nothing but folders that we made, which are removed before it."""
    with os.scandir(path) as entries:
        for entry in entries:
            ours = entry.is_dir(follow_symlinks=False) and Directory._mark(entry.path) is not None
            if not ours or not _is_empty(entry.path):
                return False
    return True


def _must_be_its_own(root: str, used: Mapping[str, str]) -> None:
    """Raises Untouched where something below is not the root's own: a mount, a subvolume, what another share uses."""
    for path in _mounts():
        if path.startswith(f"{root}/"):
            raise Untouched(f"{path} is mounted inside {root}", "", "unmount it first; its data would go too")
    for path, share in used.items():
        if path == root or path.startswith(f"{root}/"):
            raise Untouched(f"{path} belongs to another share, {share}", "", "remove or move that share first")
    device = os.stat(root).st_dev
    for folder, names, _ in os.walk(root):
        if folder == f"{root}/{SNAPSHOTS}":
            names.clear()
        for name in names:
            path = os.path.join(folder, name)
            if Directory._mark(path) is not None:
                raise Untouched(f"{path} belongs to another share", "", "remove or move that share first")
            if os.lstat(path).st_dev != device:
                raise Untouched(f"{path} is a subvolume inside {root}", "", "remove or move it first")


def _remove_parents(name: str) -> None:
    """The parents that were made for it, as far as nothing else has come to lie in them."""
    for path in Path(name).parents:
        if _get_xattr(str(path), PARENT) is None:
            return
        try:
            path.rmdir()
        except OSError:
            return


def _mounts() -> list[str]:
    """Every mount point; the kernel writes spaces and the like in octal. proc_pid_mountinfo(5)"""
    rows = Path("/proc/self/mountinfo").read_bytes().splitlines()
    paths = (re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), row.split()[4]) for row in rows)
    return [os.fsdecode(path) for path in paths]


def _gone(root: str) -> str:
    """Where a folder lies while it is deleted: it has another name before its first file goes."""
    return f"{root}{GONE}"


def _is_going(root: str) -> bool:
    """Whether the rest of a deletion that was cut short lies there, and nothing of somebody else's."""
    gone = _gone(root)
    if not os.path.isdir(gone) or os.path.islink(gone):
        return False
    sealed = (_get_xattr(gone, MARK) or b"").decode("utf-8", "replace")
    return unseal(sealed or (None if os.path.lexists(root) else MARKS.get(root)), root) is not None


def _delete_aside(root: str, delete: Callable[[str], None]) -> None:
    """Also the rest of a deletion that was cut short. Raises Untouched where something else lies in the way."""
    gone = _gone(root)
    if os.path.lexists(gone) and not _is_going(root):
        raise Untouched(f"{gone} is in the way", "", "see whose it is, and move it")
    if os.path.isdir(root):
        if os.path.lexists(gone):
            delete(gone)
        with inside(root) as here:
            os.rename(here, _gone(here))
    delete(gone)


def _delete_tree(gone: str) -> None:
    try:
        with inside(gone) as here:
            shutil.rmtree(here)
    except (OSError, RecursionError) as error:
        words = f"{gone.removesuffix(GONE)} could not be deleted wholly: {error}"
        raise Refused(words, "", f"what is left lies in {gone}") from None


def _get_xattr(path: str, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT):
            return None
        raise


def _set_xattr(path: str, name: str, value: bytes | None) -> None:
    if value is not None:
        os.setxattr(path, name, value, follow_symlinks=False)
    elif _get_xattr(path, name) is not None:
        os.removexattr(path, name, follow_symlinks=False)
