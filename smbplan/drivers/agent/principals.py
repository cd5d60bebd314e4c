"""Users and groups of a domain by their SIDs and ids, so that no list depends on a controller that answers.

smbd is told SIDs: a name that can't be resolved would open a deny list. What they are called stands in a file here.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from . import ctdb_conf, dns, winbind
from .core import IMAGES, STATE, Object, Refused, read_text, write

FILE = STATE / "principals.json"


FRESH = 3.0  # seconds for which it is believed that a name has its SID
CACHE: dict[Any, "Table"] = {}  # of one file at a time: a thousand folders have ACLs


class Table:
    """What stands in the file: {accounts: {name as the definitions have it: {sid, kind, id}}, ids}."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.stored: dict[str, dict[str, Any]] = found.get("accounts", {})
        self.maps: dict[str, str] = found.get("ids", {})
        self._until = 0.0
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
    """Of a domain, and of those that it trusts. State: {names, ids}: which are known, by the SID that each has now,
    with @ before groups; and the maps of ids by which they were looked up.

    A name that no list has any more stays as `former`: until the lists are written anew, its SID is read as that name.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        CACHE.clear()
        mine = {each: found for each, found in _table().stored.items() if not found.get("former")}
        if not mine:
            return None
        return {"names": sorted(_marked(each, mine[each]) for each in known() if each in mine), "ids": _table().maps}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        """An undo needs no controller: it has the file as it was."""
        image = f"principals:{name}"
        if IMAGES.has(image):
            _store(IMAGES.recall(image))
            return
        IMAGES.keep(image, lambda: read_text(FILE) or "")
        old, table = _table(), dict[str, Any]()
        if after is None:
            _store("")
            return
        if old.maps != after["ids"]:
            winbind.forget()
            if old.maps or "winbind" not in ctdb_conf.led():  # which has just started it, and takes this for a failure
                winbind.restart()
        for word in after["names"]:
            each = word.lstrip("@")
            table[each] = _looked_up(each, word.startswith("@"), old.stored.get(each))
        sids = {found["sid"] for found in table.values()}
        gone = {each: found for each, found in old.stored.items() if each not in table and found["sid"] not in sids}
        table |= {each: {**found, "former": True} for each, found in gone.items()}
        _store(json.dumps({"accounts": table, "ids": after["ids"]}, sort_keys=True, ensure_ascii=False))


def _looked_up(name: str, group: bool, known: dict[str, Any] | None) -> dict[str, Any]:
    """An account that the domain has no more keeps its place in the lists: it must not drop out of one that denies."""
    try:
        sid, kind = winbind.lookup(name)
    except Refused:
        if known:
            return {key: value for key, value in known.items() if key != "former"}
        raise
    if (kind == "group") != group:
        right = f"@{name}" if kind == "group" else name
        raise Refused(f"{name} is a {kind} of the domain", "", f"write '{right}' in the access lists")
    return {"sid": sid, "kind": kind, "id": winbind.number(sid, kind)}


def _store(text: str) -> None:
    if text:
        write(FILE, text)
    else:
        FILE.unlink(missing_ok=True)
    CACHE.clear()


def _marked(name: str, found: dict[str, Any]) -> str:
    return f"@{name}" if found["kind"] == "group" else name


def _still(name: str, found: dict[str, Any]) -> bool:
    """One that was deleted and made anew has another SID; while nobody can be asked, it is believed."""
    if dns.unanswered():
        return True
    try:
        sid, kind = winbind.lookup(name)
        return bool(sid == found["sid"]) and winbind.number(sid, kind) == found["id"]
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
