"""Templates of virtual machines: marked as ones that smbplan can use, by a comment in their description."""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

from smbplan.drivers.agent.core import Refused
from smbplan.drivers.pve import config, machines
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError

VERSION = 1  # of what smbplan expects to be in one: Samba, Python 3, cloud-init, qemu-guest-agent
READERS = 8  # requests at a time
# Besides disks, what leads out of a VM, or into its node.
ATTACHED = re.compile(r"(virtiofs|hostpci|usb|parallel)\d+|args|hookscript")


@dataclass(frozen=True, slots=True)
class Template:
    node: str
    vmid: int
    name: str
    version: int  # 0 for one without our mark
    samba: str  # version of Samba in it, as far as the mark tells
    built: str  # day
    storage: str  # of its root disk
    size: int  # bytes
    more: tuple[str, ...] = ()  # further disks and what is attached to it, which a clone would have unseen
    storages: tuple[str, ...] = ()  # of all that a clone copies: its firmware's settings and cloud-init drive, too
    bases: tuple[str, ...] = ()  # the storages of these without CDs: a linked clone needs a right there
    bridges: tuple[str, ...] = ()  # BRIDGE or BRIDGE/VLAN of its interfaces, likewise for every clone

    @property
    def suits(self) -> bool:
        return self.version == VERSION and not self.more


def comment(told: Mapping[str, Any]) -> str:
    """The description of a template with this in its mark: {version, samba, built}."""
    return config.described({}, {"template": dict(told)})


def every(client: Client) -> list[Template]:
    """The templates of the cluster, those with our mark first and the newest of them first. Raises ApiError."""
    rows = [row for row in client.get("cluster/resources", type="vm") if _may_be(row)]
    with ThreadPoolExecutor(READERS) as pool:
        found = [template for template in pool.map(lambda row: _read(client, row), rows) if template]
    ordered = sorted(found, key=lambda one: (one.version, one.built, -one.vmid), reverse=True)
    return sorted(ordered, key=lambda one: not one.suits)


def _may_be(row: Mapping[str, Any]) -> bool:
    """Of one that was just made, lists tell neither status nor sort yet."""
    return row["type"] == "qemu" and bool(row.get("template") or row.get("status", "unknown") == "unknown")


def read(client: Client, node: str, vmid: int) -> Template | None:
    """The template of this id. Raises ApiError."""
    return _read(client, {"node": node, "vmid": vmid})


def _read(client: Client, row: Mapping[str, Any]) -> Template | None:
    try:
        found = client.get(f"nodes/{row['node']}/qemu/{row['vmid']}/config")
    except ApiError:
        return None  # removed meanwhile, on a node that is down, or not for us
    if not int(found.get("template", 0)):
        return None
    version, samba, built = _marked(found)
    pairs = config.properties(str(found.get(machines.root_disk(found), "")), "volume")
    written = {key: value for key, value in found.items() if "media=cdrom" not in str(value)}
    return Template(
        row["node"],
        int(row["vmid"]),
        str(found.get("name", "")),
        version,
        samba,
        built,
        pairs.get("volume", "").partition(":")[0],
        config.size(pairs.get("size", "0")),
        (*machines.further(found), *sorted(key for key in found if ATTACHED.fullmatch(key))),
        tuple(sorted(machines.storages(found))),
        tuple(sorted(machines.storages(written))),
        tuple(sorted(_bridges(found))),
    )


def _marked(found: Mapping[str, Any]) -> tuple[int, str, str]:
    """Version, Samba and day of a mark; version 0 for none, or one that smbplan never wrote."""
    told = config.told(found).get("template")
    told = told if isinstance(told, dict) else {}
    version, samba, built = (told.get(name, "") for name in ("version", "samba", "built"))
    sound = type(version) is int and (built == "" or _is_day(built))
    return (version, str(samba), built) if sound else (0, "", "")


def _is_day(text: Any) -> bool:
    """Templates are ordered by it: nobody's may come first by a word that is none."""
    try:
        return str(date.fromisoformat(text)) == str(text)
    except (TypeError, ValueError):
        return False


def _bridges(found: Mapping[str, Any]) -> Iterator[str]:
    """As the paths of their rights end."""
    for key, value in found.items():
        pairs = config.properties(str(value), "model") if re.fullmatch(r"net\d+", key) else {}
        if "bridge" in pairs:
            yield "/".join(filter(None, (pairs["bridge"], pairs.get("tag"))))


def chosen(client: Client, node: str | None, wanted: str) -> Template:
    """The template for a new gateway on a node: of that name or id, or the newest. Raises ApiError, Refused."""
    return picked(every(client), node, wanted, shared(client))


def picked(
    found: Sequence[Template], node: str | None, wanted: str, everywhere: AbstractSet[str], storage: str = ""
) -> Template:
    """The same of templates that are known; `storage` is where one made by hand would lie. Raises Refused."""
    template = fitting(found, node, wanted, everywhere)
    if template is None:
        raise Refused(*_lacking(found, node, wanted, everywhere, storage))
    return template


def fitting(found: Sequence[Template], node: str | None, wanted: str, everywhere: AbstractSet[str]) -> Template | None:
    """Of these templates; PVE clones to another node from storages that are `everywhere`."""
    return next((one for one in _usable(found, node, everywhere) if _is_meant(one, wanted)), None)


def _usable(found: Sequence[Template], node: str | None, everywhere: AbstractSet[str]) -> Iterator[Template]:
    """Those of the node itself first."""
    near = sorted(found, key=lambda one: node not in (None, one.node))
    return (one for one in near if one.suits and (node in (None, one.node) or everywhere >= {*one.storages}))


def _is_meant(one: Template, wanted: str) -> bool:
    return wanted in ("", one.name, str(one.vmid))


def shared(client: Client) -> set[str]:
    """Names of the storages that all nodes see. Raises ApiError."""
    rows = client.get("cluster/resources", type="storage")
    return {row["storage"] for row in rows if row.get("shared")}


def _lacking(
    found: Sequence[Template], node: str | None, wanted: str, everywhere: AbstractSet[str], storage: str
) -> tuple[str, str, str]:
    """What is wrong, details, and how to go on."""
    named = [one for one in found if _is_meant(one, wanted)]
    where = f" on {node}" if node else ""
    words = f"there is no template {wanted} for VMs{where}" if wanted else f"there is no template for VMs{where}"
    unmarked = [one for one in named if not one.version] if wanted else []
    if unmarked:
        one = unmarked[0]
        words = f"template {one.vmid} ({one.name}) has no mark that says what is in it"
        hint = (
            "if Samba, Python 3, cloud-init and qemu-guest-agent are, mark it on its node: "
            f"`qm set {one.vmid} --description '{comment({'version': VERSION})}'`"
        )
        return words, "", hint
    crowded = [one for one in named if one.version and one.more]
    if crowded:
        one = crowded[0]
        devices = any(ATTACHED.fullmatch(key) for key in one.more)
        what = "what every clone would have" if devices else "more than one disk"
        words = f"template {one.vmid} ({one.name}) has {what}: {', '.join(one.more)}"
        return words, "", f"take {', '.join(one.more)} off it; what shares need is made by smbplan"
    old = [one for one in named if one.version and not one.suits]
    if old:
        words = f"template {old[0].vmid} ({old[0].name}) is of version {old[0].version}, and {VERSION} is needed"
    elsewhere = [one for one in named if one.suits]
    if elsewhere:
        one = elsewhere[0]
        local = [storage for storage in one.storages if storage not in everywhere]
        words += f"; {one.vmid} is on {one.node}, on storage that only that node has: {', '.join(local)}"
    others = [f"{one.vmid} ({one.name})" for one in _usable(found, node, everywhere)] if wanted else []
    if others:
        hint = f"write the name or id of one that there is, or leave template: out; these suit: {', '.join(others)}"
        return words, "", hint
    make = f"`smbplan image build vm{f' --node {node}' if node else ''}` makes one"
    return words, by_hand(node, storage), f"{make}; leave template: out then" if wanted else make


def by_hand(node: str | None, storage: str = "") -> str:
    """How a template is made without smbplan's image upload."""
    at = storage or "local"
    lines = [
        "smbplan image build vm --output smbplan.qcow2       # on a machine with Debian",
        f"scp smbplan.qcow2 {node or 'NODE'}:/root/",
        f"ssh {node or 'NODE'}",
        "qm create 9000 --name debian-12-samba --memory 512 --cores 2 --ostype l26 --agent 1 --serial0 socket \\",
        "  --scsihw virtio-scsi-single --net0 virtio,bridge=vmbr0",
        f"qm set 9000 --scsi0 {at}:0,import-from=/root/smbplan.qcow2,discard=on --boot order=scsi0 \\",
        f"  --ide2 {at}:cloudinit",
        f"qm set 9000 --description '{comment({'version': VERSION})}'",
        "qm template 9000",
    ]
    return "by hand:\n" + "\n".join(lines)
