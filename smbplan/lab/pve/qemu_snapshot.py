"""Snapshots of virtual machines, of their disks alone: PVE::AbstractConfig. Those with RAM, the lab refuses."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from smbplan.lab.pve import guests, qemu_drives, status, tasks
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.guestconf import GuestConfig
from smbplan.lab.pve.qemu_config import AUDIT, VM
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, STR, Param
from smbplan.lab.pve.site import Site

_NAME = Param(optional=False, format="config-id", longest=40)
_RAM = "Cannot live-migrate, snapshot (with RAM), or hibernate a VM with"
_OWN = ("description", "lock", "parent", "snaptime")  # what is no part of the machine that comes back
_MAY = Need("/vms/{vmid}", ("VM.Snapshot",))


@route("GET", f"{VM}/snapshot", None, AUDIT)
def snapshots(call: Call) -> list[dict[str, Any]]:
    """Each with the one that it stands on; the entry for the present is always there."""
    config = guests.load(call.site, call.params["vmid"], "qemu")
    running = int(bool(status.live(call.site, call.params["vmid"], "qemu")["running"]))
    now = {"name": "current", "description": "You are here!", "digest": config.digest, "running": running}
    rows = [{"name": name, "vmstate": 0, **_told(values)} for name, values in config.snapshots.items()]
    return [*rows, {**now, **({"parent": config.values["parent"]} if "parent" in config.values else {})}]


def _told(values: dict[str, str]) -> dict[str, Any]:
    parent = {"parent": values["parent"]} if "parent" in values else {}
    return {"description": values.get("description", ""), "snaptime": int(values["snaptime"]), **parent}


@route("POST", f"{VM}/snapshot", {"snapname": _NAME, "description": STR, "vmstate": BOOL}, _MAY)
def snapshot(call: Call) -> str:
    """Of all disks that can have one; a machine that runs goes on."""
    site, vmid, name = call.site, int(call.params["vmid"]), call.params["snapname"]
    config = guests.load(site, vmid, "qemu")
    for reserved in ("current", "pending"):
        if name.lower() == reserved:
            raise fail(f"unable to use snapshot name '{reserved}' (reserved name)")
    if status.live(site, vmid, "qemu")["running"] and call.params.get("vmstate"):
        folders = any(key.startswith("virtiofs") for key in config.values)
        raise fail(f"{_RAM}: virtiofs" if folders else "the lab takes no snapshots with RAM")

    def work(log: tasks.Log) -> None:
        with _changing(site, vmid) as config:
            if name in config.snapshots:
                raise fail(f"snapshot name '{name}' already used")
            for key, volume in _disks(config):
                log(f"snapshotting 'drive-{key}' ({volume})")
                site.machines.snapshot(vmid, volume, "create", name)
            values = {key: value for key, value in config.values.items() if key not in _OWN}
            parent = {"parent": config.values["parent"]} if "parent" in config.values else {}
            words = {"description": call.params["description"]} if call.params.get("description") else {}
            config.snapshots[name] = {**values, **parent, **words, "snaptime": str(int(time.time()))}
            config.values["parent"] = name

    return tasks.spawn(site, "qmsnapshot", str(vmid), call.user, work)


@route("POST", f"{VM}/snapshot/{{snapname}}/rollback", {"snapname": _NAME, "start": BOOL}, _MAY)
def rollback(call: Call) -> str:
    """The machine as it was then; it is stopped for that."""
    site, vmid, name = call.site, int(call.params["vmid"]), call.params["snapname"]

    def work(log: tasks.Log) -> None:
        with _changing(site, vmid) as config:
            then = _of(config, name)
            if status.live(site, vmid, "qemu")["running"]:
                site.machines.stop(vmid, log)
            for _, volume in _disks(GuestConfig(then, kind="qemu")):
                site.machines.snapshot(vmid, volume, "revert", name)
            own = {key: value for key, value in config.values.items() if key == "description"}
            config.values = {**{key: value for key, value in then.items() if key not in _OWN}, **own, "parent": name}
            config.pending = {}
        if call.params.get("start"):
            site.machines.start(vmid, config.values, log)

    return tasks.spawn(site, "qmrollback", str(vmid), call.user, work, lambda: status.publish(site))


@route("DELETE", f"{VM}/snapshot/{{snapname}}", {"snapname": _NAME, "force": BOOL}, _MAY)
def forget(call: Call) -> str:
    """What stood on it stands on what it stood on."""
    site, vmid, name = call.site, int(call.params["vmid"]), call.params["snapname"]

    def work(log: tasks.Log) -> None:
        with _changing(site, vmid) as config:
            gone = _of(config, name)
            for _, volume in _disks(GuestConfig(gone, kind="qemu")):
                site.machines.snapshot(vmid, volume, "delete", name)
            del config.snapshots[name]
            for values in (config.values, *config.snapshots.values()):
                if values.get("parent") == name:
                    values.pop("parent")
                    values.update({"parent": gone["parent"]} if "parent" in gone else {})

    return tasks.spawn(site, "qmdelsnapshot", str(vmid), call.user, work)


@contextmanager
def _changing(site: Site, vmid: int) -> Iterator[GuestConfig]:
    """Its configuration while nobody else changes it, which is stored if all goes well."""
    with guests.locked(site, vmid):
        config = guests.load(site, vmid, "qemu")
        guests.check_lock(config)
        yield config
        guests.store(site, vmid, config)


def _of(config: GuestConfig, name: str) -> dict[str, str]:
    if name not in config.snapshots:
        raise fail(f"snapshot '{name}' does not exist")
    return config.snapshots[name]


def _disks(config: GuestConfig) -> Iterator[tuple[str, str]]:
    """Key and volume of each disk. Raises for one whose format has no snapshots."""
    for key, drive in qemu_drives.drives(config.values).items():
        if not qemu_drives.is_cdrom(drive) and ":" in drive["file"]:
            if not drive["file"].endswith(".qcow2"):
                raise fail("snapshot feature is not available")
            yield key, drive["file"]
