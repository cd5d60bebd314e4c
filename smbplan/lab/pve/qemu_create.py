"""Creating virtual machines."""

import time
from contextlib import suppress

from smbplan.lab.pve import guests, qemu_drives, status, tasks, usercfg
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.guestconf import GuestConfig
from smbplan.lab.pve.qemu_config import given
from smbplan.lab.pve.qemu_params import CREATE, is_drive
from smbplan.lab.pve.qemu_power import start_machine
from smbplan.lab.pve.qemu_rights import VmChanges, allocate_right
from smbplan.lab.pve.qemu_update import normalise
from smbplan.lab.pve.routing import Call, route
from smbplan.lab.pve.site import Site

_QEMU = {"9.1": "10.0.13", "8.4": "9.2.0"}


@route("POST", "/nodes/{node}/qemu", CREATE)
def create(call: Call) -> str:
    """The order of the checks is the real one; the id is taken before the answer goes out."""
    site, rights, params = call.site, call.rights, call.params
    vmid, pool, storage = int(params["vmid"]), params.get("pool"), params.get("storage", "")
    if "archive" in params:
        raise fail("the lab restores no backups")
    values = given(call)
    if pool is not None:
        rights.check_pool_exists(pool)
    if storage:
        rights.check(f"/storage/{storage}", ["Datastore.AllocateSpace"])
    changes = VmChanges(site, rights, vmid, pool, None)
    allocate_right(changes)
    changes.check_storages(values, storage)
    changes.check_keys(values)
    changes.check_values(values, "set")
    changes.check_bridges(values)
    values = {key: normalise(site, key, value) for key, value in qemu_drives.check(values).items()}
    try:
        guests.claim(site, vmid, "qemu")
    except Exception as error:
        raise fail(f"unable to create VM {vmid} - {error}") from None
    start = bool(params.get("start"))

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            _work(site, vmid, values, storage, log)
        if pool is not None:
            with usercfg.changing(site.root) as users:
                users.pools[pool].vms.add(vmid)
        if start:
            log("Execute autostart")
            try:
                start_machine(site, vmid, log)
            except Exception as error:
                log(str(error))  # the machine is there all the same

    return tasks.spawn(site, "qmcreate", str(vmid), call.user, work, lambda: status.publish(site))


def created(site: Site) -> str:
    """What the configuration says of its own making."""
    return f"creation-qemu={_QEMU[site.release]},ctime={int(time.time())}"


def _work(site: Site, vmid: int, values: dict[str, str], storage: str, log: tasks.Log) -> None:
    config = GuestConfig(dict(values), kind="qemu")
    maker = qemu_drives.Maker(site, vmid, config, log, storage)
    try:
        for key in sorted(filter(is_drive, values)):
            config.values[key] = maker.provide(key, values[key])
        config.values.setdefault("boot", qemu_drives.boot_order(config.values))
        config.values.setdefault("meta", created(site))
        config.values.setdefault("smbios1", f"uuid={guests.new_uuid()}")
        config.values.setdefault("vmgenid", guests.new_uuid())
        guests.store(site, vmid, config)
    except BaseException as error:
        with suppress(Exception):
            maker.undo()
        guests.release(site, vmid, "qemu")
        raise fail(f"unable to create VM {vmid} - {getattr(error, 'message', error)}") from None
