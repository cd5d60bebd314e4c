"""Owner, mode and POSIX ACL of a path as one thing (acl(5)); ids become names, and unknown ids stay numbers.

With an ACL the group bits of stat() are the ACL's mask, so that mode and ACL are read and set together.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
from typing import Any

from . import principals
from .core import Refused, remembered
from .paths import opened

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
TAGS = {0x01: "user:", 0x02: "user", 0x04: "group:", 0x08: "group", 0x10: "mask:", 0x20: "other:"}
CODES = {name: code for code, name in TAGS.items()}


@remembered
def user_name(uid: int) -> str:
    """That of a domain as the definitions have it: winbind would have to be asked, and writes it in small letters."""
    foreign = {number: name for name, number in principals.ids("user").items()}
    try:
        return foreign.get(uid) or pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@remembered
def group_name(gid: int) -> str:
    foreign = {number: name for name, number in principals.ids("group").items()}
    try:
        return foreign.get(gid) or grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user_id(name: str) -> int:
    if "\\" in name and name in (foreign := principals.ids("user")):
        return foreign[name]
    try:
        return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise Refused(f"there is no user {name} on this host") from None


def group_id(name: str) -> int:
    if "\\" in name and name in (foreign := principals.ids("group")):
        return foreign[name]
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise Refused(f"there is no group {name} on this host") from None


def letters(bits: int) -> str:
    return "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def bits(word: str) -> int:
    return sum(bit for letter, bit in zip(word, (4, 2, 1)) if letter != "-")


def read(path: str, follow: bool = False) -> dict[str, Any]:
    """`follow` is for the path of an open file, /proc/self/fd/N."""
    info = os.stat(path, follow_symlinks=follow)
    mode = stat.S_IMODE(info.st_mode)
    access = _entries(path, ACCESS, follow) or [
        f"user::{letters(mode >> 6 & 7)}",
        f"group::{letters(mode >> 3 & 7)}",
        f"other::{letters(mode & 7)}",
    ]
    return {
        "owner": user_name(info.st_uid),
        "group": group_name(info.st_gid),
        "special": f"{mode >> 9}",
        "acl": access,
        "default": _entries(path, DEFAULT, follow) if stat.S_ISDIR(info.st_mode) else [],
    }


def write(path: str, state: dict[str, Any]) -> None:
    """Raises Refused."""
    with opened(path) as there:
        put(there, state)


def put(there: str, state: dict[str, Any]) -> None:
    """To an open file. Owner first, if any is told: a chown clears the set-id bits."""
    owner = user_id(state["owner"]) if "owner" in state else -1
    os.chown(there, owner, group_id(state["group"]))
    mode = int(state["special"]) << 9 | _mode_bits(state["acl"])
    if len(state["acl"]) == 3:
        _drop(there, ACCESS)
        os.chmod(there, mode)
    else:
        os.chmod(there, mode)
        _set(there, ACCESS, state["acl"])
    if state["default"]:
        _set(there, DEFAULT, state["default"])
    elif os.path.isdir(there):
        _drop(there, DEFAULT)


def _mode_bits(entries: list[str]) -> int:
    words = {entry.rsplit(":", 1)[0]: bits(entry.rsplit(":", 1)[1]) for entry in entries}
    return words["user:"] << 6 | words.get("mask:", words["group:"]) << 3 | words["other:"]


def _entries(path: str, name: str, follow: bool) -> list[str]:
    try:
        blob = os.getxattr(path, name, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return []
        raise
    found = []
    for tag, perm, number in struct.iter_unpack("<HHI", blob[4:]):
        word = TAGS[tag]
        if word == "user":
            word = f"user:{user_name(number)}"
        elif word == "group":
            word = f"group:{group_name(number)}"
        found.append(f"{word}:{letters(perm)}")
    return sorted(found, key=_rank)


def _rank(entry: str) -> tuple[int, str]:
    """The kernel's order of tags, but names in the place of ids: the same list on every host."""
    what, name, _ = entry.split(":")
    return ["user", "group", "mask", "other"].index(what) * 2 + bool(name), name


def _set(there: str, name: str, entries: list[str]) -> None:
    packed = []
    for entry in entries:
        tag, who, word = entry.split(":")
        code = CODES[f"{tag}" if who else f"{tag}:"]
        number = 0xFFFFFFFF if not who else user_id(who) if tag == "user" else group_id(who)
        packed.append((code, number, bits(word)))
    blob = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", code, perm, who) for code, who, perm in sorted(packed))
    try:
        os.setxattr(there, name, blob)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Refused(
                f"the filesystem of {os.path.realpath(there)} has no POSIX ACLs",
                "",
                "mount it with ACLs (ZFS: acltype=posixacl), or grant access to a single group only",
            ) from None
        raise


def _drop(there: str, name: str) -> None:
    try:
        os.removexattr(there, name)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
