"""Owner, mode and POSIX ACL of a share's root, from what the definition says and its access lists imply. acl(5)"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from smbplan.kinds.names import level, once
from smbplan.spec.model import Lists, Permissions, Share, Site

OPEN: dict[str, Any] = dict.fromkeys(("owner", "group", "special", "acl", "default"))


def of_share(site: Site, share: Share) -> dict[str, Any]:
    """The state's fields; all None where the permissions are kept as they are."""
    if not isinstance(share.permissions, Permissions):
        return dict(OPEN)
    wanted = share.permissions
    if share.homes:
        return _state("root", "root", "0755", [])
    named = _named(site, share.access.lists) if wanted.acl is None else [_entry(text) for text in wanted.acl]
    others = of_others(share)
    group = wanted.group
    if group is None and wanted.acl is None and len(named) == 1 and (named[0][0], named[0][2]) == ("group", "rwx"):
        group, named = named[0][1], []  # one group that writes needs no ACL
    mode = wanted.mode or f"27{'7' if group else '0'}{others}"
    state = _state(wanted.owner, group or "root", mode, named)
    return {**state, **({"deviating": 0} if wanted.recursive else {})}


def of_others(share: Share) -> str:
    """The digit of a mode for those whom no list names: guests, and everybody where the lists say *."""
    others = {"no": "0", "read": "5", "write": "7"}[share.guest]
    if "*" in share.access.granted:
        others = "7" if "*" in [*share.access.write, *share.access.admin] else max(others, "5")
    return others


def of_home(user: str) -> dict[str, Any]:
    return _state(user, "users", "0700", [])


@once
def _named(site: Site, lists: Lists) -> list[tuple[str, str, str]]:
    """An entry for each principal. A user's entry hides those of his groups, so it has his rights by all lists."""
    found: dict[tuple[str, str], str] = {}
    for names, letters in ((lists.read, "r-x"), (lists.write + lists.admin, "rwx")):
        for name in names:
            if name[0] == "@":
                found["group", name[1:]] = letters
            elif name != "*":
                found["user", name] = "rwx" if level(site, lists, name) == "write" else letters
    return [(what, name, letters) for (what, name), letters in found.items()]


def _entry(text: str) -> tuple[str, str, str]:
    what, name, letters = text.split(":")
    return what, name, letters


def _letters(digit: str) -> str:
    return "".join(letter if int(digit) & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def _state(owner: str, group: str, mode: str, named: list[tuple[str, str, str]]) -> dict[str, Any]:
    acl = list(_acl(mode, tuple(named)))
    return {"owner": owner, "group": group, "special": mode[0], "acl": acl, "default": acl if named else []}


@lru_cache(maxsize=1024)  # a thousand shares have a few different ones
def _acl(mode: str, named: Sequence[tuple[str, str, str]]) -> list[str]:
    _, user, group_bits, other = tuple(mode)
    entries = {"user::": _letters(user), "group::": _letters(group_bits), "other::": _letters(other)}
    if named:
        entries |= {f"{what}:{name}:": letters for what, name, letters in named}
        masked = [letters for key, letters in entries.items() if key not in ("user::", "other::")]
        entries["mask::"] = "".join(x if any(x in letters for letters in masked) else "-" for x in "rwx")
    return sorted((f"{key}{letters}" for key, letters in entries.items()), key=_rank)


def _rank(entry: str) -> tuple[int, str]:
    """The order in which the agent tells ACL entries."""
    what, name, _ = entry.split(":")
    return (["user", "group", "mask", "other"].index(what) * 2 + bool(name), name)
