"""Starting and stopping containers."""

from collections.abc import Callable

from smbplan.lab.pve import guests, status, tasks
from smbplan.lab.pve.errors import denied, fail
from smbplan.lab.pve.lxc_update import apply_pending
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, Param
from smbplan.lab.pve.site import Site

_POWER = Need("/vms/{vmid}", ("VM.PowerMgmt",))
_TIMEOUT = Param("integer", low=0)


def _spawn(call: Call, kind: str, action: Callable[[tasks.Log], None]) -> str:
    """A task that refuses a guest which something else works on."""
    site, vmid = call.site, int(call.params["vmid"])
    skip = bool(call.params.get("skiplock"))
    if skip and not call.rights.is_root:
        raise denied("skiplock is only allowed for root@pam")

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            config = guests.load(site, vmid)
            if not skip:
                guests.check_lock(config)
        # The file is free again: its configuration can be changed while a guest goes down.
        action(log)

    return tasks.spawn(site, kind, str(vmid), call.user, work, lambda: status.publish(site))


def settle(site: Site, vmid: int) -> None:
    """After a stop, and before a start: what was pending applies. The caller has the guest locked."""
    config = guests.load(site, vmid)
    if config.pending:
        apply_pending(site, vmid, config)
        guests.store(site, vmid, config)


def _start(site: Site, vmid: int, log: tasks.Log) -> None:
    with guests.locked(site, vmid):
        if guests.load(site, vmid).values.get("template") == "1":
            raise fail("you can't start a CT if it's a template")
        settle(site, vmid)
        site.backend.start(vmid, log)


def _stop(site: Site, vmid: int, log: tasks.Log) -> None:
    site.backend.stop(vmid, log)
    with guests.locked(site, vmid):
        settle(site, vmid)


def _shutdown(site: Site, vmid: int, timeout: int, force: bool, log: tasks.Log) -> None:
    try:
        site.backend.shutdown(vmid, timeout, log)
    except Exception:  # whatever keeps it from going down by itself
        if not force:
            raise
        site.backend.stop(vmid, log)
    with guests.locked(site, vmid):
        settle(site, vmid)


def _must_run(call: Call) -> None:
    guests.load(call.site, call.params["vmid"])
    if not status.live(call.site, call.params["vmid"])["running"]:
        raise fail(f"CT {call.params['vmid']} not running")


@route("POST", "/nodes/{node}/lxc/{vmid}/status/start", {"debug": BOOL, "skiplock": BOOL}, _POWER)
def start(call: Call) -> str:
    """A container that doesn't exist fails in the task."""
    site, vmid = call.site, int(call.params["vmid"])
    if status.live(site, vmid)["running"]:
        raise fail(f"CT {vmid} already running")
    return _spawn(call, "vzstart", lambda log: _start(site, vmid, log))


@route("POST", "/nodes/{node}/lxc/{vmid}/status/stop", {"overrule-shutdown": BOOL, "skiplock": BOOL}, _POWER)
def stop(call: Call) -> str:
    """At once."""
    site, vmid = call.site, int(call.params["vmid"])
    _must_run(call)
    return _spawn(call, "vzstop", lambda log: _stop(site, vmid, log))


@route("POST", "/nodes/{node}/lxc/{vmid}/status/shutdown", {"forceStop": BOOL, "timeout": _TIMEOUT}, _POWER)
def shutdown(call: Call) -> str:
    """Asked politely; killed after the timeout with `forceStop`."""
    site, vmid, params = call.site, int(call.params["vmid"]), call.params
    _must_run(call)
    timeout, force = int(params.get("timeout", 60)), bool(params.get("forceStop"))
    return _spawn(call, "vzshutdown", lambda log: _shutdown(site, vmid, timeout, force, log))


@route("POST", "/nodes/{node}/lxc/{vmid}/status/reboot", {"timeout": _TIMEOUT}, _POWER)
def reboot(call: Call) -> str:
    """Down and up again; what was pending applies."""
    site, vmid = call.site, int(call.params["vmid"])
    _must_run(call)
    timeout = int(call.params.get("timeout", 60))

    def action(log: tasks.Log) -> None:
        _shutdown(site, vmid, timeout, True, log)
        _start(site, vmid, log)

    return _spawn(call, "vzreboot", action)
