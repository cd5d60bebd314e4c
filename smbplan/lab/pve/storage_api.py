"""Calls about storages: their definitions, what is on them, uploads."""

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

from smbplan.lab.pve import files, formats, schema, storages, tasks, usercfg
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, STR, VMID, Param
from smbplan.lab.pve.storages import Storage

_TYPES = "btrfs cephfs cifs dir esxi iscsi iscsidirect lvm lvmthin nfs pbs rbd zfs zfspool"
_TYPE = Param(enum=tuple(_TYPES.split()))
_REQUIRED = {"dir": ("path",), "btrfs": ("path",), "zfspool": ("pool",), "nfs": ("server", "export")}
_ALLOCATE = Need("/storage", ("Datastore.Allocate",))
_SEE = ("Datastore.Audit", "Datastore.AllocateSpace")
_AUDIT = Need("/storage/{storage}", _SEE, any_of=True)
_OPTIONS: dict[str, Param] = {
    "blocksize": STR,
    "bwlimit": STR,
    "content": STR,
    "content-dirs": STR,
    "create-base-path": BOOL,
    "create-subdirs": BOOL,
    "disable": BOOL,
    "format": Param(enum=("raw", "qcow2", "subvol", "vmdk")),
    "is_mountpoint": STR,
    "max-protected-backups": Param("integer", low=-1),
    "maxfiles": Param("integer", low=0, until=8.99),
    "mkdir": BOOL,
    "mountpoint": Param(format="absolute-path"),
    "nocow": BOOL,
    "nodes": STR,
    "options": STR,
    "preallocation": Param(enum=("off", "metadata", "falloc", "full")),
    "prune-backups": Param(props="prune-backups"),
    "server": STR,
    "shared": BOOL,
    "snapshot-as-volume-chain": Param("boolean", since=9),
    "sparse": BOOL,
}
_FIXED: dict[str, Param] = {"path": Param(format="absolute-path"), "pool": STR, "export": Param(format="absolute-path")}
_NAME = re.compile(r"[\w.+\-=@]+")
_ENDINGS = {
    "iso": (".iso", ".img"),
    "vztmpl": (".tar.gz", ".tar.xz", ".tar.zst", ".tar"),
    "import": (".ova", ".qcow2", ".raw", ".vmdk"),
}


def _shown(name: str, storage: Storage, digest: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"storage": name, "digest": digest}
    for key, value in storage.items():
        param = _OPTIONS.get(key)
        shown[key] = int(value) if param and param.kind in ("boolean", "integer") else value
    shown["content"] = ",".join(storages.content_of(storage))
    return shown


@route("GET", "/storage", {"type": _TYPE})
def index(call: Call) -> list[dict[str, Any]]:
    """Definitions that the user may see."""
    found, digest = storages.load(call.site), storages.digest(call.site)
    return [
        _shown(name, storage, digest)
        for name, storage in found.items()
        if call.rights.has(f"/storage/{name}", _SEE, any_of=True) and call.params.get("type") in (None, storage["type"])
    ]


@route("GET", "/storage/{storage}", None, Need("/storage/{storage}", ("Datastore.Allocate",)))
def read(call: Call) -> dict[str, Any]:
    """One definition."""
    name = call.params["storage"]
    storage = storages.get(call.site, name)
    del storage["storage"]
    return _shown(name, storage, storages.digest(call.site))


@route(
    "POST",
    "/storage",
    {
        "storage": Param(optional=False, format="storage-id"),
        "type": Param(optional=False, enum=_TYPE.enum),
        **_OPTIONS,
        **_FIXED,
    },
    _ALLOCATE,
)
def create(call: Call) -> dict[str, str]:
    """Define a storage. The lab reaches no servers of other machines."""
    name, kind = str(call.take("storage")), str(call.take("type"))
    for option in _REQUIRED.get(kind, ()):
        if option not in call.params:
            raise fail(f"missing value for required option '{option}'")
    with files.cluster_lock(call.site.root, "file-storage_cfg"):
        sections = storages.load(call.site)
        if name in sections:
            raise fail(f"create storage failed: storage ID '{name}' already defined")
        if kind not in storages.CONTENT:
            raise fail(f"create storage failed: storage '{name}' is not online")
        values = {key: schema.as_text(value) for key, value in call.params.items()}
        sections[name] = {"type": kind, **values}
        _check_content(sections[name])
        files.write(call.site.root / "storage.cfg", files.print_sections(sections))
    return {"storage": name, "type": kind}


def _check_content(storage: Storage) -> None:
    known = storages.CONTENT.get(storage["type"], "").split(",")
    for content in formats.split_list(storage.get("content", "")):
        if content not in known:
            raise bad_params({"content": f"invalid content type '{content}'"})


@route("PUT", "/storage/{storage}", {**_OPTIONS, "delete": STR, "digest": STR}, _ALLOCATE)
def update(call: Call) -> dict[str, str]:
    """Change and delete options."""
    name, deleted = str(call.take("storage")), formats.split_list(call.take("delete", ""))
    digest = call.take("digest")
    with files.cluster_lock(call.site.root, "file-storage_cfg"):
        if digest and digest != storages.digest(call.site):
            raise fail("detected modified configuration - file changed by other user? Try again.")
        sections = storages.load(call.site)
        if name not in sections:
            raise fail(f"update storage failed: storage '{name}' does not exist")
        for key in deleted:
            sections[name].pop(key, None)
        sections[name] |= {key: schema.as_text(value) for key, value in call.params.items()}
        _check_content(sections[name])
        files.write(call.site.root / "storage.cfg", files.print_sections(sections))
    return {"storage": name, "type": sections[name]["type"]}


@route("DELETE", "/storage/{storage}", None, _ALLOCATE)
def delete(call: Call) -> None:
    """Forget the definition; what is on it stays."""
    name = call.params["storage"]
    with files.cluster_lock(call.site.root, "file-storage_cfg"):
        sections = storages.load(call.site)
        if name not in sections:
            raise fail(f"delete storage failed: storage '{name}' does not exist")
        del sections[name]
        files.write(call.site.root / "storage.cfg", files.print_sections(sections))
    with usercfg.changing(call.site.root) as config:
        for pool in config.pools.values():
            pool.storages.discard(name)


@route("GET", "/nodes/{node}/storage", {"content": STR, "enabled": BOOL, "format": BOOL, "storage": STR, "target": STR})
def node_index(call: Call) -> list[dict[str, Any]]:
    """Storages of the node with how full they are."""
    wanted, found = formats.split_list(call.params.get("content", "")), []
    for name, storage in storages.load(call.site).items():
        skip = call.params.get("storage") not in (None, name) or not storages.on_node(storage, call.site.node)
        if skip or not call.rights.has(f"/storage/{name}", _SEE, any_of=True):
            continue
        if wanted and not set(wanted) & set(storages.content_of(storage)):
            continue
        state = storages.status(call.site, {**storage, "storage": name})
        if call.params.get("enabled") and not state["enabled"]:
            continue
        if state["total"]:
            state["used_fraction"] = state["used"] / state["total"]
        found.append({"storage": name, **state})
    return found


@route("GET", "/nodes/{node}/storage/{storage}/status", None, _AUDIT)
def node_status(call: Call) -> dict[str, Any]:
    """How full it is."""
    return storages.status(call.site, storages.get(call.site, call.params["storage"]))


@route("GET", "/nodes/{node}/storage/{storage}/content", {"content": STR, "vmid": VMID}, _AUDIT)
def content(call: Call) -> list[dict[str, Any]]:
    """What is on it."""
    storage = storages.usable(call.site, call.params["storage"])
    wanted = {key: call.params[key] for key in ("content", "vmid") if key in call.params}
    found = storages.entries(call.site, storage)
    return [entry for entry in found if all(entry.get(key) == value for key, value in wanted.items())]


@route(
    "POST",
    "/nodes/{node}/storage/{storage}/content",
    {
        "filename": Param(optional=False),
        "format": _OPTIONS["format"],
        "size": Param(optional=False, pattern=r"\d+[MG]?"),
        "vmid": Param("integer", optional=False, format="vmid"),
    },
    Need("/storage/{storage}", ("Datastore.AllocateSpace",)),
)
def allocate(call: Call) -> str:
    """A new volume for a guest; a size without unit is kilobytes. The backend names it.

    Of a guest that isn't there yet, only the format tells what it will be.
    """
    site, vmid, text = call.site, int(call.params["vmid"]), call.params["size"]
    storage = storages.usable(site, call.params["storage"])
    size = formats.parse_size(text if text[-1] in "MG" else f"{text}K")
    form = call.params.get("format") or call.params["filename"].rpartition(".")[2]
    if form == "qcow2" or storages.kind_of(site, vmid) == "qemu":
        return site.machines.disk(storage, vmid, size, storages.disk_format(storage, form))
    return site.backend.allocate(storage, vmid, size or None)


def _volid(call: Call) -> str:
    volume, storage = str(call.params["volume"]), str(call.params["storage"])
    return volume if volume.startswith(f"{storage}:") else f"{storage}:{volume}"


@route("GET", "/nodes/{node}/storage/{storage}/content/{volume}")
def read_volume(call: Call) -> dict[str, Any]:
    """One volume."""
    volid = _volid(call)
    storages.check_access(call.rights, volid, "rootdir" if storages.owner_of(volid) else "vztmpl")
    path = storages.path_of(call.site, volid)
    for entry in storages.entries(call.site, storages.usable(call.site, call.params["storage"])):
        if entry["volid"] == volid:
            return {**{key: entry.get(key, 0) for key in ("size", "used", "format")}, "path": str(path)}
    raise fail(f"volume_size_info on '{volid}' failed")


@route("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}", {"delay": Param("integer", low=1, high=30)})
def delete_volume(call: Call) -> str:
    """In a task; what isn't there is removed all the same."""
    site, volid, name = call.site, _volid(call), call.params["storage"]
    storages.usable(site, name)
    vmid = storages.owner_of(volid)
    if not (vmid and "backup/" in volid and call.rights.has(f"/vms/{vmid}", ["VM.Backup"])):
        call.rights.check(f"/storage/{name}", ["Datastore.Allocate"])
    path = storages.path_of(site, volid)
    if storages.linked(site, volid):
        raise fail(f"base volume '{storages.split_volid(volid)[1]}' is still in use by linked clones")

    def work(log: tasks.Log) -> None:
        if not path.exists():
            log(f"disk image '{path}' does not exist")
        elif storages.sort_of_content(volid) != "images":
            path.unlink()
        elif path.suffix == ".qcow2" or storages.kind_of(site, vmid or 0) == "qemu":
            site.machines.free(volid)
        else:
            site.backend.free(volid)
        log(f"Removed volume '{volid}'")

    return tasks.spawn(site, "imgdel", name, call.user, work)


@route(
    "POST",
    "/nodes/{node}/storage/{storage}/upload",
    {
        "checksum": STR,
        "checksum-algorithm": Param(enum=("md5", "sha1", "sha224", "sha256", "sha384", "sha512")),
        "content": Param(optional=False, enum=("iso", "vztmpl", "import")),
        "filename": Param(optional=False, longest=255),
        "tmpfilename": STR,
    },
    Need("/storage/{storage}", ("Datastore.AllocateTemplate",)),
)
def upload(call: Call) -> str:
    """Put the file that the server received (`tmpfilename`) in its place, in a task."""
    site, params = call.site, call.params
    storage = storages.usable(site, params["storage"])
    kind, name, source = params["content"], params["filename"], Path(params.get("tmpfilename", ""))
    if kind not in storages.content_of(storage) or kind not in storages.FOLDERS:
        raise fail(f"storage '{params['storage']}' does not support '{kind}' content")
    if not _NAME.fullmatch(name) or not name.endswith(_ENDINGS[kind]):
        raise bad_params({"filename": "wrong file extension"})
    if not source.is_file():
        raise bad_params({"filename": "missing file"})
    goal = Path(storage["path"]) / storages.FOLDERS[kind] / name

    def work(log: tasks.Log) -> None:
        try:
            log(f"starting file import from: {source}")
            log(f"target node: {site.node}")
            log(f"target file: {goal}")
            _check_sum(source, params)
            goal.parent.mkdir(parents=True, exist_ok=True)
            part = goal.with_name(f".{goal.name}.{os.getpid()}")
            shutil.copyfile(source, part)
            part.rename(goal)
            log("finished file import successfully")
        finally:
            source.unlink(missing_ok=True)

    return tasks.spawn(site, "imgcopy", "", call.user, work)


def _check_sum(path: Path, params: dict[str, Any]) -> None:
    if "checksum" not in params:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, params.get("checksum-algorithm", "sha256")).hexdigest()
    if found != params["checksum"].lower():
        raise fail(f"checksum mismatch: got '{found}' != expect '{params['checksum']}'")
