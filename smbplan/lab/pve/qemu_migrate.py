"""Moving virtual machines that don't run to another node."""

from typing import Any

from smbplan.lab.pve import guests, qemu_drives, schema, status, storages, tasks
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.guestconf import GuestConfig, sort_of
from smbplan.lab.pve.mapping import Mappings
from smbplan.lab.pve.qemu_config import VM
from smbplan.lab.pve.qemu_destroy import own_disks
from smbplan.lab.pve.qemu_params import MIGRATE
from smbplan.lab.pve.qemu_power import settle
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import Param
from smbplan.lab.pve.site import Site

_NEED = Need("/vms/{vmid}", ("VM.Migrate",))


def _missing(site: Site, config: GuestConfig, node: str) -> list[str]:
    """Keys whose folder the node doesn't have."""
    mappings = Mappings(site.root)
    names = {
        key: schema.parse_props("qemu-virtiofs", value, key)["dirid"]
        for key, value in sorted(config.values.items())
        if sort_of(key) == "virtiofs"
    }
    return [key for key, name in names.items() if name not in mappings.maps or not mappings.paths(name, node)]


def _local(site: Site, vmid: int, config: GuestConfig) -> dict[str, str]:
    """Disks and media that only this node has, with what is wrong with them."""
    found = {}
    volumes = {drive["file"]: drive for drive in qemu_drives.drives(config.values).values() if ":" in drive["file"]}
    volumes |= {volume: {"file": volume} for volume in own_disks(vmid, config) if volume not in volumes}
    for volume, drive in volumes.items():
        if not storages.shared(storages.get(site, storages.split_volid(volume)[0])):
            if qemu_drives.is_cloud_init(drive):
                continue  # made anew at each start
            found[volume] = "local cdrom image" if qemu_drives.is_cdrom(drive) else "the lab copies no disks"
    return found


@route("GET", f"{VM}/migrate", {"target": Param(format="node")}, _NEED)
def preconditions(call: Call) -> dict[str, Any]:
    """What is in the way."""
    site, vmid = call.site, int(call.params["vmid"])
    config = guests.load(site, vmid, "qemu")
    local = [{"volid": volume} for volume in _local(site, vmid, config)]
    mapped = [key for key in config.values if sort_of(key) == "virtiofs"]
    shown = {"running": int(bool(status.live(site, vmid, "qemu")["running"])), "local_disks": local}
    return {**shown, "local_resources": [], "mapped-resources": mapped}


@route("POST", f"{VM}/migrate", MIGRATE, _NEED)
def migrate(call: Call) -> str:
    """All its disks must be where both nodes see them; the lab moves no running machine."""
    site, vmid, target, params = call.site, int(call.params["vmid"]), str(call.params["target"]), call.params
    if target == site.node:
        raise bad_params({"target": "target is local node."})
    if target not in site.nodes():
        raise fail(f"no such cluster node '{target}'")
    for name in ("force", "migration_type", "migration_network"):
        if name in params and not call.rights.is_root:
            raise bad_params({name: "Only root may use this option."})
    config = guests.load(site, vmid, "qemu")
    guests.check_lock(config)
    running = bool(status.live(site, vmid, "qemu")["running"])
    if running and not params.get("online"):
        raise fail("can't migrate running VM without --online")
    for drive in qemu_drives.drives(config.values).values():
        if ":" in drive["file"]:
            storage = storages.usable(site, storages.split_volid(drive["file"])[0])
            if not storages.on_node(storage, target):
                raise fail(f"storage '{storage['storage']}' is not available on node '{target}'")

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            config = guests.load(site, vmid, "qemu")
            if running:
                shared = (
                    "virtiofs" if any(sort_of(key) == "virtiofs" for key in config.values) else "(the lab has none)"
                )
                raise fail(f"can't migrate VM which uses local devices: {shared}")
            missing = _missing(site, config, target)
            if missing:
                raise fail(f"can't migrate to '{target}': missing mapped devices {', '.join(missing)}")
            local = _local(site, vmid, config)
            for volume, reason in sorted(local.items()):
                log(f"can't migrate local disk '{volume}': {reason}")
            if local:
                raise fail("can't migrate VM - check log")
            settle(site, vmid)
            goal = guests.config_path(site, vmid, "qemu", target)
            goal.parent.mkdir(parents=True, exist_ok=True)
            guests.config_path(site, vmid, "qemu").rename(goal)
            log("migration finished successfully")

    return tasks.spawn(site, "qmigrate", str(vmid), call.user, work, lambda: status.publish(site))
