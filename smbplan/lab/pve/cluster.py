"""Calls about the cluster as a whole."""

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from smbplan.lab.pve import datacenter, files, formats, guestconf, guests, status, storages, usercfg
from smbplan.lab.pve.errors import ApiError, bad_params, fail
from smbplan.lab.pve.proxy import online
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import INT, STR, VMID, Param
from smbplan.lab.pve.site import VERSIONS

_AUDIT = Need("/", ("Sys.Audit",))


@route("GET", "/version")
def version(call: Call) -> dict[str, str]:
    """The version played."""
    return VERSIONS[call.site.release]


@route("GET", "/cluster/nextid", {"vmid": VMID})
def next_id(call: Call) -> str:
    """A free id, as text; not reserved. A given one: whether it is free."""
    if "vmid" in call.params:
        vmid = int(call.params["vmid"])
        try:
            guests.check_unused(call.site, vmid)
        except ApiError:
            raise bad_params({"vmid": f"VM {vmid} already exists"}) from None
        return str(vmid)
    bounds = datacenter.option(call.site, "next-id")
    used = {vmid for _, _, vmid, _ in guests.every(call.site)}
    for vmid in range(int(bounds.get("lower", 100)), int(bounds.get("upper", 1_000_000))):
        if vmid not in used:
            return str(vmid)
    raise fail("unable to get any free VMID")


@route("GET", "/cluster/options", None, None)
def options(call: Call) -> dict[str, Any]:
    """All with Sys.Audit; some that everybody needs without."""
    shown = datacenter.shown(call.site, call.rights)
    if call.rights.has("/", ["Sys.Audit"]):
        return shown
    return {key: shown[key] for key in ("allowed-tags", "console", "tag-style") if key in shown}


@route(
    "PUT",
    "/cluster/options",
    {
        "delete": STR,
        "description": Param(longest=65536),
        "mac_prefix": Param(pattern="(?i)[a-f0-9][02468ace](:[a-f0-9]{2}){2,4}"),
        "migration": Param(props="migration"),
        "next-id": Param(props="next-id"),
        "registered-tags": Param(format="tags"),
        "tag-style": Param(props="tag-style"),
        "user-tag-access": Param(props="user-tag-access"),
        "keyboard": STR,
        "language": STR,
        "console": Param(enum=("applet", "vv", "html5", "xtermjs")),
        "email_from": STR,
        "http_proxy": Param(pattern="http://.*"),
        "max_workers": INT,
    },
    Need("/", ("Sys.Modify",)),
)
def set_options(call: Call) -> None:
    """Set and delete options."""
    with files.cluster_lock(call.site.root, "file-datacenter_cfg"):
        values = datacenter.load(call.site)
        for name in formats.split_list(call.take("delete", "")):
            values.pop(name, None)
        values |= {name: str(value) for name, value in call.params.items()}
        datacenter.store(call.site, values)


@route("GET", "/cluster/status", None, _AUDIT)
def cluster_status(call: Call) -> list[dict[str, Any]]:
    """The cluster (if it is one) and its nodes."""
    site, nodes = call.site, call.site.nodes()
    up = {name: online(site, name) for name in nodes}
    found: list[dict[str, Any]] = []
    if site.cluster_name():
        quorate = int(sum(up.values()) * 2 > len(nodes))
        head = {"type": "cluster", "id": "cluster", "name": site.cluster_name(), "version": len(nodes)}
        found.append({**head, "nodes": len(nodes), "quorate": quorate})
    for name, member in nodes.items():
        entry = {"type": "node", "id": f"node/{name}", "name": name, "nodeid": int(member["id"]), "level": ""}
        here = {"ip": member["ip"], "local": int(name == site.node), "online": int(up[name])}
        found.append({**entry, **here})
    return found


@route("GET", "/cluster/tasks")
def cluster_tasks(call: Call) -> list[dict[str, Any]]:
    """Recent tasks of all nodes that the user may see."""
    found = [task for name in call.site.nodes() for task in status.of(call.site, name).get("tasks", [])]
    shown = [t for t in found if not call.rights.tasks_refused(str(t["node"]), str(t["user"]), ["Sys.Audit"])]
    return sorted(shown, key=lambda task: -int(task["starttime"]))


@route("GET", "/cluster/resources", {"type": Param(enum=("vm", "storage", "node", "sdn"))})
def resources(call: Call) -> list[dict[str, Any]]:
    """Guests, nodes, storages and pools that the user may see."""
    wanted = call.params.get("type")
    found: list[dict[str, Any]] = []
    if wanted is None:
        found += _pools(call)
    if wanted in (None, "vm"):
        found += guest_resources(call)
    if wanted in (None, "node"):
        found += _nodes(call)
    if wanted in (None, "storage"):
        found += storage_resources(call)
    return found


def _pools(call: Call) -> list[dict[str, Any]]:
    names = usercfg.load(call.site.root).pools
    return [
        {"id": f"/pool/{name}", "pool": name, "type": "pool"}
        for name in sorted(names)
        if call.rights.has(f"/pool/{name}", ["Pool.Audit"])
    ]


def guest_resources(call: Call) -> list[dict[str, Any]]:
    """Each guest with what its node last said of it."""
    site, config, found = call.site, usercfg.load(call.site.root), []
    states: dict[str, dict[str, Any]] = {}
    up = cache(lambda node: online(site, node))
    for node, kind, vmid, path in guests.every(site):
        if not call.rights.has(f"/vms/{vmid}", ["VM.Audit"]):
            continue
        if node not in states:
            states[node] = status.of(site, node)
        state = states[node].get("guests", {}).get(str(vmid), {})
        entry: dict[str, Any] = {"id": f"{kind}/{vmid}", "type": kind, "vmid": vmid, "node": node}
        entry["status"] = state.get("status", "unknown") if up(node) else "unknown"
        if state:
            numbers = ("maxmem", "maxdisk", "mem", "disk", "cpu", "uptime", "netin", "netout", "diskread", "diskwrite")
            entry |= {key: state.get(key, 0) for key in numbers}
            entry |= {
                "maxcpu": state["cpus"],
                "name": state["name"],
                "template": state.get("template", 0),
                "memhost": 0,
            }
            entry |= {"tags": state["tags"]} if "tags" in state else {}
        entry |= _lock(path)
        pool = config.pool_of(vmid)
        if pool:
            entry["pool"] = pool
        found.append(entry)
    return found


def _lock(path: Path) -> dict[str, str]:
    """From its configuration, as that is now: the cluster's file system tells it without its node."""
    with suppress(FileNotFoundError):
        held = guestconf.parse(path.read_text()).values.get("lock")
        return {"lock": held} if held else {}
    return {}


def _nodes(call: Call) -> list[dict[str, Any]]:
    found = []
    for name in sorted(call.site.nodes()):
        up = online(call.site, name)
        entry: dict[str, Any] = {"id": f"node/{name}", "node": name, "type": "node", "level": "", "cgroup-mode": 2}
        entry["status"] = "online" if up else "offline"
        if up and call.rights.has(f"/nodes/{name}", ["Sys.Audit"]):
            entry |= status.of(call.site, name).get("node", {})
        found.append(entry)
    return found


def storage_resources(call: Call) -> list[dict[str, Any]]:
    """Each storage once per node that has it."""
    found = []
    up = cache(lambda node: online(call.site, node))
    for name, section in storages.load(call.site).items():
        rights = ["Datastore.Audit", "Datastore.AllocateSpace"]
        if section.get("disable") == "1" or not call.rights.has(f"/storage/{name}", rights, any_of=True):
            continue
        for node in sorted(call.site.nodes()):
            if not storages.on_node(section, node):
                continue
            state = status.of(call.site, node).get("storages", {}).get(name, {})
            active = state.get("active") and up(node)
            entry = {"id": f"storage/{node}/{name}", "type": "storage", "storage": name, "node": node}
            entry |= {"plugintype": section["type"], "content": ",".join(storages.content_of(section))}
            sizes = {"disk": state.get("used", 0), "maxdisk": state.get("total", 0)} if active else {}
            shared = storages.shared(section)
            found.append({**entry, "shared": shared, "status": "available" if active else "unknown", **sizes})
    return found


@route("GET", "/cluster/ha/resources", None, _AUDIT)
def ha_resources(call: Call) -> list[dict[str, Any]]:
    """The lab has no high availability."""
    return []


@route("GET", "/cluster/replication")
def replication(call: Call) -> list[dict[str, Any]]:
    """Nor has it replication."""
    return []
