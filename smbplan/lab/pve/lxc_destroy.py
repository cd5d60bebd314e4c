"""Destroying containers, and what goes with them."""

from contextlib import suppress

from smbplan.lab.pve import guests, leftovers, schema, status, storages, tasks
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.guestconf import GuestConfig, sort_of
from smbplan.lab.pve.lxc_params import DESTROY, volume_type
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.site import Site


@route("DELETE", "/nodes/{node}/lxc/{vmid}", DESTROY, Need("/vms/{vmid}", ("VM.Allocate",)))
def destroy(call: Call) -> str:
    """Rights and pool membership always go; backup jobs forget it with `purge`."""
    site, vmid, params = call.site, int(call.params["vmid"]), dict(call.params)

    def check(config: GuestConfig) -> None:
        guests.check_lock(config)
        guests.check_protection(config, f"can't remove CT {vmid}")
        if not params.get("force") and status.live(site, vmid)["running"]:
            raise fail(f"unable to destroy CT {vmid} - container is running")

    check(guests.load(site, vmid))

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            config = guests.load(site, vmid)
            check(config)
            if status.live(site, vmid)["running"]:
                site.backend.stop(vmid, log)
            config.values["lock"] = "destroyed"
            guests.store(site, vmid, config)
            site.backend.destroy(vmid)
            for volid in volumes(site, vmid, config, bool(params.get("destroy-unreferenced-disks"))):
                site.backend.free(volid)
            leftovers.forget(site, vmid)
            if params.get("purge"):
                leftovers.purge(site, vmid, "lxc", log)
            guests.release(site, vmid)

    return tasks.spawn(site, "vzdestroy", str(vmid), call.user, work, lambda: status.publish(site))


def volumes(site: Site, vmid: int, config: GuestConfig, unreferenced: bool) -> list[str]:
    """Volumes that the guest owns: those its configuration names, and on request all with its id."""
    found = []
    for section in (config.values, config.pending, *config.snapshots.values()):
        for key, value in section.items():
            if sort_of(key) in ("rootfs", "mp", "unused"):
                volume = schema.parse_props(sort_of(key), value, key)["volume"]
                if volume_type(volume) == "volume" and storages.owner_of(volume) == vmid:
                    found.append(volume)
    if unreferenced:
        for name, storage in storages.load(site).items():
            with suppress(OSError):
                entries = storages.entries(site, {**storage, "storage": name})
                found += [str(e["volid"]) for e in entries if e.get("vmid") == vmid and e["content"] == "rootdir"]
    return list(dict.fromkeys(found))
