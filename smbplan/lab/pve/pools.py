"""Pools."""

from typing import Any

from smbplan.lab.pve import cluster, formats, guests, usercfg
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, STR, Param
from smbplan.lab.pve.usercfg import Pool

_ID = Param(optional=False, format="pool")
_ALLOCATE = Need("/pool/{poolid}", ("Pool.Allocate",))
_TYPE = Param(enum=("qemu", "lxc", "storage"))
_UPDATE = {
    "allow-move": BOOL,
    "comment": STR,
    "delete": BOOL,
    "storage": Param(format="storage-id-list"),
    "vms": Param(format="vmid-list"),
}


def _head(name: str, pool: Pool) -> dict[str, Any]:
    return {"poolid": name, **({"comment": pool.comment} if pool.comment else {})}


def _get(pools: dict[str, Pool], name: str) -> Pool:
    if name not in pools:
        raise fail(f"pool '{name}' does not exist")
    return pools[name]


def _members(call: Call, pool: Pool) -> list[dict[str, Any]]:
    wanted = call.params.get("type")
    found = [entry for entry in cluster.guest_resources(call) if entry["vmid"] in pool.vms]
    for entry in found:
        for key in ("pool", "tags"):  # which only the list of resources has
            entry.pop(key, None)
    found += [entry for entry in cluster.storage_resources(call) if entry["storage"] in pool.storages]
    return [entry for entry in found if wanted in (None, entry["type"])]


@route("GET", "/pools", {"poolid": Param(format="pool"), "type": _TYPE})
def index(call: Call) -> list[dict[str, Any]]:
    """All that the user may see, or the one asked for with its members."""
    pools = usercfg.load(call.site.root).pools
    name = call.params.get("poolid")
    if name is None:
        visible = [found for found in sorted(pools) if call.rights.has(f"/pool/{found}", ["Pool.Audit"])]
        return [_head(found, pools[found]) for found in visible]
    call.rights.check(f"/pool/{name}", ["Pool.Audit"])
    pool = _get(pools, name)
    return [{**_head(name, pool), "members": _members(call, pool)}]


@route("GET", "/pools/{poolid}", {"type": _TYPE}, Need("/pool/{poolid}", ("Pool.Audit",)))
@route("GET", "/pools/{poolid}/{sub}", {"type": _TYPE}, Need("/pool/{poolid}/{sub}", ("Pool.Audit",)))
def read(call: Call) -> dict[str, Any]:
    """One pool with its members."""
    name = "/".join(str(call.params[key]) for key in ("poolid", "sub") if key in call.params)
    pool = _get(usercfg.load(call.site.root).pools, name)
    return {**_head(name, pool), "members": _members(call, pool)}


@route("POST", "/pools", {"poolid": _ID, "comment": STR}, _ALLOCATE)
def create(call: Call) -> None:
    """A new, empty pool; a nested one needs its parent."""
    name = str(call.params["poolid"])
    with usercfg.changing(call.site.root) as config:
        if name in config.pools:
            raise fail(f"create pool failed: pool '{name}' already exists")
        parent = name.rpartition("/")[0]
        if parent and parent not in config.pools:
            raise fail(f"create pool failed: parent '{parent}' of pool '{name}' does not exist")
        config.pools[name] = Pool(call.params.get("comment", ""))


@route("PUT", "/pools", {"poolid": _ID, **_UPDATE}, _ALLOCATE)
@route("PUT", "/pools/{poolid}", _UPDATE, _ALLOCATE)
def update(call: Call) -> None:
    """Add or take out guests (they need not exist) and storages."""
    name, params = str(call.params["poolid"]), call.params
    with usercfg.changing(call.site.root) as config:
        pool = _get(config.pools, name)
        if "comment" in params:
            pool.comment = params["comment"]
        for vmid in map(int, formats.split_list(params.get("vms", ""))):
            call.rights.check_vm(vmid, name, ["VM.Allocate"])
            _move_guest(config.pools, name, vmid, bool(params.get("delete")), bool(params.get("allow-move")))
        for storage in formats.split_list(params.get("storage", "")):
            call.rights.check(f"/storage/{storage}", ["Datastore.Allocate"])
            if params.get("delete"):
                if storage not in pool.storages:
                    raise fail(f"update pools failed: storage '{storage}' is not a pool member")
                pool.storages.discard(storage)
            else:
                pool.storages.add(storage)


def _move_guest(pools: dict[str, Pool], name: str, vmid: int, delete: bool, move: bool) -> None:
    members = pools[name].vms
    if delete:
        if vmid not in members:
            raise fail(f"update pools failed: VM {vmid} is not a pool member")
        members.discard(vmid)
        return
    for other, pool in pools.items():
        if vmid in pool.vms and other != name:
            if not move:
                raise fail(
                    f"update pools failed: VM {vmid} belongs already to pool '{other}' and 'allow-move' is not set"
                )
            pool.vms.discard(vmid)
    members.add(vmid)


@route("DELETE", "/pools", {"poolid": _ID}, _ALLOCATE)
@route("DELETE", "/pools/{poolid}", None, _ALLOCATE)
def delete(call: Call) -> None:
    """Only an empty pool."""
    name = str(call.params["poolid"])
    with usercfg.changing(call.site.root) as config:
        pool = _get(config.pools, name)
        inside = [f"pool '{other}'" for other in sorted(config.pools) if other.startswith(f"{name}/")]
        existing = {vmid for _, _, vmid, _ in guests.every(call.site)}
        inside += [f"VM {vmid}" for vmid in sorted(pool.vms & existing)]
        inside += [f"storage '{storage}'" for storage in sorted(pool.storages)]
        if inside:
            raise fail(f"delete pool failed: pool '{name}' is not empty (contains {inside[0]})")
        del config.pools[name]
        config.acl = {entry: flag for entry, flag in config.acl.items() if entry.path != f"/pool/{name}"}
