"""Templates, and machines that are copies of others."""

import shutil
from contextlib import suppress

from smbplan.lab.pve import formats, guests, qemu_drives, schema, status, storages, tasks, usercfg
from smbplan.lab.pve.errors import bad_params, denied, fail
from smbplan.lab.pve.guestconf import GuestConfig, sort_of
from smbplan.lab.pve.qemu_config import VM
from smbplan.lab.pve.qemu_drives import CLOUD_INIT_SIZE, Drive
from smbplan.lab.pve.qemu_params import CLONE, DRIVES, is_drive
from smbplan.lab.pve.qemu_rights import VmChanges
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import Param

_LEFT = ("parent", "snaptime", "vmstate", "snapstate", "runningcpu", "runningmachine", "template", "lock")


@route("POST", f"{VM}/template", {"disk": Param(enum=DRIVES)}, Need("/vms/{vmid}", ("VM.Allocate",)))
def template(call: Call) -> str:
    """Its disks become the base of clones, and can't be written any more."""
    site, vmid, only = call.site, int(call.params["vmid"]), call.params.get("disk")

    def check() -> GuestConfig:
        config = guests.load(site, vmid, "qemu")
        guests.check_lock(config)
        if config.snapshots:
            raise fail("unable to create template, because VM contains snapshots")
        if config.values.get("template") == "1" and not only:
            raise fail("you can't convert a template to a template")
        if status.live(site, vmid, "qemu")["running"]:
            raise fail("you can't convert a VM to template if VM is running")
        return config

    check()

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            config = check()
            config.values["template"] = "1"
            guests.store(site, vmid, config)
            for key, drive in qemu_drives.drives(config.values).items():
                if qemu_drives.is_cdrom(drive) or only not in (None, key) or is_base(drive) or ":" not in drive["file"]:
                    continue
                drive["file"] = site.machines.base(drive["file"])
                config.values[key] = qemu_drives.show(key, drive)
                guests.store(site, vmid, config)

    return tasks.spawn(site, "qmtemplate", str(vmid), call.user, work, lambda: status.publish(site))


def is_base(drive: Drive) -> bool:
    """Whether linked clones can be made of the disk."""
    return ":" in drive["file"] and drive["file"].partition(":")[2].rpartition("/")[2].startswith("base-")


def _may_clone(call: Call) -> None:
    rights, given = call.rights, call.raw
    rights.check(f"/vms/{given['vmid']}", ["VM.Clone"])
    pool = given.get("pool")
    new = rights.has(f"/vms/{given.get('newid')}", ["VM.Allocate"])
    if not new and not (pool and rights.has(f"/pool/{pool}", ["VM.Allocate"])):
        raise denied()


@route("POST", f"{VM}/clone", CLONE, _may_clone)
def clone(call: Call) -> str:
    """A copy of all disks (`full`), or of a template also differences to them."""
    job = _Clone(call)
    job.check()
    return tasks.spawn(call.site, "qmclone", str(job.vmid), call.user, job.work, lambda: status.publish(call.site))


class _Clone:
    """One request to clone."""

    def __init__(self, call: Call) -> None:
        params = self.params = call.params
        self.site, self.rights = call.site, call.rights
        self.vmid, self.newid = int(params["vmid"]), int(params["newid"])
        self.storage, self.pool = params.get("storage", ""), params.get("pool")
        target = params.get("target", "")
        self.target = "" if target in (self.site.node, "localhost") else target
        self.made: list[str] = []

    def check(self) -> tuple[GuestConfig, bool]:
        """The configuration to copy, and whether disks are copied in full."""
        site, params = self.site, self.params
        if self.pool is not None:
            self.rights.check_pool_exists(self.pool)
        if self.target and self.target not in site.nodes():
            raise fail(f"no such cluster node '{self.target}'")
        if self.storage:
            storage = storages.usable(site, self.storage)
            if "images" not in storages.content_of(storage):
                raise bad_params({"storage": f"storage '{self.storage}' does not support vm images"})
            if self.target and not storages.shared(storage):
                raise fail(f"can't clone to non-shared storage '{self.storage}'")
        config = guests.load(site, self.vmid, "qemu")
        guests.check_lock(config)
        if "snapname" in params:
            raise fail(f"snapshot '{params['snapname']}' does not exist")  # the lab's machines have none
        full = bool(params.get("full", config.values.get("template") != "1"))
        for name in ("storage", "format"):
            if name in params and not full:
                raise fail(f"parameter '{name}' not allowed for linked clones")
        changes = VmChanges(site, self.rights, self.newid, self.pool, None)
        if not changes.check_clone(config.values, self.storage) and self.target:
            raise fail(f"can't clone VM to node '{self.target}' (VM uses local storage)")
        if any(vmid == self.newid for _, _, vmid, _ in guests.every(site)):
            raise fail(f"unable to create VM {self.newid}: config file already exists")
        for key, drive in qemu_drives.drives(config.values).items():
            if not full and not qemu_drives.is_cdrom(drive) and key != "tpmstate0" and not is_base(drive):
                raise fail(f"Linked clone feature is not supported for '{drive['file']}' ({key})")
        return config, full

    def work(self, log: tasks.Log) -> None:
        """In the task; what was made goes if something fails."""
        site, newid = self.site, self.newid
        with guests.locked(site, newid), guests.locked(site, self.vmid, shared=True):
            old, full = self.check()
            log(f"creating a clone of VM {self.vmid} with ID {newid}")
            try:
                guests.claim(site, newid, "qemu", "clone")
            except Exception:
                raise fail(f"unable to create VM {newid}: config file already exists") from None
            try:
                self._copy(old, full, log)
            except BaseException as error:
                for volume in self.made:
                    with suppress(Exception):
                        site.machines.free(volume)
                (site.root / "firewall" / f"{newid}.fw").unlink(missing_ok=True)
                guests.release(site, newid, "qemu")
                raise fail(f"clone failed: {getattr(error, 'message', error)}") from None

    def _copy(self, old: GuestConfig, full: bool, log: tasks.Log) -> None:
        site, newid = self.site, self.newid
        rules = site.root / "firewall" / f"{self.vmid}.fw"
        if rules.exists():
            shutil.copyfile(rules, rules.with_name(f"{newid}.fw"))
        values = self._values(old.values)
        config = GuestConfig({**values, "lock": "clone"}, kind="qemu")
        for key, drive in qemu_drives.drives(old.values).items():
            if qemu_drives.is_cdrom(drive) and not qemu_drives.is_cloud_init(drive):
                config.values[key] = old.values[key]
                continue
            config.values[key] = self._disk(key, drive, full, log)
            guests.store(site, newid, config)
        if old.pending:
            log(f"found pending changes for '{','.join(old.pending)}', discarding for clone")
        del config.values["lock"]
        guests.store(site, newid, config)
        if self.target:
            guests.config_path(site, newid, "qemu").rename(guests.config_path(site, newid, "qemu", self.target))
        if self.pool is not None:
            with usercfg.changing(site.root) as users:
                users.pools[self.pool].vms.add(newid)

    def _values(self, old: dict[str, str]) -> dict[str, str]:
        """All but drives: with other addresses and ids, and the name and description that were asked for."""
        keys = [key for key in old if not is_drive(key) and sort_of(key) != "unused" and key not in _LEFT]
        values = {key: old[key] for key in keys}
        for key in [key for key in keys if sort_of(key) == "net" and key != "net"]:
            net = schema.parse_props("qemu-net", old[key], key)
            values[key] = schema.print_props("qemu-net", {**net, "macaddr": guests.new_mac(self.site)})
        smbios = schema.parse_props("qemu-smbios1", old.get("smbios1", ""), "smbios1")
        values["smbios1"] = schema.print_props("qemu-smbios1", {**smbios, "uuid": guests.new_uuid()})
        if "vmgenid" in old:
            values["vmgenid"] = guests.new_uuid()
        values["name"] = self.params.get("name") or f"Copy-of-VM-{old.get('name', self.vmid)}"
        if self.params.get("description"):
            values["description"] = self.params["description"]
        return values

    def _disk(self, key: str, drive: Drive, full: bool, log: tasks.Log) -> str:
        machines, source = self.site.machines, drive["file"]
        name, rest = storages.split_volid(source)
        cloud_init = qemu_drives.is_cloud_init(drive)
        whole = full or cloud_init or key == "tpmstate0"
        log(f"create {'full' if whole else 'linked'} clone of drive {key} ({source})")
        storage = storages.usable(self.site, self.storage or name if whole else name)
        form = storages.disk_format(storage, self.params.get("format") or rest.rpartition(".")[2])
        if cloud_init:
            volume = machines.disk(storage, self.newid, CLOUD_INIT_SIZE, form, "cloudinit")
        else:
            volume = machines.cloned(source, storage, self.newid, whole, form, log)
        self.made.append(volume)
        size = formats.print_size(machines.size(volume))
        return qemu_drives.show(key, {**drive, "file": volume, "size": size})
