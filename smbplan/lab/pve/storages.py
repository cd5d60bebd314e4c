"""Storages as storage.cfg defines them, and the volumes on them."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smbplan.lab.pve import files, formats, guestconf, guests, schema
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.site import Site

Storage = dict[str, str]
FILE_TYPES = ("dir", "btrfs")  # templates and images are files below `path`
FOLDERS = {"iso": "template/iso", "vztmpl": "template/cache", "backup": "dump", "snippets": "snippets"}
CONTENT = {
    "dir": "images,vztmpl,iso,backup,snippets,rootdir,import,none",
    "btrfs": "images,vztmpl,iso,backup,snippets,rootdir,import,none",
    "zfspool": "images,rootdir,none",
}
ARCHIVES = {"tar.gz": "tgz", "tar.xz": "txz", "tar.zst": "tzst", "tar": "tar"}
LOCAL: Storage = {
    "type": "dir",
    "path": "/var/lib/vz",
    "prune-backups": "keep-all=1",
    "content": "backup,vztmpl,iso,import",
}


def load(site: Site) -> dict[str, Storage]:
    """All storages by name; `local` exists without being written."""
    sections = files.parse_sections(files.read(site.root / "storage.cfg"))
    return sections if "local" in sections else {"local": dict(LOCAL), **sections}


def digest(site: Site) -> str:
    """Of the file."""
    return files.digest(files.read(site.root / "storage.cfg"))


def get(site: Site, name: str) -> Storage:
    """The storage with its name under `storage`; 500 if there is none."""
    found = load(site).get(name)
    if found is None:
        raise fail(f"storage '{name}' does not exist")
    return {**found, "storage": name}


def on_node(storage: Storage, node: str) -> bool:
    """Whether the node has it."""
    nodes = formats.split_list(storage.get("nodes", ""))
    return not nodes or node in nodes


def usable(site: Site, name: str) -> Storage:
    """The storage; 500 if it doesn't exist, is disabled, or isn't on this node."""
    storage = get(site, name)
    if storage.get("disable", "0") == "1":
        raise fail(f"storage '{name}' is disabled")
    if not on_node(storage, site.node):
        raise fail(f"storage '{name}' is not available on node '{site.node}'")
    return storage


def for_containers(site: Site, rights: Rights, name: str) -> Storage:
    """A storage that new volumes of containers may go to."""
    storage = usable(site, name)
    if "rootdir" not in content_of(storage):
        raise bad_params({"storage": f"storage '{name}' does not support container directories"})
    rights.check(f"/storage/{name}", ["Datastore.AllocateSpace"])
    return storage


def content_of(storage: Storage) -> list[str]:
    """Kinds of content it takes."""
    return formats.split_list(storage.get("content", "images,rootdir"))


def shared(storage: Storage) -> int:
    """1 if all nodes see the same content."""
    return int(storage.get("shared", "0")) or int(storage["type"] in ("nfs", "cifs", "cephfs", "rbd", "pbs"))


def status(site: Site, storage: Storage) -> dict[str, Any]:
    """How full it is; zeros while it is disabled or not reachable."""
    enabled = int(storage.get("disable", "0") != "1")
    total = used = free = 0
    active = 0
    if enabled:
        try:
            total, used, free = site.backend.storage(storage)
            active = 1
        except Exception:  # pvestatd shows a storage that fails as inactive, whatever the reason
            active = 0
    return {
        "type": storage["type"],
        "content": ",".join(content_of(storage)),
        "shared": shared(storage),
        "enabled": enabled,
        "active": active,
        "total": total,
        "used": used,
        "avail": free,
    }


def split_volid(volid: str) -> tuple[str, str]:
    """Storage and volume name; ValueError-like 500 for what is no volid."""
    name, colon, rest = volid.partition(":")
    if not colon or not rest:
        raise fail(f"unable to parse volume ID '{volid}'")
    return name, rest


def path_of(site: Site, volid: str) -> Path:
    """Where the volume is on this node."""
    name, rest = split_volid(volid)
    storage = get(site, name)
    kind, _, file = rest.partition("/")
    if kind in FOLDERS and storage["type"] in FILE_TYPES:
        if file in ("", ".", "..") or "/" in file:
            raise fail(f"unable to parse directory volume name '{rest}'")
        return Path(storage["path"]) / FOLDERS[kind] / file
    return site.backend.path(volid)


def owner_of(volid: str) -> int | None:
    """The guest a volume belongs to, by its name."""
    match = re.search(r"(?:vm|subvol|base|basevol)-(\d+)-|vzdump-(?:lxc|qemu)-(\d+)-", volid)
    return int(match[1] or match[2]) if match else None


def check_access(rights: Rights, volid: str, content: str) -> None:
    """403 unless the user may read the volume."""
    if rights.is_root:
        return
    name, _ = split_volid(volid)
    path = f"/storage/{name}"
    if content in ("iso", "vztmpl", "snippets"):
        rights.check(path, ["Datastore.AllocateSpace", "Datastore.Audit"], any_of=True)
        return
    vmid = owner_of(volid)
    if vmid is not None and rights.has(f"/vms/{vmid}", ["VM.Config.Disk"]):
        rights.check(path, ["Datastore.AllocateSpace", "Datastore.Audit"], any_of=True)
    else:
        rights.check(path, ["Datastore.Allocate"])


def entries(site: Site, storage: Storage) -> list[dict[str, Any]]:
    """What is on the storage: files where it has them, and volumes that guests' configurations name."""
    found = {entry["volid"]: entry for entry in _files(storage)} if storage["type"] in FILE_TYPES else {}
    for volid, size in _named(site, storage["storage"]):
        found.setdefault(volid, _volume(volid, size, "subvol"))
    return sorted(found.values(), key=lambda entry: str(entry["volid"]))


def _named(site: Site, name: str) -> Iterable[tuple[str, int]]:
    for node, kind, _, path in guests.every(site):
        if kind != "lxc" or node != site.node:
            continue
        for key, value in guestconf.parse(files.read(path)).values.items():
            sort = re.sub(r"\d+$", "", key)
            if sort in ("rootfs", "mp", "unused"):
                props = schema.parse_props(sort, value, key)
                if props["volume"].startswith(f"{name}:"):
                    yield props["volume"], formats.parse_size(props.get("size", "0"))


def _volume(volid: str, size: int, form: str) -> dict[str, Any]:
    entry = {"volid": volid, "content": "rootdir", "format": form, "size": size, "used": 0, "parent": None, "ctime": 0}
    return {**entry, "vmid": owner_of(volid)}


def _files(storage: Storage) -> Iterable[dict[str, Any]]:
    base, name = Path(storage["path"]), storage["storage"]
    for kind, folder in FOLDERS.items():
        for path in sorted((base / folder).glob("*")):
            ending = next(
                (short for long, short in ARCHIVES.items() if path.name.endswith(f".{long}")), path.suffix[1:]
            )
            if path.is_file() and not path.name.startswith("."):
                meta = path.stat()
                entry = {"volid": f"{name}:{kind}/{path.name}", "content": kind, "format": ending}
                yield {**entry, "size": meta.st_size, "ctime": int(meta.st_ctime)}
    for path in sorted((base / "images").glob("*/*")):
        if owner_of(path.name) is None or path.name.startswith("."):
            continue
        meta = path.stat()
        form = path.suffix[1:] or "subvol"
        volid = f"{name}:{path.parent.name}/{path.name}"
        used = {"used": meta.st_blocks * 512, "ctime": int(meta.st_ctime)}
        content = {"content": "images" if form == "qcow2" else "rootdir"}
        yield {**_volume(volid, meta.st_size, form), **used, **content}
