"""Listing containers, their state, growing disks, addresses, snapshots, moving to another node."""

import json
import subprocess
from typing import Any

from smbplan.lab.pve import files, formats, guests, schema, status, storages, tasks
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.guestconf import sort_of
from smbplan.lab.pve.lxc_config import AUDIT
from smbplan.lab.pve.lxc_destroy import volumes
from smbplan.lab.pve.lxc_params import MIGRATE, RESIZE, volume_type
from smbplan.lab.pve.lxc_power import settle
from smbplan.lab.pve.lxc_update import parse_volume
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import STR, Param
from smbplan.lab.pve.site import Site

_SUBDIRS = (
    "config pending status vncproxy termproxy vncwebsocket spiceproxy migrate clone rrd rrddata firewall snapshot "
    "resize interfaces"
)
_SNAPSHOT = Param(optional=False, format="config-id", longest=40)


@route("GET", "/nodes/{node}/lxc")
def index(call: Call) -> list[dict[str, Any]]:
    """The node's containers that the user may see."""
    visible = [vmid for vmid in guests.ids_of(call.site) if call.rights.has(f"/vms/{vmid}", ["VM.Audit"])]
    return [status.guest(call.site, vmid) for vmid in visible]


@route("GET", "/nodes/{node}/lxc/{vmid}")
def subdirs(call: Call) -> list[dict[str, str]]:
    """What is below."""
    return [{"subdir": name} for name in _SUBDIRS.split()]


@route("GET", "/nodes/{node}/lxc/{vmid}/status")
def status_subdirs(call: Call) -> list[dict[str, str]]:
    """What is below."""
    return [{"subdir": name} for name in ("current", "start", "stop", "shutdown", "reboot", "migrate")]


@route("GET", "/nodes/{node}/lxc/{vmid}/status/current", None, AUDIT)
def current(call: Call) -> dict[str, Any]:
    """How it is now."""
    return {**status.guest(call.site, call.params["vmid"]), "ha": {"managed": 0}}


@route("GET", "/nodes/{node}/lxc/{vmid}/interfaces", None, AUDIT)
def interfaces(call: Call) -> list[dict[str, Any]] | None:
    """Addresses in the container's network; nothing unless it runs."""
    guests.load(call.site, call.params["vmid"])
    live = status.live(call.site, call.params["vmid"])
    if not live["running"] or not live.get("pid"):
        return None
    command = ["nsenter", "-t", str(live["pid"]), "-n", "--", "ip", "-j", "address", "show"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return [_interface(found) for found in json.loads(result.stdout or "[]")]


def _interface(found: dict[str, Any]) -> dict[str, Any]:
    mac = str(found.get("address", ""))
    shown: dict[str, Any] = {"name": found["ifname"], "hwaddr": mac, "hardware-address": mac, "ip-addresses": []}
    for address in found.get("addr_info", []):
        kind, prefix = str(address["family"]), str(address["prefixlen"])
        entry = {"ip-address": address["local"], "prefix": prefix, "ip-address-type": kind}
        shown["ip-addresses"].append(entry)
        shown.setdefault(kind, f"{address['local']}/{prefix}")
    return shown


@route("GET", "/nodes/{node}/lxc/{vmid}/firewall/rules", None, AUDIT)
@route("GET", "/nodes/{node}/qemu/{vmid}/firewall/rules", None, AUDIT)
def firewall_rules(call: Call) -> list[dict[str, Any]]:
    """The rules of ID.fw, which only shows here: `IN ACCEPT -p tcp`. The lab filters nothing."""
    text = files.read(call.site.root / "firewall" / f"{call.params['vmid']}.fw").partition("[RULES]\n")[2]
    rules = [line.split() for line in text.partition("[")[0].splitlines() if line.strip()]
    return [{"pos": at, "type": rule[0].lower(), "action": rule[1], "enable": 1} for at, rule in enumerate(rules)]


@route("PUT", "/nodes/{node}/lxc/{vmid}/resize", RESIZE, Need("/vms/{vmid}", ("VM.Config.Disk",)))
def resize(call: Call) -> str:
    """Grow a volume; `+1G` adds."""
    site, vmid, disk = call.site, int(call.params["vmid"]), str(call.params["disk"])
    config = guests.load(site, vmid)
    guests.check_lock(config)
    guests.check_digest(config, call.params.get("digest"))
    if disk not in config.values:
        raise fail(f"disk '{disk}' does not exist")
    mount = parse_volume(disk, config.values[disk])
    if volume_type(mount["volume"]) != "volume":
        raise fail(f"can't resize mount point owned by another container ({storages.owner_of(mount['volume'])})")
    wanted = str(call.params["size"])
    old = formats.parse_size(mount.get("size", "0"))
    size = formats.parse_size(wanted.lstrip("+")) + (old if wanted.startswith("+") else 0)
    if size < old:
        raise fail("unable to shrink disk size")

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            config = guests.load(site, vmid)
            guests.check_lock(config)
            site.backend.resize(mount["volume"], size)
            log("Image resized.")
            mount["size"] = formats.print_size(size)
            config.values[disk] = schema.print_props(sort_of(disk), mount)
            guests.store(site, vmid, config)

    return tasks.spawn(site, "resize", str(vmid), call.user, work, lambda: status.publish(site))


@route("GET", "/nodes/{node}/lxc/{vmid}/snapshot", None, AUDIT)
def snapshots(call: Call) -> list[dict[str, Any]]:
    """The lab takes none; the entry for the present is always there."""
    config = guests.load(call.site, call.params["vmid"])
    running = int(bool(status.live(call.site, call.params["vmid"])["running"]))
    now = {"name": "current", "description": "You are here!", "digest": config.digest, "running": running}
    return [*({"name": name, "description": ""} for name in config.snapshots), now]


@route(
    "POST",
    "/nodes/{node}/lxc/{vmid}/snapshot",
    {"snapname": _SNAPSHOT, "description": STR},
    Need("/vms/{vmid}", ("VM.Snapshot",)),
)
def snapshot(call: Call) -> str:
    """Refused in the task, as for volumes in a directory."""

    def work(log: tasks.Log) -> None:
        guests.check_lock(guests.load(call.site, call.params["vmid"]))
        raise fail("snapshot feature is not available")

    return tasks.spawn(call.site, "vzsnapshot", str(call.params["vmid"]), call.user, work)


@route(
    "GET",
    "/nodes/{node}/lxc/{vmid}/feature",
    {"feature": Param(optional=False, enum=("snapshot", "clone", "copy")), "snapname": STR},
    AUDIT,
)
def feature(call: Call) -> dict[str, int]:
    """None of them."""
    guests.load(call.site, call.params["vmid"])
    return {"hasFeature": 0}


@route("POST", "/nodes/{node}/lxc/{vmid}/migrate", MIGRATE, Need("/vms/{vmid}", ("VM.Migrate",)))
def migrate(call: Call) -> str:
    """Move a container whose volumes all nodes can reach; a running one with `restart`."""
    site, vmid, target = call.site, int(call.params["vmid"]), str(call.params["target"])
    if target not in site.nodes():
        raise fail(f"no such cluster node '{target}'")
    if target == site.node:
        raise fail("target is local node.")
    config = guests.load(site, vmid)
    guests.check_lock(config)
    running = bool(status.live(site, vmid)["running"])
    if running and not call.params.get("restart"):
        raise fail("can't migrate running container without --online or --restart")

    def work(log: tasks.Log) -> None:
        with guests.locked(site, vmid):
            for volid in volumes(site, vmid, guests.load(site, vmid), False):
                if not storages.shared(storages.get(site, storages.split_volid(volid)[0])):
                    raise fail(f"migration aborted: volume '{volid}' is on local storage")
            if running:
                site.backend.shutdown(vmid, int(call.params.get("timeout", 180)), log)
            settle(site, vmid)
            site.backend.destroy(vmid)
            goal = guests.config_path(site, vmid, node=target)
            goal.parent.mkdir(parents=True, exist_ok=True)
            guests.config_path(site, vmid).rename(goal)
        if running:
            _start_there(site, vmid, target, log)

    return tasks.spawn(site, "vzmigrate", str(vmid), call.user, work, lambda: status.publish(site))


def _start_there(site: Site, vmid: int, target: str, log: tasks.Log) -> None:
    from smbplan.lab.pve import proxy

    log(f"starting container on target node '{target}'")
    proxy.call(site, target, "POST", f"/nodes/{target}/lxc/{vmid}/status/start")
