"""Folders of a node for a container, which has only some of the node's ids. user_namespaces(7)"""

from __future__ import annotations

import os

from .paths import opened

Ranges = dict[str, list[list[int]]]  # of users and of groups: the first and the last id of each


def is_mapped(info: os.stat_result, mapped: Ranges) -> tuple[bool, bool]:
    """Whether owner and group are in the ranges."""
    user = any(low <= info.st_uid <= high for low, high in mapped["users"])
    return user, any(low <= info.st_gid <= high for low, high in mapped["groups"])


def let_in(path: str, mapped: Ranges) -> None:
    """Where it belongs to nobody of the container, it belongs to its root, who has the first ids."""
    with opened(path) as there:
        user, group = is_mapped(os.stat(there), mapped)
        os.chown(there, -1 if user else mapped["users"][0][0], -1 if group else mapped["groups"][0][0])


def unmapped(root: str, mapped: Ranges) -> str:
    """The owners of what lies below that are in none of the ranges, in words; a few, if there are many."""
    users, groups = set(), set()
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            info = os.lstat(os.path.join(folder, name))
            users.add(info.st_uid)
            groups.add(info.st_gid)
    foreign = []
    for word, found, ranges in (("uid", users, mapped["users"]), ("gid", groups, mapped["groups"])):
        foreign += [f"{word} {each}" for each in sorted(found) if not any(low <= each <= high for low, high in ranges)]
    return ", ".join(foreign[:8]) + (" …" if len(foreign) > 8 else "")
