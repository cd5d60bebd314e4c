"""Destroying virtual machines, and what goes with them."""

from contextlib import suppress

from smbplan.lab.pve import guests, leftovers, qemu_drives, status, storages, tasks
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.guestconf import GuestConfig
from smbplan.lab.pve.qemu_config import VM
from smbplan.lab.pve.qemu_params import DESTROY
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.site import Site


@route("DELETE", VM, DESTROY, Need("/vms/{vmid}", ("VM.Allocate",)))
def destroy(call: Call) -> str:
    """Rights and pool membership always go; backup jobs forget it with `purge`."""
    site, vmid, params = call.site, int(call.params["vmid"]), dict(call.params)
    if params.get("skiplock") and not call.rights.is_root:
        raise bad_params({"skiplock": "Only root may use this option."})

    def check() -> GuestConfig:
        config = guests.load(site, vmid, "qemu")
        guests.check_protection(config, f"can't remove VM {vmid}")
        if status.live(site, vmid, "qemu")["running"]:
            raise fail(f"VM {vmid} is running - destroy failed")
        return config

    check()

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            config = check()
            if not params.get("skiplock"):
                guests.check_lock(config)
            _free(site, vmid, config, bool(params.get("destroy-unreferenced-disks")), log)
            guests.store(site, vmid, GuestConfig({"lock": "destroyed"}, kind="qemu"))
            leftovers.forget(site, vmid)
            if params.get("purge"):
                leftovers.purge(site, vmid, "qemu", log)
            guests.release(site, vmid, "qemu")

    return tasks.spawn(site, "qmdestroy", str(vmid), call.user, work, lambda: status.publish(site))


def _free(site: Site, vmid: int, config: GuestConfig, unreferenced: bool, log: tasks.Log) -> None:
    """Delete its disks; a template whose disks have linked clones keeps all of them."""
    volumes = own_disks(vmid, config)
    for volume in volumes if config.values.get("template") == "1" else []:
        if storages.linked(site, volume):
            raise fail(f"base volume '{volume}' is still in use by linked cloned")
    if unreferenced:
        for name, storage in storages.load(site).items():
            with suppress(OSError):
                entries = storages.entries(site, {**storage, "storage": name})
                volumes += [str(e["volid"]) for e in entries if e.get("vmid") == vmid and e["content"] == "images"]
    for volume in dict.fromkeys(volumes):
        try:
            site.machines.free(volume)
        except Exception as error:
            log.warn(f"Could not remove disk '{volume}', check manually: {error}")


def own_disks(vmid: int, config: GuestConfig) -> list[str]:
    """Disks of the machine itself that its configuration names, pending and unused ones too."""
    found: list[str] = []
    for section in (config.values, config.pending):
        found += [drive["file"] for drive in qemu_drives.drives(section).values() if qemu_drives.owned(drive, vmid)]
        found += qemu_drives.unused(section).values()
    return list(dict.fromkeys(found))
