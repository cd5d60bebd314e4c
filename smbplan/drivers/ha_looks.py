"""What the nodes of a cluster say of it, put together."""

from collections.abc import Mapping, Sequence
from typing import Any

from smbplan.kinds.cluster import OK, SETTINGS

DOWN, DIFFERENT = "down", "different"
NOBODY = {"settings": None, "status": None, "filesystem": ""}  # what a container says that is not there yet
Looks = Mapping[str, Any]  # what each node has said, or the ChannelError that came of it


def state(looks: Looks, names: Mapping[str, str]) -> Any:
    """See kinds.cluster. What the first node says counts, and who says something else is different."""
    first = leading(looks)
    if first is None:
        return None
    called = {address: name for name, address in names.items()}
    lines = [(number, line) for number, line in enumerate(first["lines"]) if line[:1] != "#"]
    nodes = {called.get(line, line): {"number": number, "address": line} for number, line in lines}
    return {
        **{name: first[name] for name in SETTINGS},
        "nodes": nodes,
        "next": len(first["lines"]),
        "health": {name: health(name, node["number"], looks, first) for name, node in nodes.items()},
    }


def strange(looks: Looks, known: Mapping[str, str], home: str) -> dict[str, str] | None:
    """What must not be made one of this cluster, in words."""
    for name, look in looks.items():
        if look.get("foreign"):
            hint = "take another host; or, if nobody needs it, stop it and delete /etc/ctdb/nodes there"
            return {"summary": f"{name} has a CTDB of its own already", "detail": "", "hint": hint}
    own = {address for look in looks.values() for address in look.get("own", ())}
    if known and leading(looks) is None and own.isdisjoint(known.values()):
        words = f"{home} belongs to a cluster of {', '.join(sorted(known))}, on other hosts"
        hint = "another cluster needs another name; of the same one, change the nodes one after the other"
        return {"summary": words, "detail": "", "hint": hint}
    return None


def somebody(looks: Looks) -> str:
    """A node that can be asked."""
    return next((name for name, look in looks.items() if look != NOBODY), next(iter(looks)))


def leading(looks: Looks) -> Any:
    """The settings that count: those of a node that is well, and knows the most numbers; None if nobody has any."""
    found = [look for look in looks.values() if look["settings"]]
    best = max(
        found, key=lambda look: (is_well(look), bool(look["status"]), len(look["settings"]["lines"])), default=None
    )
    return best["settings"] if best else None


def is_well(look: Mapping[str, Any]) -> bool:
    status = look["status"]
    return bool(status) and status["nodes"].get(str(status["own"])) == OK


def led(looks: Looks) -> Any:
    """See kinds.led."""
    has = sorted(name for name, look in looks.items() if "winbind" in look.get("led", ()))
    return {"nodes": has} if has else None


def differ(settings: Mapping[str, Any], after: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(settings.get(name) != after[name] for name in names)


def health(name: str, number: int, looks: Looks, first: Mapping[str, Any]) -> str:
    look = looks.get(name)
    if look is None or not look["settings"] or not look["status"]:
        return DOWN
    if look["settings"] != first:
        return DIFFERENT
    return str(look["status"]["nodes"].get(str(number), "unknown"))


def settings(looks: Looks, after: Mapping[str, Any]) -> dict[str, Any]:
    """What is written on each node. Whoever has left keeps its line, commented out: numbers never shift."""
    known: list[str] = (leading(looks) or {"lines": []})["lines"]
    have = dict(enumerate(line.lstrip("#") for line in known))
    have |= {node["number"]: node["address"] for node in after["nodes"].values()}
    wanted = {node["number"] for node in after["nodes"].values()}
    lines = [f"{'' if number in wanted else '#'}{have[number]}" for number in sorted(have)]
    return {**{name: after[name] for name in SETTINGS}, "lines": lines}
