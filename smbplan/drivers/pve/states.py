"""What the objects of a guest are, by its configuration, and whether that is what is wanted. Pure."""

from typing import Any

from smbplan.drivers.agent.core import matches
from smbplan.drivers.pve import config
from smbplan.drivers.pve.guests import Guest


def state(guest: Guest | None, type_: str, name: str) -> Any:
    """The state of the object `name` of a type; None for one that isn't there."""
    if guest is None:
        return None
    if type_ == "container":
        return {**config.container(guest.config, guest.node, guest.vmid), "pool": guest.pool}
    if type_ == "power":
        return {"running": True} if guest.running else None
    if type_ == "idmap":
        lines = config.raw(guest.config, "lxc.idmap")
        return {"map": lines} if lines else None
    if type_ == "entry":
        source = config.entries(guest.config).get(name.partition(":")[2])
        return {"source": source} if source else None
    path = name.partition(":")[2]
    return config.mounts(guest.config).get(path) or config.doomed(guest.config).get(path, {}).get("state")


def agrees(now: Any, wanted: Any) -> bool:
    """Whether a state is the wanted one.

    What Proxmox chose by itself (a MAC address), extra tags, and a disk that was grown already agree.
    """
    if not isinstance(now, dict) or not isinstance(wanted, dict):
        return matches(now, wanted)
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
