"""What the objects of a guest are, by its configuration, and whether that is what is wanted. Pure."""

from collections.abc import Callable
from typing import Any

from smbplan.drivers.agent.core import matches
from smbplan.drivers.pve import config, machines
from smbplan.drivers.pve.guests import Guest


def state(guest: Guest | None, type_: str, name: str) -> Any:
    """The state of the object `name` of a type; None for one that isn't there."""
    return None if guest is None else STATES[type_](guest, name.partition(":")[2])


def _mount(guest: Guest, path: str) -> Any:
    return config.mounts(guest.config).get(path) or config.doomed(guest.config).get(path, {}).get("state")


def _idmap(guest: Guest, _: str) -> Any:
    lines = config.raw(guest.config, "lxc.idmap")
    return {"map": lines} if lines else None


def _entry(guest: Guest, path: str) -> Any:
    source = config.entries(guest.config).get(path)
    return {"source": source} if source else None


# By type of object: the guest, and what stands behind its gateway in the object's name.
STATES: dict[str, Callable[[Guest, str], Any]] = {
    "container": lambda guest, _: {**config.container(guest.config, guest.node, guest.vmid), "pool": guest.pool},
    "machine": lambda guest, _: {**machines.machine(guest.config, guest.node, guest.vmid), "pool": guest.pool},
    "power": lambda guest, _: {"running": True} if guest.running else None,
    "volume": _mount,
    "bind": _mount,
    "idmap": _idmap,
    "entry": _entry,
    "disk": lambda guest, serial: machines.disk(guest.config, serial),
    "virtiofs": lambda guest, mapping: machines.virtiofs(guest.config, mapping),
}


def agrees(now: Any, wanted: Any) -> bool:
    """Whether a state is the wanted one.

    What Proxmox chose by itself (a MAC address), the number of a mount point, which is the next free one when it comes
    back, extra tags, and a disk that was grown already agree.
    """
    if not isinstance(now, dict) or not isinstance(wanted, dict):
        return matches(now, wanted)
    if all(str(each.get("key")).startswith("mp") for each in (now, wanted)):
        wanted = {**wanted, "key": None}
    grown = (key for key in ("disk", "size") if (now.get(key) or 0) > (wanted.get(key) or 0) > 0)
    now = {**now, **{key: wanted[key] for key in grown}}
    if "networks" not in now:
        return matches(now, wanted)
    asked = wanted.get("networks") or {}
    told = {name: {**network} for name, network in now["networks"].items()}
    for name, network in told.items():
        if "mac" not in asked.get(name, {}):
            network.pop("mac", None)
    tagged = set(wanted.get("tags") or ()) <= set(now["tags"])
    return tagged and matches({**now, "networks": told, "tags": wanted.get("tags")}, wanted)
