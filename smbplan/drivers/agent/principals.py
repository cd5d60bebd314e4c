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
    """Those of one domain. State: {names}: which are known, by the SID that the domain gives them now; @ before groups.

    A name that no list has any more stays as `former`: until the lists are written anew, its SID is read as that name.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        mine = {each: found for each, found in known().items() if _in(name, each) and not found.get("former")}
        names = sorted(_marked(each, found) for each, found in mine.items() if _still(each, found))
        return {"names": names} if mine else None

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        old, wanted = known(), after["names"] if after else []
        table = {each: found for each, found in old.items() if not _in(name, each)}
        for word in wanted:
            each = word.lstrip("@")
            sid, kind = winbind.lookup(each)
            if (kind == "group") != word.startswith("@"):
                right = f"@{each}" if kind == "group" else each
                raise Refused(f"{each} is a {kind} of the domain", "", f"write '{right}' in the access lists")
            table[each] = {"sid": sid, "kind": kind, "id": winbind.number(sid, kind)}
        if wanted:
            gone = {each: found for each, found in old.items() if _in(name, each) and each not in table}
            table |= {each: {**found, "former": True} for each, found in gone.items()}
        if table:
            write(FILE, json.dumps(table, sort_keys=True, ensure_ascii=False))
        else:
            FILE.unlink(missing_ok=True)


def _in(domain: str, name: str) -> bool:
    return name.lower().startswith(f"{domain.lower()}\\")


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
    return {name: found["id"] for name, found in known().items() if found["kind"] == kind}


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
