"""GET and PUT of a container's configuration, and what is pending in it."""

from typing import Any

from smbplan.lab.pve import formats, guestconf, guests, schema, status
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.lxc_params import UPDATE
from smbplan.lab.pve.lxc_rights import Changes
from smbplan.lab.pve.lxc_update import update
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, STR

AUDIT = Need("/vms/{vmid}", ("VM.Audit",))
_ANY_CONFIG = tuple(f"VM.Config.{name}" for name in ("Disk", "CPU", "Memory", "Network", "Options"))


@route("GET", "/nodes/{node}/lxc/{vmid}/config", {"current": BOOL, "snapshot": STR}, AUDIT)
def read(call: Call) -> dict[str, Any]:
    """With what is pending, unless `current`."""
    config = guests.load(call.site, call.params["vmid"])
    values = config.values if call.params.get("current") else config.future()
    if "snapshot" in call.params:
        name = call.params["snapshot"]
        if name not in config.snapshots:
            raise fail(f"snapshot '{name}' does not exist")
        values = config.snapshots[name]
    shown: dict[str, Any] = {key: guestconf.typed(key, value) for key, value in values.items()}
    if config.raw:
        shown["lxc"] = [list(pair) for pair in config.raw]
    return {**shown, "digest": config.digest}


@route("GET", "/nodes/{node}/lxc/{vmid}/pending", None, AUDIT)
def pending(call: Call) -> list[dict[str, Any]]:
    """Every key with its value, and what it will be."""
    config = guests.load(call.site, call.params["vmid"])
    rows: list[dict[str, Any]] = [{"key": "digest", "value": config.digest}]
    doomed = config.doomed
    for key in sorted((config.values.keys() | config.pending.keys()) - {"delete"}):
        row: dict[str, Any] = {"key": key}
        if key in config.values:
            row["value"] = guestconf.typed(key, config.values[key])
        if key in config.pending:
            row["pending"] = guestconf.typed(key, config.pending[key])
        if key in doomed:
            row["delete"] = 1
        rows.append(row)
    return rows


@route("PUT", "/nodes/{node}/lxc/{vmid}/config", UPDATE, Need("/vms/{vmid}", _ANY_CONFIG, any_of=True))
def write(call: Call) -> None:
    """Synchronous, even when it makes volumes."""
    site, vmid = call.site, call.params["vmid"]
    digest = call.take("digest")
    deleted, reverted = (formats.split_list(call.take(name, "")) for name in ("delete", "revert"))
    # As given, not as typed: the file keeps what the caller wrote.
    values = {key: schema.as_text(call.raw[key]) for key in call.params if key not in ("node", "vmid")}
    if not (values or deleted or reverted):
        raise fail("no options specified")
    with guests.locked(site, vmid):
        config = guests.load(site, vmid)
        unprivileged = config.values.get("unprivileged") == "1"
        Changes(site, call.rights, vmid, None, config.values).check(values, deleted, unprivileged)
        guests.check_lock(config)
        guests.check_digest(config, digest)
        running = bool(status.live(site, vmid)["running"])
        errors = update(site, vmid, config, values, deleted, reverted, running)
        guests.store(site, vmid, config)
    if errors:
        raise bad_params(errors)
