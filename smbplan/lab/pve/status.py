"""How guests and nodes are: live for the own node, as last published for the others.

Each node publishes below the root, every few seconds and after each task, as real nodes broadcast theirs.
"""

import json
import os
import re
import shutil
import ssl
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from smbplan.lab.pve import files, formats, guests, qemu_drives, schema, storages, tasks
from smbplan.lab.pve.errors import ApiError
from smbplan.lab.pve.guestconf import Kind
from smbplan.lab.pve.site import VERSIONS, Site

FRESH = 1.0
_PRESSURE = ("cpufull", "cpusome", "iofull", "iosome", "memoryfull", "memorysome")


def live(site: Site, vmid: int, kind: Kind = "lxc") -> dict[str, Any]:
    """What the backend says of a guest; one that isn't there, or not yet made, doesn't run."""
    try:
        values = guests.load(site, vmid, kind).values
    except ApiError:
        return {"running": False}
    if kind == "qemu":
        return {"running": False} if values.get("lock") in ("create", "clone") else site.machines.status(vmid)
    return site.backend.status(vmid) if "rootfs" in values else {"running": False}


def guest(site: Site, vmid: int, kind: Kind = "lxc") -> dict[str, Any]:
    """One guest of this node, as listings show it."""
    return machine(site, vmid) if kind == "qemu" else container(site, vmid)


def container(site: Site, vmid: int) -> dict[str, Any]:
    """One container of this node, as `status/current` shows it."""
    values = guests.load(site, vmid).values
    found = live(site, vmid)
    running = bool(found["running"])
    root = schema.parse_props("rootfs", values["rootfs"], "rootfs") if "rootfs" in values else {}
    shown: dict[str, Any] = {
        "vmid": vmid,
        "type": "lxc",
        "name": values.get("hostname", f"CT{vmid}"),
        "status": "running" if running else "stopped",
        "maxmem": int(values.get("memory", 512)) * 2**20,
        "maxswap": int(values.get("swap", 0)) * 2**20,
        "maxdisk": formats.parse_size(root.get("size", "0")),
        "cpus": int(values.get("cores", os.cpu_count() or 1)),
        **dict.fromkeys(("cpu", "mem", "swap", "disk", "uptime", "netin", "netout", "diskread", "diskwrite"), 0),
    }
    shown |= {key: values[key] for key in ("tags", "lock") if key in values}
    if "template" in values:
        shown["template"] = int(values["template"])
    if running:
        shown |= {key: value for key, value in found.items() if key != "running" and value is not None}
        shown |= {f"pressure{name}": "0.00" for name in _PRESSURE}
    return shown


def machine(site: Site, vmid: int) -> dict[str, Any]:
    """One virtual machine of this node, as the list of them shows it."""
    values = guests.load(site, vmid, "qemu").values
    found = live(site, vmid, "qemu")
    running = bool(found["running"])
    disk = qemu_drives.boot_disk(values)
    size = qemu_drives.parse(disk, values[disk]).get("size", "0") if disk else "0"
    cpus = int(values.get("sockets", 1)) * int(values.get("cores", 1))
    memory = schema.parse_props("qemu-memory", values.get("memory", "512"), "memory")["current"]
    shown: dict[str, Any] = {
        "vmid": vmid,
        "name": values.get("name", f"VM {vmid}"),
        "status": "running" if running else "stopped",
        "maxmem": int(memory) * 2**20,
        "maxdisk": formats.parse_size(size),
        "cpus": int(values.get("vcpus", cpus)),
        **dict.fromkeys(("cpu", "mem", "disk", "uptime", "netin", "netout", "memhost"), 0),
    }
    shown |= {key: values[key] for key in ("tags", "lock") if key in values}
    shown |= {"template": 1} if values.get("template") == "1" else {}
    shown |= {"serial": 1} if any(re.fullmatch(r"serial\d+", key) for key in values) else {}
    if running:
        shown |= {key: found[key] for key in ("pid", "uptime", "mem", "cpu") if found.get(key) is not None}
        shown["memhost"] = shown["mem"]
        taps = (f"tap{vmid}i{key[3:]}" for key in values if re.fullmatch(r"net\d+", key))
        shown["nics"] = {tap: {"netin": 0, "netout": 0} for tap in taps}
        shown |= {f"pressure{name}": 0 for name in _PRESSURE} if site.dialect >= 9 else {}
    return shown


def node(site: Site) -> dict[str, Any]:
    """This node, as listings show it."""
    memory = _meminfo()
    disk = shutil.disk_usage("/")
    return {
        "uptime": int(float(files.read(Path("/proc/uptime")).split()[0])),
        "cpu": 0.01,
        "maxcpu": os.cpu_count() or 1,
        "mem": memory["MemTotal"] - memory["MemAvailable"],
        "maxmem": memory["MemTotal"],
        "disk": disk.used,
        "maxdisk": disk.total,
    }


def _meminfo() -> dict[str, int]:
    rows = (line.split() for line in files.read(Path("/proc/meminfo")).splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def node_details(site: Site) -> dict[str, Any]:
    """`/nodes/X/status`."""
    memory, disk, system = _meminfo(), shutil.disk_usage("/"), os.uname()
    kernel = {"sysname": system.sysname, "release": system.release, "version": system.version}
    return {
        "uptime": int(float(files.read(Path("/proc/uptime")).split()[0])),
        "loadavg": [f"{load:.2f}" for load in os.getloadavg()],
        "cpu": 0.01,
        "wait": 0,
        "idle": 0,
        "memory": {
            "total": memory["MemTotal"],
            "used": memory["MemTotal"] - memory["MemAvailable"],
            "free": memory["MemFree"],
            "available": memory["MemAvailable"],
        },
        "swap": {
            "total": memory["SwapTotal"],
            "used": memory["SwapTotal"] - memory["SwapFree"],
            "free": memory["SwapFree"],
        },
        "rootfs": {"total": disk.total, "used": disk.used, "avail": disk.free, "free": disk.total - disk.used},
        "cpuinfo": {"cpus": os.cpu_count() or 1, "cores": os.cpu_count() or 1, "sockets": 1},
        "kversion": f"{system.sysname} {system.release} {system.version}",
        "current-kernel": {**kernel, "machine": system.machine},
        "pveversion": f"pve-manager/{_version(site)}",
        "boot-info": {"mode": "efi", "secureboot": 0},
        "ksm": {"shared": 0},
    }


def _version(site: Site) -> str:
    version = VERSIONS[site.release]
    return f"{version['version']}/{version['repoid']}"


def fingerprint(site: Site, name: str) -> str | None:
    """Of the certificate of a node's API."""
    text = files.read(site.certificate(name))
    if "-----END CERTIFICATE-----" not in text:
        return None
    first = text.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    digest = sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest().upper()
    return ":".join(digest[n : n + 2] for n in range(0, len(digest), 2))


def recent_tasks(site: Site) -> list[dict[str, Any]]:
    """Running tasks and the last 25 that ended, for the list of the cluster."""
    keys = ("upid", "node", "type", "id", "user", "starttime")
    found = [{key: upid.info()[key] for key in keys} | {"saved": "0"} for upid in tasks.active(site)]
    for entry in tasks.archive(site)[:25]:
        ended = {"saved": "1", "endtime": entry["endtime"], "status": entry["status"]}
        found.append({key: entry[key] for key in keys} | ended)
    return found


def _place(site: Site, name: str) -> Path:
    return site.root / ".status" / f"{name}.json"


def publish(site: Site) -> dict[str, Any]:
    """Write how this node is; what was written."""
    found: dict[str, Any] = {}
    for name, kind, vmid, _ in guests.every(site):
        if name != site.node:
            continue
        try:
            found[str(vmid)] = guest(site, vmid, kind)
        except Exception:
            continue  # destroyed meanwhile, or being created
    names = [name for name, section in storages.load(site).items() if storages.on_node(section, site.node)]
    state = {
        "time": time.time(),
        "node": node(site),
        "guests": found,
        "tasks": recent_tasks(site),
        "storages": {name: storages.status(site, storages.get(site, name)) for name in names},
    }
    files.write(_place(site, site.node), json.dumps(state))
    return state


def of(site: Site, name: str) -> dict[str, Any]:
    """A node's state: this one's never older than a second, others as they last said."""
    text = files.read(_place(site, name))
    state: dict[str, Any] = json.loads(text) if text else {}
    if name == site.node and time.time() - state.get("time", 0) > FRESH:
        return publish(site)
    return state
