"""Changes in words, for the text and the Markdown report alike. What a target told is made harmless here."""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from smbplan.engine.kind import Action, Change, Kinds
from smbplan.engine.step import Nature
from smbplan.report.terminal import safe

SYMBOLS = {Action.CREATE: "+", Action.UPDATE: "~", Action.DELETE: "-", Action.ADOPT: "›"}
STYLES = {Action.CREATE: "green", Action.UPDATE: "yellow", Action.DELETE: "red", Action.ADOPT: "cyan"}
WIDTH = 96
DIFF_LINES = 8
LONG = 160
SENSITIVE = "(sensitive)"
_UNITS = ("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)


class Row(NamedTuple):
    """A line below a change; the sign says whether something comes or goes."""

    sign: str
    text: str


def value(data: Any, name: str = "") -> str:
    """Any value of a state on one line."""
    if data is None:
        return "(none)"
    if isinstance(data, bool):
        return "yes" if data else "no"
    if name == "quota" and isinstance(data, int):
        return size(data)
    if isinstance(data, list | tuple):
        return ", ".join(value(item) for item in data) or "(empty)"
    if isinstance(data, str):
        return f"({len(data.splitlines())} lines)" if "\n" in data else _short(safe(data)) or '""'
    return _short(safe(json.dumps(data, sort_keys=True, default=str)))


def size(count: int) -> str:
    """Bytes in the largest unit that divides them: 1 GiB. 0 is no quota."""
    for unit, factor in _UNITS:
        if count and count % factor == 0:
            return f"{count // factor} {unit}"
    return f"{count} bytes" if count else "none"


def nature(change: Change, kinds: Kinds) -> Nature:
    if change.removal:
        return change.removal.nature
    return kinds[change.kind].nature if change.resource else Nature.REVERSIBLE


def notes(change: Change, kinds: Kinds) -> list[str]:
    """What a person should know besides the fields."""
    found = [safe(reason) for reason in change.reasons]
    kind = nature(change, kinds)
    if kind is Nature.PARKED:
        found.insert(0, "parked")
    elif kind is Nature.IRREVERSIBLE and change.removal:
        found.insert(0, f"irreversible: {safe(change.removal.why)}")
    elif kind is Nature.KEPT:
        found.append("stays if the run is rolled back")
    return found


def rows(change: Change, kinds: Kinds) -> list[Row]:
    """What comes, goes and differs. Sensitive values are named, never shown."""
    sensitive = kinds[change.kind].sensitive
    if change.action is Action.CREATE:
        return [Row(" ", line) for line in _packed(_created(change.after, sensitive))]
    if change.action is Action.DELETE and (change.removal is None or change.after is None):
        return []
    leaves = list(_leaves((), change.before, change.after))
    found = [row for path, old, new in leaves if path != ("mark",) for row in _row(path, old, new, sensitive)]
    if not found and change.action is Action.UPDATE:
        found = [Row(" ", "ownership mark" if leaves else "entry in the inventory")]
    return found


def _created(state: Any, sensitive: Iterable[str]) -> Iterator[str]:
    """The fields that say something; a default says nothing."""
    for path, _, new in _leaves((), None, state):
        if path[:1] not in {("mark",), ("source",)} and new and new != "0":
            yield f"{label(path)}: {SENSITIVE if path[:1] and path[0] in sensitive else value(new, path[-1])}"


def _leaves(path: tuple[str, ...], before: Any, after: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Paths at which the two states differ, in order."""
    old = {} if before is None and isinstance(after, dict) else before
    new = {} if after is None and isinstance(before, dict) else after
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys(), key=str):
            if old.get(name) != new.get(name):
                yield from _leaves((*path, str(name)), old.get(name), new.get(name))
    elif old != new:
        yield path or ("value",), old, new


def label(path: Sequence[str]) -> str:
    """A share's parameters go by their own names, as smb.conf(5) has them."""
    return safe(".".join(path[1:] if path[0] == "params" and len(path) > 1 else path))


def _row(path: tuple[str, ...], old: Any, new: Any, sensitive: Iterable[str]) -> Iterator[Row]:
    name = label(path)
    if path[0] in sensitive:
        yield Row(" ", f"{name}: changes {SENSITIVE}")
    elif isinstance(old, list | None) and isinstance(new, list | None):
        yield Row(" ", f"{name}:")
        yield from _entries(old or [], new or [])
    elif any(isinstance(text, str) and "\n" in text for text in (old, new)):
        yield Row(" ", f"{name}:")
        yield from _text(str(old or ""), str(new or ""))
    else:
        yield Row(" ", f"{name}: {value(old, path[-1])} → {value(new, path[-1])}")


def _entries(old: list[Any], new: list[Any]) -> Iterator[Row]:
    gone, come = [item for item in old if item not in new], [item for item in new if item not in old]
    yield from (Row("-", value(item)) for item in gone)
    yield from (Row("+", value(item)) for item in come)
    if not gone and not come:
        yield Row(" ", f"  {value(old)} → {value(new)}")


def _text(old: str, new: str) -> Iterator[Row]:
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm=""))[2:]
    lines = [line for line in lines if not line.startswith("@@")]
    for line in lines[:DIFF_LINES]:
        yield Row(line[0], _short(safe(line[1:].expandtabs(4))))
    if len(lines) > DIFF_LINES:
        yield Row(" ", f"  … and {len(lines) - DIFF_LINES} more lines")


def _packed(fields: Iterable[str]) -> Iterator[str]:
    """Short fields share a line."""
    line = ""
    for field in fields:
        if line and len(line) + 3 + len(field) > WIDTH:
            yield line
            line = ""
        line = f"{line} · {field}" if line else field
    if line:
        yield line


def _short(text: str) -> str:
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"
