"""A container's configuration as the API tells it, and as states that compare. Pure; pct.conf(5).

State of a container: {mark, vmid, node, hostname, cores, memory, swap, storage, disk, networks, nameserver,
searchdomain, onboot, startup, tags, protection, unprivileged, nesting, volumes}; memory and swap in MiB, disk in bytes.
`tags` has those too that Proxmox refused (see `told`); `volumes` are paths, and keys of volumes that are not mounted.
State of a mount point: {volume, path, size, backup, readonly}; `volume` is a storage, or a path of the node.
"""

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
COMMENT = re.compile(r"\n*<!-- smbplan (\{.*?\}|[A-Za-z0-9+/=]+) -->\n*", re.DOTALL)
LONG = 2000  # characters that a person may look at; Proxmox takes 8192 with everybody's
MOST = 2**20  # bytes that a comment unpacks to
# Ours on the left; a key that is absent from a network has PVE's default.
NETWORK = {
    "bridge": "bridge", "vlan": "tag", "address": "ip", "gateway": "gw", "address6": "ip6", "gateway6": "gw6",
    "mac": "hwaddr", "firewall": "firewall", "mtu": "mtu", "rate": "rate",
}  # fmt: skip
TEXTS = ("hostname", "nameserver", "searchdomain", "startup")
SWITCHES = ("onboot", "protection", "unprivileged")


def properties(text: str, first: str = "") -> dict[str, str]:
    """A property string: `key=value` pairs, and at most one value without its key, which is the `first`."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    return {key if equals else first: value if equals else key for key, equals, value in pairs}


def text(pairs: Mapping[str, Any], first: str = "") -> str:
    """The property string of these pairs; those that are None or empty are left out."""
    shown = {key: int(value) if isinstance(value, bool) else value for key, value in pairs.items()}
    found = [
        f"{value}" if key == first else f"{key}={value}" for key, value in shown.items() if value not in (None, "")
    ]
    return ",".join(found)


def size(words: str) -> int:
    """Bytes of `8G`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", words)
    return int(float(match[1]) * UNITS[match[2]]) if match else 0


def gibibytes(count: int) -> str:
    """For `storage:SIZE`, which allocates: a number of GiB, a fraction if need be."""
    return f"{count / 2**30:.10f}".rstrip("0").rstrip(".")  # Proxmox cuts what is less than a MiB off


def container(config: Mapping[str, Any], node: str, vmid: int) -> dict[str, Any]:
    """The state of a container."""
    rootfs = properties(str(config.get("rootfs", "")), "volume")
    return {
        "mark": unsealed(told(config).get("mark"), vmid),
        "vmid": vmid,
        "node": node,
        **{name: str(config.get(name, "")) for name in TEXTS},
        **{name: bool(int(config.get(name, 0))) for name in SWITCHES},
        "cores": int(config["cores"]) if "cores" in config else None,
        "memory": int(config.get("memory", 512)),
        "swap": int(config.get("swap", 512)),
        "storage": rootfs.get("volume", "").partition(":")[0],
        "disk": size(rootfs.get("size", "0")),
        "networks": networks(config),
        "volumes": sorted([path for path, it in mounts(config).items() if it["volume"][:1] != "/"] + spare(config)),
        "tags": sorted({*tags(config), *told(config).get("untagged", ())}),
        "nesting": properties(str(config.get("features", ""))).get("nesting") == "1",
    }


def tags(config: Mapping[str, Any]) -> list[str]:
    """Those that it really has."""
    return [tag for tag in re.split(r"[;, ]+", str(config.get("tags", ""))) if tag]


def spare(config: Mapping[str, Any]) -> list[str]:
    """Keys of volumes that are not mounted, without those that are to be deleted."""
    gone = {volume["id"] for volume in told(config).get("doomed", {}).values()}
    return [key for key, value in config.items() if re.fullmatch(r"unused\d+", key) and value not in gone]


def doomed(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{path: volume} of those that are to be deleted and no longer mounted: Proxmox has them as `unusedN`."""
    found = {}
    for path, volume in told(config).get("doomed", {}).items():
        keys = [key for key, value in config.items() if re.fullmatch(r"unused\d+", key) and value == volume["id"]]
        if keys:
            storage = volume["id"].partition(":")[0]
            state = {"volume": storage, "path": path, "size": None, "backup": False, "readonly": False}
            found[path] = {**volume, "state": {**state, "key": keys[0], "id": volume["id"]}}
    return found


def networks(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """{interface: {ours: value}}"""
    found = {}
    for key, value in sorted(config.items()):
        if re.fullmatch(r"net\d+", key):
            pairs = properties(str(value))
            found[pairs.get("name", key)] = {ours: pairs[theirs] for ours, theirs in NETWORK.items() if theirs in pairs}
    return found


def network(name: str, wanted: Mapping[str, Any]) -> str:
    """The value of a `netN` for an interface."""
    return text({"name": name, **{theirs: wanted.get(ours) for ours, theirs in NETWORK.items()}, "type": "veth"})


def mounts(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{path in the container: state, with its key}"""
    found = {}
    for key, value in sorted(config.items()):
        if re.fullmatch(r"mp\d+", key):
            pairs = properties(str(value), "volume")
            volume = pairs.get("volume", "")
            found[pairs.get("mp", "")] = {
                "key": key,
                "id": volume,
                "volume": volume if volume.startswith("/") else volume.partition(":")[0],
                "path": pairs.get("mp", ""),
                "size": size(pairs["size"]) if "size" in pairs else None,
                "backup": pairs.get("backup") == "1",
                "readonly": pairs.get("ro") == "1",
            }
    return found


def raw(config: Mapping[str, Any], key: str) -> list[str]:
    """The values of an `lxc.*` key, in their order."""
    return [value for name, value in config.get("lxc") or () if name == key]


def entries(config: Mapping[str, Any]) -> dict[str, str]:
    """{path in the container: path on the node} of the mount entries that are ours by their form."""
    found = {}
    for value in raw(config, "lxc.mount.entry"):
        source, _, rest = value.partition(" ")
        target = rest.partition(" ")[0]
        if value == _entry(source, f"/{target}"):
            found[f"/{target}"] = source
    return found


def entry(source: str, target: str) -> str:
    """The line for a folder with all that is mounted in it, now or later. lxc.container.conf(5)"""
    return f"lxc.mount.entry: {_entry(source, target)}"


def _entry(source: str, target: str) -> str:
    return f"{source} {target.lstrip('/')} none rbind,create=dir 0 0"


def told(config: Mapping[str, Any]) -> dict[str, Any]:
    """What smbplan wrote into the description; {} for a guest that isn't ours, or whose comment was damaged.

    mark; records: the inventory, by address; volumes: {path: {id, found}} that were mounted last; untagged: tags that
    were refused; doomed: {path: {id, record}} of volumes that can't be deleted before the container has stopped; of a
    VM making: its clone is all that there is, disks: {serial: id} of those of shares, and late:
    {pid, was: {key: value}}, what that process has otherwise until it has ended.
    """
    found = COMMENT.search(str(config.get("description", "")))
    try:
        data = json.loads(_unpacked(found[1])) if found else {}
    except (ValueError, RecursionError, zlib.error):  # whoever may write notes can write anything
        return {}
    return _sound(data) if isinstance(data, dict) else {}


def _sound(data: dict[str, Any]) -> dict[str, Any]:
    """Without what no smbplan has written: anybody who may write notes may write anything."""
    parts = ("records", "volumes", "doomed", "disks", "late")
    data = {name: part for name, part in data.items() if name not in parts or isinstance(part, dict)}
    records = data.get("records", {})
    sound = {
        name: record for name, record in records.items() if isinstance(record, dict) and _is_key(record.get("key"))
    }
    return {**data, "records": sound} if records else data


def _is_key(key: Any) -> bool:
    return isinstance(key, list) and len(key) == 2 and all(isinstance(part, str) for part in key)


def _unpacked(text_: str) -> str:
    if text_.startswith("{"):
        return text_
    stream = zlib.decompressobj()
    found = stream.decompress(base64.b64decode(text_), MOST)
    if not stream.eof:
        raise ValueError("it was cut short, or is more than we ever write")
    return found.decode()


def described(config: Mapping[str, Any], data: Mapping[str, Any] | None) -> str:
    """The description with our part replaced, and everybody else's kept. Markdown doesn't show a comment."""
    rest = COMMENT.sub("\n", str(config.get("description", ""))).strip("\n")
    if not data:
        return rest
    told = json.dumps(data, sort_keys=True, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(told.encode(), 9)).decode() if len(told) > LONG else told
    comment = f"<!-- smbplan {packed} -->"
    return f"{rest}\n\n{comment}" if rest else comment


def sealed(mark: str, vmid: int | str) -> str:
    """A mark bound to its guest, so that a clone with our description is foreign."""
    return f"{mark}/{hashlib.sha256(f'{vmid}:{mark}'.encode()).hexdigest()[:10]}"


def unsealed(text_: Any, vmid: int | str) -> str | None:
    """The mark, or None for one that was made for another guest."""
    mark = str(text_ or "").rpartition("/")[0]
    return mark if mark and sealed(mark, vmid) == text_ else None
