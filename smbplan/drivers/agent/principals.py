"""Users and groups of a domain by their SIDs and ids, so that no list depends on a controller that answers.

smbd is told SIDs: a name that can't be resolved would open a deny list. What they are called stands in a file here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from . import winbind
from .core import STATE, Object, Refused, read_text, write

FILE = STATE / "principals.json"


CACHE: dict[Any, dict[str, dict[str, Any]]] = {}  # of one file at a time: a thousand folders have ACLs


def known() -> dict[str, dict[str, Any]]:
    """{name as the definitions have it: {sid, kind, id}}"""
    try:
        now = FILE.stat()
    except OSError:
        return {}
    sign = (now.st_ino, now.st_mtime_ns, now.st_size)
    if sign not in CACHE:
        CACHE.clear()
        CACHE[sign] = json.loads(read_text(FILE) or "{}")
    return dict(CACHE[sign])


class Principals(Object):
    """Those of one domain. State: {names}: which are known, by the SID that the domain gives them now."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        mine = {each: found for each, found in known().items() if each.lower().startswith(f"{name.lower()}\\")}
        return {"names": sorted(each for each, found in mine.items() if self._still(each, found))} if mine else None

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        table = {each: found for each, found in known().items() if not each.lower().startswith(f"{name.lower()}\\")}
        for each in after["names"] if after else ():
            sid, kind = winbind.lookup(each)
            table[each] = {"sid": sid, "kind": kind, "id": winbind.number(sid, kind)}
        if table:
            write(FILE, json.dumps(table, sort_keys=True, ensure_ascii=False))
        else:
            FILE.unlink(missing_ok=True)

    @staticmethod
    def _still(name: str, found: dict[str, Any]) -> bool:
        """One that was deleted and made anew has another SID; while nobody can be asked, it is believed."""
        try:
            return bool(winbind.lookup(name)[0] == found["sid"])
        except Refused:
            return True


def to_sids(words: str) -> str:
    """A list of smb.conf with the SIDs of a domain's users and groups. Raises Refused for one that isn't known."""
    table = {name.lower(): found["sid"] for name, found in known().items()}
    return " ".join(_sid(table, word) if "\\" in word else quoted(word) for word in split(words))


def to_names(words: str) -> str:
    """The same list as the definitions have it; a SID that isn't known stays one."""
    names = {found["sid"]: ("@" if found["kind"] == "group" else "") + name for name, found in known().items()}
    return " ".join(quoted(names.get(word, word)) for word in split(words))


def ids(kind: str) -> dict[str, int]:
    """{name: uid or gid} of those that are a "user" or a "group"."""
    return {name: found["id"] for name, found in known().items() if found["kind"] == kind}


def _sid(table: dict[str, str], word: str) -> str:
    try:
        return table[word.lstrip("@").lower()]
    except KeyError:
        raise Refused(f"{word.lstrip('@')} was not looked up in its domain yet") from None


def split(words: str) -> list[str]:
    """The names in a list; quotes keep one with spaces together. smb.conf(5)"""
    return [quote or bare for quote, bare in re.findall(r'"([^"]*)"|([^\s,"]+)', words)]


def quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name
