"""Listing virtual machines, their state, growing disks."""

from typing import Any

from smbplan.lab.pve import formats, guests, qemu_drives, schema, status, storages, tasks
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.qemu_clone import is_base
from smbplan.lab.pve.qemu_config import AUDIT, VM
from smbplan.lab.pve.qemu_params import RESIZE
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, STR, Param
from smbplan.lab.pve.site import Site

_SUBDIRS = (
    "config pending status unlink vncproxy termproxy migrate resize move rrd rrddata monitor agent snapshot clone"
)


@route("GET", "/nodes/{node}/qemu", {"full": BOOL})
def index(call: Call) -> list[dict[str, Any]]:
    """The node's machines that the user may see."""
    site = call.site
    visible = [vmid for vmid in guests.ids_of(site, "qemu") if call.rights.has(f"/vms/{vmid}", ["VM.Audit"])]
    return [status.machine(site, vmid) for vmid in visible]


@route("GET", VM)
def subdirs(call: Call) -> list[dict[str, str]]:
    """What is below."""
    return [{"subdir": name} for name in _SUBDIRS.split()]


@route("GET", f"{VM}/status")
def status_subdirs(call: Call) -> list[dict[str, str]]:
    """What is below."""
    names = ("current", "start", "stop", "reset", "shutdown", "suspend", "resume", "reboot")
    return [{"subdir": name} for name in names]


@route("GET", f"{VM}/status/current", None, AUDIT)
def current(call: Call) -> dict[str, Any]:
    """How it is now."""
    vmid = int(call.params["vmid"])
    shown = status.machine(call.site, vmid)
    values = guests.load(call.site, vmid, "qemu").values
    agent = schema.parse_props("qemu-agent", values.get("agent", "0"), "agent")
    shown |= {"agent": 1} if agent["enabled"] == "1" else {}
    return {
        **shown,
        "qmpstatus": status.live(call.site, vmid, "qemu").get("qmpstatus", "stopped"),
        "ha": {"managed": 0},
    }


@route("PUT", f"{VM}/resize", RESIZE, Need("/vms/{vmid}", ("VM.Config.Disk",)))
def resize(call: Call) -> str:
    """Grow a disk, in a task that also does the checks; `+1G` adds."""
    params, vmid = dict(call.params), int(call.params["vmid"])
    if params.get("skiplock") and not call.rights.is_root:
        raise bad_params({"skiplock": "Only root may use this option."})

    def work(log: tasks.Log) -> None:
        with guests.locked(call.site, vmid):
            _grow(call.site, call.rights, vmid, params)

    return tasks.spawn(call.site, "resize", str(vmid), call.user, work, lambda: status.publish(call.site))


def _grow(site: Site, rights: Rights, vmid: int, params: dict[str, Any]) -> None:
    config, key, wanted = guests.load(site, vmid, "qemu"), str(params["disk"]), str(params["size"])
    guests.check_digest(config, params.get("digest"))
    if not params.get("skiplock"):
        guests.check_lock(config)
    if key not in config.values:
        raise fail(f"disk '{key}' does not exist")
    drive = qemu_drives.parse(key, config.values[key])
    if qemu_drives.is_cdrom(drive):
        raise fail("you can't resize a cdrom")
    rights.check(f"/storage/{storages.split_volid(drive['file'])[0]}", ["Datastore.AllocateSpace"])
    old = site.machines.size(drive["file"])
    size = formats.parse_size(wanted.lstrip("+")) + (old if wanted.startswith("+") else 0)
    if size < old:
        raise fail("shrinking disks is not supported")
    if size > old:
        site.machines.resize(vmid, drive["file"], size)
        config.values[key] = qemu_drives.show(key, {**drive, "size": formats.print_size(size)})
        guests.store(site, vmid, config)


@route(
    "GET",
    f"{VM}/feature",
    {"feature": Param(optional=False, enum=("snapshot", "clone", "copy")), "snapname": STR},
    AUDIT,
)
def feature(call: Call) -> dict[str, Any]:
    """Whether it can be copied (always), go back (qcow2 disks) or be cloned by links (a template), and where."""
    site = call.site
    found = qemu_drives.drives(guests.load(site, call.params["vmid"], "qemu").values).values()
    disks = [drive for drive in found if not qemu_drives.is_cdrom(drive)]
    snapshots = all(drive["file"].endswith(".qcow2") for drive in disks)
    has = {"snapshot": snapshots, "copy": True, "clone": bool(disks) and all(map(is_base, disks))}
    places = [storages.get(site, drive["file"].partition(":")[0]) for drive in disks if ":" in drive["file"]]
    everywhere = all(map(storages.shared, places))
    return {
        "hasFeature": int(has[call.params["feature"]]),
        "nodes": sorted(site.nodes()) if everywhere else [site.node],
    }
