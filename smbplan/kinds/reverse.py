"""The way back: from the parameters of a share that Samba serves to a definition that compiles to exactly these.

What a definition's keys can't say stands in its `options`, word for word.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from smbplan.kinds.options import MASKS, SWITCHES, canonical, same, split
from smbplan.kinds.share import params
from smbplan.spec.model import Share, Site
from smbplan.spec.types import RESERVED_SHARES, AbsolutePath, HostPattern, OptionText, ShareName, Text

NOWHERE = Site(version=1, site="none")
# Samba has resolved copies and includes; our mark is no setting.
RESOLVED = {"copy", "include", "smbplan:mark"}
ACCOUNT = re.compile(r"@?[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Around:
    """What the host tells besides the shares. See the agent's survey."""

    defaults: Mapping[str, str]
    paths: Mapping[str, str | None]
    marks: Mapping[str, str | None] = field(default_factory=dict)
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    guests: Mapping[str, str] = field(default_factory=dict)
    copied: frozenset[str] = frozenset()
    varying: frozenset[str] = frozenset()


def reason(name: str, live: Mapping[str, str], around: Around) -> str:
    """Why a share can't be taken over; empty if it can."""
    path, mark = live.get("path", ""), around.marks.get(name.lower())
    special = {
        "is special to Samba": name.strip().lower() in RESERVED_SHARES,
        "is a printer": live.get("printable") == "Yes",
        "is switched off (available = no)": live.get("available") == "No",
        f"belongs to {mark} of smbplan already": bool(mark),
        "is copied by another section": name in around.copied,
        "looks different to some clients: a file is included by a macro": name in around.varying,
        "has no path": not path,
        f"has another path for each client: {path}": "%" in path,
        f"has a path that is no directory: {path}": around.paths.get(path) is None,
    }
    found = next((words for words, true in special.items() if true), "")
    return found or _unwritable(name, live, around.paths[path] or "")


def _unwritable(name: str, live: Mapping[str, str], real: str) -> str:
    if not _fits(ShareName, name):
        return "has a name that can't be defined"
    if not _fits(AbsolutePath, real):
        return f"has a path that can't be defined: {real}"
    bad = [key for key, value in live.items() if "\ufffd" in value or not _fits(OptionText, value)]
    return f"has a value that can't be defined: {bad[0]}" if bad else ""


def definition(gateway: str, key: str, name: str, live: Mapping[str, str], around: Around) -> dict[str, Any]:
    """The share as a definition, for one without a `reason` against it."""
    settings = {key: value for key, value in live.items() if key not in RESOLVED}
    effective = {**around.defaults, **settings}
    start = _plain_keys(gateway, key, name, effective, around.paths[live["path"]] or "")
    candidates = [{**start, **access} for access in _access(name, effective, around)]
    options = [_options(key, candidate, settings, around.defaults) for candidate in candidates]
    best = min(range(len(candidates)), key=lambda number: len(options[number]))
    return {**candidates[best], **({"options": options[best]} if options[best] else {})}


def principals(data: Mapping[str, Any]) -> Iterator[str]:
    """Whom a definition names, but for *."""
    for names in data.get("access", {}).values():
        yield from (name for name in names if name != "*")


def _plain_keys(gateway: str, key: str, name: str, effective: Mapping[str, str], real: str) -> dict[str, Any]:
    found: dict[str, Any] = {"gateway": gateway, "storage": {"directory": real}}
    if name != key:
        found["name"] = name
    comment = effective.get("comment", "")
    if comment and _fits(Text, comment):
        found["comment"] = comment
    found |= {"preset": "plain", "permissions": "keep"}
    hosts = _hosts(effective)
    if hosts:
        found["hosts"] = hosts
    encryption = effective.get("server smb encrypt", "")
    if encryption in ("off", "desired", "required") and effective.get("guest ok") != "Yes":
        found["encryption"] = encryption
    if effective.get("browseable") == "No":
        found["hidden"] = True
    most = effective.get("max connections", "")
    if most.isdigit() and 0 < int(most) <= 100000:
        found["max_connections"] = int(most)
    return found


def _hosts(effective: Mapping[str, str]) -> dict[str, list[str]]:
    """Lists without EXCEPT; a definition always lets this host in, so that a list without it stays an option."""
    allow, deny = split(effective.get("hosts allow", "")), split(effective.get("hosts deny", ""))
    found = {}
    if "127.0.0.1" in allow and _patterns(allow):
        found["allow"] = [word for word in allow if word != "127.0.0.1"]
    if _patterns(deny):
        found["deny"] = deny
    return {key: words for key, words in found.items() if words}


def _patterns(words: list[str]) -> bool:
    return all(word.upper() != "EXCEPT" and _fits(HostPattern, word) for word in words)


def _access(name: str, effective: Mapping[str, str], around: Around) -> Iterator[dict[str, Any]]:
    """Ways to say who may do what, the plainest first; the last one says nothing."""
    may, wants = around.guests.get(name, ""), "read" if effective.get("read only") == "Yes" else "write"
    lists = {key: _names(effective.get(key, ""), around) for key in ("valid users", "write list", "admin users")}
    deny = _names(effective.get("invalid users", ""), around) or []
    valid, write, admin = lists["valid users"], lists["write list"], lists["admin users"]
    if valid is not None and write is not None and admin is not None:
        if effective.get("guest ok") == "Yes" and may in (wants, "write"):
            yield {**_lists([], write if wants == "read" else [], admin, deny), "guest": wants}
        writers = [who for who in write if who not in admin]
        if wants == "write":
            yield _lists([], [who for who in valid or ["*"] if who not in admin], admin, deny)
        else:
            yield _lists([who for who in valid or ["*"] if who not in (*write, *admin)], writers, admin, deny)
    yield _lists([], [], [], deny)


def _lists(read: list[str], write: list[str], admin: list[str], deny: list[str]) -> dict[str, Any]:
    found = {"read": read, "write": write, "admin": admin, "deny": deny}
    found = {level: names for level, names in found.items() if names}
    return {"access": found} if found else {}


def _names(value: str, around: Around) -> list[str] | None:
    """The users and groups in a list; None where a definition can't name them all."""
    words = list(dict.fromkeys(split(value)))
    for word in words:
        known = word[1:] in around.groups if word.startswith("@") else word in around.users
        if not known or not ACCOUNT.fullmatch(word):
            return None
    return words


def _options(
    key: str, data: Mapping[str, Any], live: Mapping[str, str], defaults: Mapping[str, str]
) -> dict[str, str | bool | int]:
    """What is to be added to the definition, so that it has the same effect as the live parameters."""
    made = params(NOWHERE, key, Share.model_validate(data))
    wanted, base = canonical(live), canonical(defaults)
    found = {}
    for name in sorted(made.keys() | wanted.keys()):
        value = wanted.get(name, base.get(name, ""))
        have = made.get(name, base.get(name))
        if have is None or not same(name, have, value):
            found[name] = _value(name, value)
    return found


def _value(name: str, words: str) -> str | bool | int:
    if name in SWITCHES and words in ("yes", "no"):
        return words == "yes"
    if name in MASKS:
        return words
    return int(words) if re.fullmatch(r"0|[1-9]\d{0,14}", words) else words


def _fits(type_: Any, value: str) -> bool:
    try:
        TypeAdapter(type_).validate_python(value)
    except ValidationError:
        return False
    return True
