"""Storages as storage.cfg defines them, and the volumes on them."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from smbplan.lab.pve import files, formats, guestconf, guests, images
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.guestconf import Kind
from smbplan.lab.pve.images import Image
from smbplan.lab.pve.site import Site

Storage = dict[str, str]
FILE_TYPES = ("dir", "btrfs")  # templates and images are files below `path`
FOLDERS = {
    "iso": "template/iso",
    "vztmpl": "template/cache",
    "backup": "dump",
    "snippets": "snippets",
    "import": "import",
}
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


def for_images(site: Site, rights: Rights, name: str) -> Storage:
    """A storage that new disks of virtual machines may go to."""
    rights.check(f"/storage/{name}", ["Datastore.AllocateSpace"])
    storage = usable(site, name)
    if "images" not in content_of(storage):
        raise bad_params({"storage": f"storage '{name}' does not support vm images"})
    return storage


def disk_format(storage: Storage, wanted: str = "") -> str:
    """The format of a new disk there: the wanted one where it can be, else the storage's own."""
    possible = ("raw", "qcow2") if storage["type"] == "dir" else ("raw",)
    return next((form for form in (wanted, storage.get("format", "")) if form in possible), "raw")


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
    return site.backend.path(f"{name}:{images.file_of(rest)}")


def sort_of_content(volid: str) -> str:
    """`iso`, `import` and the like; `images` for disks and volumes."""
    kind = split_volid(volid)[1].partition("/")[0]
    return kind if kind in FOLDERS else "images"


def linked(site: Site, volid: str) -> bool:
    """Whether another disk is a difference to this one."""
    named = (files.read(path) for _, _, _, path in guests.every(site))
    return any(f"{volid}/" in text for text in named)


def owner_of(volid: str) -> int | None:
    """The guest a volume belongs to, by its name."""
    name = volid.rpartition("/")[2]
    match = re.search(r"(?:vm|subvol|base|basevol)-(\d+)-|vzdump-(?:lxc|qemu)-(\d+)-", name)
    return int(match[1] or match[2]) if match else None


def kind_of(site: Site, vmid: int) -> Kind | None:
    """What the guest is; None if there is none of that id."""
    return next((kind for _, kind, found, _ in guests.every(site) if found == vmid), None)


def check_access(rights: Rights, volid: str, content: str) -> None:
    """403 unless the user may read the volume."""
    if rights.is_root:
        return
    name, _ = split_volid(volid)
    path = f"/storage/{name}"
    if content in ("iso", "vztmpl", "snippets", "import"):
        rights.check(path, ["Datastore.AllocateSpace", "Datastore.Audit"], any_of=True)
        return
    vmid = owner_of(volid)
    if vmid is not None and rights.has(f"/vms/{vmid}", ["VM.Config.Disk"]):
        rights.check(path, ["Datastore.AllocateSpace", "Datastore.Audit"], any_of=True)
    else:
        rights.check(path, ["Datastore.Allocate"])


def entries(site: Site, storage: Storage) -> list[dict[str, Any]]:
    """What is on the storage: files where it has them, and volumes that guests' configurations name."""
    kinds = {vmid: kind for _, kind, vmid, _ in guests.every(site)}
    found = {entry["volid"]: entry for entry in _files(storage, kinds)} if storage["type"] in FILE_TYPES else {}
    for volid, size, kind in _named(site, storage["storage"]):
        found.setdefault(volid, _volume(volid, size, "subvol" if kind == "lxc" else "raw", kind))
    return sorted(found.values(), key=lambda entry: str(entry["volid"]))


def _named(site: Site, name: str) -> Iterable[tuple[str, int, Kind]]:
    for node, kind, _, path in guests.every(site):
        if node != site.node:
            continue
        for key, value in guestconf.parse(files.read(path), kind).values.items():
            volid, _, rest = value.partition(",")
            if key != "description" and volid.startswith(f"{name}:") and owner_of(volid) is not None:
                size = re.search(r"(?:^|,)size=([^,]+)", rest)
                yield volid, formats.parse_size(size[1]) if size else 0, kind


def _volume(volid: str, size: int, form: str, kind: Kind | None) -> dict[str, Any]:
    content = "rootdir" if kind == "lxc" or (kind is None and form != "qcow2") else "images"
    entry = {"volid": volid, "content": content, "format": form, "size": size, "used": 0, "parent": None, "ctime": 0}
    return {**entry, "vmid": owner_of(volid)}


def _files(storage: Storage, kinds: Mapping[int, Kind]) -> Iterable[dict[str, Any]]:
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
        image = images.read(path) if form == "qcow2" else Image(form, meta.st_size)
        parent = images.file_of(image.backing)
        volid = f"{name}:{parent and parent + '/'}{path.parent.name}/{path.name}"
        used = {"used": meta.st_blocks * 512, "ctime": int(meta.st_ctime), "parent": image.backing or None}
        yield {**_volume(volid, image.size, form, kinds.get(owner_of(path.name) or 0)), **used}
