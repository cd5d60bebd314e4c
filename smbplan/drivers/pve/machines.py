"""A virtual machine's configuration as the API tells it, and as states that compare. Pure; qm.conf(5).

State of a machine: as that of a container (see drivers.pve.config), with `balloon` in MiB, 0 for none and "" for
PVE's own, `sockets` and `ssh_keys`; its network has the keys of `net0` and of cloud-init's `ipconfig0`. `kept` are
those of its volumes that no share gives up when it goes.
State of a disk: {volume, size, backup}; of a virtio-fs device: {acl, xattr}.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from smbplan.drivers.agent.core import Refused, Untouched
from smbplan.drivers.pve import config
from smbplan.drivers.pve.config import properties, size, text

INTERFACE = "eth0"
CARD = {"bridge": "bridge", "vlan": "tag", "firewall": "firewall", "mtu": "mtu", "rate": "rate"}  # ours: of net0
LEASE = {"address": "ip", "gateway": "gw", "address6": "ip6", "gateway6": "gw6"}  # ours: of ipconfig0
MODEL = re.compile(r"^(virtio|e1000e?|rtl8139|vmxnet3)(?:=([0-9A-Fa-f:]{17}))?$")
DISK = re.compile(r"(scsi|virtio|sata|ide)\d+")
VOLUME = re.compile(DISK.pattern + r"|efidisk0|tpmstate0")
MOST = {"scsi": 31, "virtiofs": 10}  # qm.conf(5)
OPTIONS = "discard=on,iothread=1"  # of a disk of ours


def machine(found: Mapping[str, Any], node: str, vmid: int) -> dict[str, Any]:
    """The state of a machine."""
    root = properties(str(found.get(root_disk(found), "")), "volume")
    mortal = {serial for serial, record in of_shares(found).items() if record.get("on_destroy") == "delete"}
    return {
        "mark": config.unsealed(config.told(found).get("mark"), vmid),
        "vmid": vmid,
        "node": node,
        "hostname": str(found.get("name", "")),
        **{name: str(found.get(name, "")) for name in ("nameserver", "searchdomain", "startup")},
        **{name: bool(int(found.get(name, 0))) for name in ("onboot", "protection")},
        "cores": int(found.get("cores", 1)) * int(found.get("sockets", 1)),
        "sockets": int(found.get("sockets", 1)),
        "memory": int(properties(str(found.get("memory", 512)), "current")["current"]),
        "balloon": int(found["balloon"]) if "balloon" in found else "",
        "storage": root.get("volume", "").partition(":")[0],
        "disk": size(root.get("size", "0")),
        "networks": networks(found),
        "ciuser": str(found.get("ciuser", "")),
        "ssh_keys": sorted(line for line in unquote(str(found.get("sshkeys", ""))).splitlines() if line.strip()),
        "tags": sorted({*config.tags(found), *config.told(found).get("untagged", ())}),
        "volumes": sorted([*further(found), *unused(found)]),
        "kept": sorted([*(name for name in further(found) if name not in mortal), *unused(found)]),
    }


def of_shares(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """{serial number: inventory's record} of the disks that shares lie on."""
    records = config.told(found).get("records", {}).values()
    return {record["key"][1].partition(":")[2]: record for record in records if record["key"][0] == "disk"}


def remembered(found: Mapping[str, Any]) -> dict[str, str]:
    """{serial number: volume} of all disks that have one, and of those that had one before they were taken off."""
    known = config.told(found).get("disks", {})
    return {**known, **{_serial(pairs): pairs["volume"] for _, pairs in disks(found) if _serial(pairs)}}


def root_disk(found: Mapping[str, Any]) -> str:
    """The key of the disk that it boots from, whatever its boot order says of those that shares lie on."""
    shared = of_shares(found)
    order = properties(str(found.get("boot", "")), "legacy").get("order", "").split(";")
    keys = [*order, str(found.get("bootdisk", "")), "scsi0", "virtio0", "sata0", "ide0"]
    own = (key for key in keys if DISK.fullmatch(key) and not _is_medium(found.get(key, "cdrom")))
    return next((key for key in own if _serial(properties(str(found[key]), "volume")) not in shared), "")


def _serial(pairs: Mapping[str, str]) -> str:
    return unquote(pairs.get("serial", ""))


def _is_medium(value: Any) -> bool:
    """Of a CD or cloud-init drive."""
    return "media=cdrom" in str(value) or "cloudinit" in str(value) or str(value) in ("cdrom", "none")


def disks(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Key and properties of every disk but the one that it boots from."""
    root = root_disk(found)
    for key, value in sorted(found.items()):
        if DISK.fullmatch(key) and key != root and not _is_medium(value):
            yield key, properties(str(value), "volume")


def further(found: Mapping[str, Any]) -> list[str]:
    """The serial numbers, or keys, of the disks that hold data."""
    return [_serial(pairs) or key for key, pairs in disks(found)]


def storages(found: Mapping[str, Any]) -> set[str]:
    """Where all of its volumes are, and its CDs."""
    values = (properties(str(value), "volume") for key, value in found.items() if VOLUME.fullmatch(key))
    return {storage for storage, colon, _ in (pairs["volume"].partition(":") for pairs in values) if colon}


def unused(found: Mapping[str, Any]) -> list[str]:
    """Keys of disks that were taken off."""
    return [key for key in found if re.fullmatch(r"unused\d+", key)]


def has_cloud_init(found: Mapping[str, Any]) -> bool:
    """Whether it has a drive with its settings for cloud-init."""
    return any(DISK.fullmatch(key) and "cloudinit" in str(value) for key, value in found.items())


def disk(found: Mapping[str, Any], serial: str) -> dict[str, Any] | None:
    """The state of the disk with this serial number; one that was taken off has no size. Raises Refused for two."""
    of_it = [(key, pairs) for key, pairs in disks(found) if _serial(pairs) == serial]
    if len(of_it) > 1:
        keys = " and ".join(key for key, _ in of_it)
        raise Refused(f"{keys} have one serial number, {serial}", "", "take the one that is no share's off the VM")
    for key, pairs in of_it:
        storage = pairs["volume"].partition(":")[0]
        kept = {"volume": storage, "size": size(pairs.get("size", "0")), "backup": pairs.get("backup", "1") == "1"}
        return {**kept, "key": key, "id": pairs["volume"]}
    volume, spare = config.told(found).get("disks", {}).get(serial), unused(found)
    key = next((key for key in spare if found[key] == volume), "")
    if len(spare) > 1 and serial in of_shares(found):
        several = " or ".join(str(found[each]) for each in spare)
        hint = f"attach the right one with `qm set`, as scsiN with serial={serial}, or remove the others"
        raise Refused(f"the disk {serial} was taken off, and may be {several}", "", hint)
    storage = str(volume).partition(":")[0]
    return {"volume": storage, "size": None, "backup": False, "key": key, "id": volume} if key else None


def disk_text(serial: str, wanted: Mapping[str, Any], volume: str) -> str:
    """The value of a `scsiN`; `volume` is one that is there, or what to make."""
    return f"{volume},{OPTIONS},serial={quote(serial)},backup={int(wanted['backup'])}"


def disk_changed(value: str, wanted: Mapping[str, Any]) -> str:
    """The value of a `scsiN` that is there, with what is ours in it changed; `cache` and the like stay."""
    return text({**properties(value, "volume"), "backup": int(wanted["backup"])}, "volume")


def virtiofs(found: Mapping[str, Any], mapping: str) -> dict[str, Any] | None:
    """The state of the device for a mapping."""
    for key, value in found.items():
        pairs = properties(str(value), "dirid") if re.fullmatch(r"virtiofs\d+", key) else {}
        if pairs.get("dirid") == mapping:
            acl = pairs.get("expose-acl") == "1"
            return {"acl": acl, "xattr": acl or pairs.get("expose-xattr") == "1", "key": key}
    return None


def free(found: Mapping[str, Any], sort: str) -> str:
    """A key of this sort that nothing has. Raises Untouched."""
    keys = (f"{sort}{number}" for number in range(MOST[sort]))
    key = next((key for key in keys if key not in found), "")
    if not key:
        raise Untouched(f"the VM has no place left for another {sort} device", "", "use another gateway for the share")
    return key


def networks(found: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """{interface: {ours: value}}"""
    if "net0" not in found:
        return {}
    model, _, mac = str(found["net0"]).partition(",")[0].partition("=")
    pairs, lease = properties(str(found["net0"]), "model"), properties(str(found.get("ipconfig0", "")))
    ours = {name: pairs[theirs] for name, theirs in CARD.items() if theirs in pairs}
    ours |= {name: lease[theirs] for name, theirs in LEASE.items() if theirs in lease}
    return {INTERFACE: {**ours, **({"mac": mac or pairs.get("macaddr", "")} if MODEL.match(model) and mac else {})}}


def card(value: str, wanted: Mapping[str, Any]) -> str:
    """What `net0` becomes: its model, and what else somebody has set there, stays."""
    pairs = properties(value or "virtio", "model")
    model = next((key for key in pairs if MODEL.match(key)), pairs.get("model", "virtio"))
    others = {key: each for key, each in pairs.items() if key not in (model, "model", *CARD.values())}
    first = {model: wanted["mac"]} if wanted.get("mac") else {"model": model}
    return text({**first, **{theirs: wanted.get(ours) for ours, theirs in CARD.items()}, **others}, "model")


def lease(wanted: Mapping[str, Any]) -> str:
    """What `ipconfig0` becomes; "" for nothing."""
    return text({theirs: wanted.get(ours) for ours, theirs in LEASE.items()})


def ssh_keys(lines: list[str]) -> str:
    """As the API takes them: encoded once more than a form is. qm.conf(5), `sshkeys`"""
    return quote("\n".join(lines), safe="")
