"""Users and groups of a domain by their SIDs and ids, so that no list depends on a controller that answers.

smbd is told SIDs: a name that can't be resolved would open a deny list. What they are called stands in a file here.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from . import winbind
from .core import STATE, Object, Refused, read_text, write

FILE = STATE / "principals.json"


FRESH = 3.0  # seconds for which it is believed that a name has its SID
CACHE: dict[Any, "Table"] = {}  # of one file at a time: a thousand folders have ACLs


class Table:
    """What stands in the file: {name as the definitions have it: {sid, kind, id}}."""

    def __init__(self, stored: dict[str, dict[str, Any]]) -> None:
        self.stored, self._until = stored, 0.0
        self.known: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, dict[str, int]] = {}

    def refreshed(self) -> Table:
        """With those whose SID is the same now, so that a list with that of an account made anew is seen to differ."""
        if time.monotonic() > self._until:
            self.known = {name: each for name, each in self.stored.items() if each.get("former") or _still(name, each)}
            for kind in ("user", "group"):
                self.ids[kind] = {name: each["id"] for name, each in self.known.items() if each["kind"] == kind}
            self._until = time.monotonic() + FRESH
        return self


def _table() -> Table:
    try:
        now = FILE.stat()
    except OSError:
        return Table({}).refreshed()
    sign = (now.st_ino, now.st_mtime_ns, now.st_size)
    if sign not in CACHE:
        CACHE.clear()
        CACHE[sign] = Table(json.loads(read_text(FILE) or "{}"))
    return CACHE[sign].refreshed()


def known() -> dict[str, dict[str, Any]]:
    """Those whose names mean now what they meant when they were looked up."""
    return _table().known


class Principals(Object):
    """Of a domain, and of those that it trusts. State: {names}: which are known, by the SID that each has now; @ before
    groups.

    A name that no list has any more stays as `former`: until the lists are written anew, its SID is read as that name.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        CACHE.clear()
        mine = {each: found for each, found in _table().stored.items() if not found.get("former")}
        return {"names": sorted(_marked(each, mine[each]) for each in known() if each in mine)} if mine else None

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        old, wanted, table = _table().stored, after["names"] if after else [], dict[str, Any]()
        for word in wanted:
            each = word.lstrip("@")
            sid, kind = winbind.lookup(each)
            if (kind == "group") != word.startswith("@"):
                right = f"@{each}" if kind == "group" else each
                raise Refused(f"{each} is a {kind} of the domain", "", f"write '{right}' in the access lists")
            table[each] = {"sid": sid, "kind": kind, "id": winbind.number(sid, kind)}
        if wanted:
            gone = {each: found for each, found in old.items() if each not in table}
            table |= {each: {**found, "former": True} for each, found in gone.items()}
        if table:
            write(FILE, json.dumps(table, sort_keys=True, ensure_ascii=False))
        else:
            FILE.unlink(missing_ok=True)
        CACHE.clear()


def _marked(name: str, found: dict[str, Any]) -> str:
    return f"@{name}" if found["kind"] == "group" else name


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
    names = {found["sid"]: _marked(name, found) for name, found in known().items()}
    return " ".join(quoted(names.get(word, word)) for word in split(words))


def ids(kind: str) -> dict[str, int]:
    """{name: uid or gid} of those that are a "user" or a "group"."""
    return _table().ids[kind]


def _sid(table: dict[str, str], word: str) -> str:
    try:
        return table[word.lstrip("@+&").lower()]
    except KeyError:
        hint = "it may be new there: smbplan apply looks it up first"
        raise Refused(f"{word.lstrip('@+&')} was not looked up in its domain yet", "", hint) from None


def split(words: str) -> list[str]:
    """The names in a list; quotes, which may stand anywhere, keep one with spaces together. smb.conf(5)"""
    found = re.findall(r'(?:[^ \t,"]|"[^"]*")+', words)
    return [word.replace('"', "") for word in found if word.replace('"', "")]


def quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name
