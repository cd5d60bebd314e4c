"""Reading and changing a virtual machine's configuration, and what is pending in it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from smbplan.lab.pve import formats, guests, qemu_drives, schema, status, tasks
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.guestconf import GuestConfig
from smbplan.lab.pve.machine import Log
from smbplan.lab.pve.qemu_params import CONFIG, SET, UNLINK, is_cloud_init, shown
from smbplan.lab.pve.qemu_rights import VmChanges
from smbplan.lab.pve.qemu_update import Update, check_memory, check_names
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, STR, Param

VM = "/nodes/{node}/qemu/{vmid}"
AUDIT = Need("/vms/{vmid}", ("VM.Audit",))
_AREAS = ("Disk", "CDROM", "CPU", "Memory", "Network", "HWType", "Options", "Cloudinit")
_ANY_CONFIG = Need("/vms/{vmid}", tuple(f"VM.Config.{name}" for name in _AREAS), any_of=True)


@route("GET", f"{VM}/config", {"current": BOOL, "snapshot": STR}, AUDIT)
def read(call: Call) -> dict[str, Any]:
    """With what is pending, unless `current`."""
    config = guests.load(call.site, call.params["vmid"], "qemu")
    if "snapshot" in call.params and call.params.get("current"):
        text = "cannot use 'snapshot' parameter with 'current'"
        raise bad_params({"snapshot": text, "current": text})
    values = config.values if call.params.get("current") else config.future()
    if "snapshot" in call.params:
        name = call.params["snapshot"]
        if name not in config.snapshots:
            raise fail(f"snapshot '{name}' does not exist")
        values = config.snapshots[name]
    return {**shown(values), "digest": config.digest}


@route("GET", f"{VM}/pending", None, AUDIT)
def pending(call: Call) -> list[dict[str, Any]]:
    """Every key with its value, and what it will be."""
    config = guests.load(call.site, call.params["vmid"], "qemu")
    rows: list[dict[str, Any]] = [{"key": "digest", "value": config.digest}]
    now, later = shown(config.values), shown(config.pending)
    for key in sorted((now.keys() | later.keys()) - {"delete"}):
        row = (
            {"key": key}
            | ({"value": now[key]} if key in now else {})
            | ({"pending": later[key]} if key in later else {})
        )
        if key in config.doomed:
            row["delete"] = 2 if key in config.forced else 1
        rows.append(row)
    return rows


@route("GET", f"{VM}/cloudinit", None, AUDIT)
def cloud_init(call: Call) -> list[dict[str, Any]]:
    """What the cloud-init drive is made of; the lab makes it anew at each start, so that nothing waits."""
    values = guests.load(call.site, call.params["vmid"], "qemu").values
    return [{"key": key, "value": value} for key, value in shown(values).items() if is_cloud_init(key)]


def given(call: Call) -> dict[str, str]:
    """Options as the caller wrote them, not as typed; `cdrom` is another name for ide2."""
    values = {key: schema.as_text(call.raw[key]) for key in call.params if schema.lookup(CONFIG, key)}
    if "cdrom" in call.params:
        text = schema.as_text(call.raw["cdrom"])
        values["ide2"] = text if "media=" in text else f"{text},media=cdrom"
    if "sshkeys" in values:
        guests.check_ssh_keys(unquote(values["sshkeys"]))
    return values


class _Request:
    """A request to change a machine: checked first, then done, in the request or in a task."""

    def __init__(self, call: Call) -> None:
        self.call, params = call, call.params
        self.vmid = int(params["vmid"])
        self.values = given(call)
        words = {key: schema.as_text(call.raw[key]) for key in sorted(params) if key not in ("node", "vmid", "digest")}
        hidden = {"cipassword": "<hidden>"} if "cipassword" in words else {}
        self.words = " ".join(f"-{key} {value}" for key, value in {**words, **hidden}.items())
        self.deleted = ["ide2" if key == "cdrom" else key for key in formats.split_list(params.get("delete", ""))]
        self.reverted = formats.split_list(params.get("revert", ""))
        if params.get("skiplock") and not call.rights.is_root:
            raise bad_params({"skiplock": "Only root may use this option."})
        if not (self.values or self.deleted or self.reverted):
            raise fail("no options specified")
        check_names(self.values, self.deleted, self.reverted)
        self.values = qemu_drives.check(self.values)
        self.changes = VmChanges(call.site, call.rights, self.vmid, None, None)
        self.changes.check_keys(self.deleted)
        self.changes.check_keys(self.values)
        self.changes.check_storages(self.values)
        self.changes.check_bridges(self.values)
        self._load()

    def _load(self) -> GuestConfig:
        config = guests.load(self.call.site, self.vmid, "qemu")
        guests.check_digest(config, self.call.params.get("digest"))
        if not self.call.params.get("skiplock"):
            guests.check_lock(config)
        check_memory(config, self.values)
        self.changes.old = config.values
        return config

    def perform(self, log: Log) -> None:
        """Change it. What was stored when something fails stays stored, as in the real server."""
        site, vmid = self.call.site, self.vmid
        with guests.locked(site, vmid):
            config = self._load()
            log(f"update VM {vmid}: {self.words}")
            before: Mapping[str, str] = {key: config.values[key] for key in self.deleted if key in config.values}
            self.changes.check_values(before, "delete")
            self.changes.check_drives(before)
            replaced = {key: config.values[key] for key in self.values if key in config.values and key != "tags"}
            for values in (replaced, self.values):
                self.changes.check_values(values, "modify")
                self.changes.check_drives(values)
            update = Update(site, vmid, config, log, bool(self.call.params.get("force")))
            values, deleted = dict(self.values), list(self.deleted)
            for key in self.reverted:
                if key in config.values:
                    values[key] = config.values[key]
                elif key in config.pending:
                    deleted.append(key)
            try:
                keys = update.delete(deleted) + update.set(values)
                errors = update.apply(keys, bool(status.live(site, vmid, "qemu")["running"]))
            finally:
                guests.store(site, vmid, config)
        if errors:
            raise bad_params(errors)


@route("PUT", f"{VM}/config", SET, _ANY_CONFIG)
def write(call: Call) -> None:
    """Synchronous, even when it makes disks."""
    _Request(call).perform(lambda line: None)


@route("POST", f"{VM}/config", {**SET, "background_delay": Param("integer", low=1, high=30)}, _ANY_CONFIG)
def write_in_task(call: Call) -> str:
    """The same as a task; the lab waits for none, whatever the delay."""
    call.take("background_delay")
    request = _Request(call)
    return tasks.spawn(call.site, "qmconfig", str(request.vmid), call.user, request.perform)


@route("PUT", f"{VM}/unlink", UNLINK, Need("/vms/{vmid}", ("VM.Config.Disk",)))
def unlink(call: Call) -> None:
    """Take disks out; with `force` delete them."""
    call.params["delete"] = call.take("idlist")
    call.raw = {**call.raw, "delete": call.params["delete"]}
    write(call)
