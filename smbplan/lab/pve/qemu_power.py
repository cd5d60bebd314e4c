"""Starting and stopping virtual machines."""

from collections.abc import Callable

from smbplan.lab.pve import guests, mapping, schema, status, tasks
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.guestconf import sort_of
from smbplan.lab.pve.qemu_config import VM
from smbplan.lab.pve.qemu_params import START
from smbplan.lab.pve.qemu_update import apply_pending
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, STR, Param, Table
from smbplan.lab.pve.site import Site

_POWER = Need("/vms/{vmid}", ("VM.PowerMgmt",))
_TIMEOUT = Param("integer", low=0)
_SKIP: Table = {"skiplock": BOOL}
_DEFAULT_TIMEOUT = 60


def _spawn(call: Call, kind: str, action: Callable[[tasks.Log], None]) -> str:
    """A task that refuses a machine which something else works on."""
    site, vmid, skip = call.site, int(call.params["vmid"]), bool(call.params.get("skiplock"))
    for name in ("skiplock", "keepActive", "migratedfrom", "nocheck"):
        if name in call.params and not call.rights.is_root:
            raise bad_params({name: "Only root may use this option."})

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            config = guests.load(site, vmid, "qemu")
            if not skip:
                guests.check_lock(config)
        # The file is free again: its configuration can be changed while a machine goes down.
        action(log)

    return tasks.spawn(site, kind, str(vmid), call.user, work, lambda: status.publish(site))


def settle(site: Site, vmid: int) -> None:
    """After a stop, and before a start: what was pending applies. The caller has the machine locked."""
    config = guests.load(site, vmid, "qemu")
    if config.pending:
        apply_pending(site, vmid, config)
        guests.store(site, vmid, config)


def start_machine(site: Site, vmid: int, log: tasks.Log) -> None:
    """Start it; folders that it shares must be there."""
    with guests.locked(site, vmid):
        if guests.load(site, vmid, "qemu").values.get("template") == "1":
            raise fail("you can't start a vm if it's a template")
        if status.live(site, vmid, "qemu")["running"]:
            raise fail(f"VM {vmid} already running")
        settle(site, vmid)
        values = guests.load(site, vmid, "qemu").values
        for key, value in sorted(values.items()):
            if sort_of(key) == "virtiofs":
                mapping.path_of(site.root, site.node, schema.parse_props("qemu-virtiofs", value, key)["dirid"])
        site.machines.start(vmid, values, log)


def stop_machine(site: Site, vmid: int, timeout: int | None, force: bool, log: tasks.Log) -> None:
    """Stop it: at once without a timeout, else politely, and then at once with `force`."""
    if not status.live(site, vmid, "qemu")["running"]:
        return
    if timeout is None:
        site.machines.stop(vmid, log)
    else:
        try:
            site.machines.shutdown(vmid, timeout, log)
        except Exception as error:  # whatever keeps it from going down by itself
            if not force:
                log(str(error))
                raise fail("VM quit/powerdown failed - got timeout") from None
            log("VM still running - terminating now with SIGTERM")
            site.machines.stop(vmid, log)
    with guests.locked(site, vmid):
        settle(site, vmid)


def _must_run(call: Call) -> None:
    _must_exist(call)
    if not status.live(call.site, call.params["vmid"], "qemu")["running"]:
        raise fail(f"VM {call.params['vmid']} not running")


def _must_exist(call: Call) -> None:
    vmid = int(call.params["vmid"])
    if not guests.config_path(call.site, vmid, "qemu").exists():
        raise fail(f"unable to find configuration file for VM {vmid} on node '{call.site.node}'")


def _paused(call: Call) -> bool:
    return status.live(call.site, call.params["vmid"], "qemu").get("qmpstatus") == "paused"


@route("POST", f"{VM}/status/start", START, _POWER)
def start(call: Call) -> str:
    """A machine that runs already, or doesn't exist, fails in the task."""
    site, vmid = call.site, int(call.params["vmid"])
    return _spawn(call, "qmstart", lambda log: start_machine(site, vmid, log))


@route(
    "POST",
    f"{VM}/status/stop",
    {**_SKIP, "keepActive": BOOL, "migratedfrom": STR, "overrule-shutdown": BOOL, "timeout": _TIMEOUT},
    _POWER,
)
def stop(call: Call) -> str:
    """At once; nothing happens if it doesn't run."""
    site, vmid = call.site, int(call.params["vmid"])
    return _spawn(call, "qmstop", lambda log: stop_machine(site, vmid, None, True, log))


@route("POST", f"{VM}/status/shutdown", {**_SKIP, "forceStop": BOOL, "keepActive": BOOL, "timeout": _TIMEOUT}, _POWER)
def shutdown(call: Call) -> str:
    """Asked politely; killed after the timeout with `forceStop`. A paused one can't hear."""
    site, vmid, params = call.site, int(call.params["vmid"]), call.params
    _must_exist(call)
    timeout, force = params.get("timeout", _DEFAULT_TIMEOUT), bool(params.get("forceStop"))
    if _paused(call):
        if not force:
            raise fail("VM is paused - cannot shutdown")
        timeout = None
    return _spawn(call, "qmshutdown", lambda log: stop_machine(site, vmid, timeout, force, log))


@route("POST", f"{VM}/status/reboot", {"timeout": _TIMEOUT}, _POWER)
def reboot(call: Call) -> str:
    """Down and up again; what was pending applies. The real server starts it by another task."""
    site, vmid = call.site, int(call.params["vmid"])
    if _paused(call):
        raise fail("VM is paused - cannot shutdown")
    _must_run(call)
    timeout = int(call.params.get("timeout", _DEFAULT_TIMEOUT))

    def action(log: tasks.Log) -> None:
        stop_machine(site, vmid, timeout, False, log)
        start_machine(site, vmid, log)

    return _spawn(call, "qmreboot", action)


@route("POST", f"{VM}/status/reset", _SKIP, _POWER)
def reset(call: Call) -> str:
    """As the button does."""
    site, vmid = call.site, int(call.params["vmid"])
    _must_run(call)
    return _spawn(call, "qmreset", lambda log: log(site.machines.monitor(vmid, "system_reset").strip()))


@route("POST", f"{VM}/status/suspend", {**_SKIP, "statestorage": STR, "todisk": BOOL}, _POWER)
def suspend(call: Call) -> str:
    """Stop its processors. The lab keeps no machine's memory on disk."""
    site, vmid = call.site, int(call.params["vmid"])
    _must_run(call)
    if call.params.get("todisk"):
        raise fail("the lab keeps no machine's memory on disk")
    return _spawn(call, "qmpause", lambda log: site.machines.pause(vmid))


@route("POST", f"{VM}/status/resume", {**_SKIP, "nocheck": BOOL}, _POWER)
def resume(call: Call) -> str:
    """Let them go on."""
    site, vmid = call.site, int(call.params["vmid"])
    _must_run(call)
    return _spawn(call, "qmresume", lambda log: site.machines.resume(vmid))
