"""Samba's VFS modules for a share. Their order is fixed here: the first one sees a call first.

Audit logs what the client asked for; the recycle bin must see deletions before anything hides them; shadow_copy2
changes paths, so everything below it works on snapshots too; fruit stands right above streams_xattr, whose streams
it fills; acl_xattr comes last, next to the files. vfs_fruit(8), vfs_shadow_copy2(8), vfs_acl_xattr(8)
"""

from smbplan.kinds import schedule, view
from smbplan.kinds.names import once, shares_of
from smbplan.spec.model import Share, Site

ORDER = ("full_audit", "recycle", "shadow_copy2", "fruit", "streams_xattr", "acl_xattr", "fileid")


@once
def _for_macs(site: Site, gateway: str) -> bool:
    return any(share.time_machine for share in shares_of(site, gateway).values())


def modules(site: Site, share: Share) -> dict[str, str]:
    """`vfs objects` and the parameters of each module."""
    found: dict[str, dict[str, str]] = {}
    if share.audit:
        found["full_audit"] = _audit()
    if schedule.recycle(share):
        found["recycle"] = _recycle()
    if schedule.previous_versions(share):
        found["shadow_copy2"] = _shadow_copy(site, share)
    if share.windows_acls:
        found["acl_xattr"] = _windows_acls(site, share)
    if _for_macs(site, share.gateway):
        # macOS settles fruit's features once for a connection: all shares of a gateway have them, or none.
        found |= {"fruit": _fruit(share), "streams_xattr": {}}
    if site.gateways[share.gateway].nodes:
        # A file's device number differs from node to node; the name of what is mounted does not. vfs_fileid(8)
        found["fileid"] = {"fileid:algorithm": "fsname"}
    if not found:
        return {}
    params = {"vfs objects": " ".join(name for name in ORDER if name in found)}
    for values in found.values():
        params |= values
    return params


def _audit() -> dict[str, str]:
    return {
        "full_audit:prefix": "%u|%I|%S",
        "full_audit:success": "connect disconnect mkdirat renameat unlinkat fset_nt_acl fchmod",
        "full_audit:failure": "connect",
        "full_audit:facility": "local5",
        "full_audit:priority": "notice",
    }


def _recycle() -> dict[str, str]:
    return {
        "recycle:repository": ".recycle/%U",
        "recycle:keeptree": "yes",
        "recycle:versions": "yes",
        "recycle:touch_mtime": "yes",  # the bin's expiry counts from the deletion
        "recycle:exclude": ".smbplan-probe*",
    }


def _windows_acls(site: Site, share: Share) -> dict[str, str]:
    """Neither an unprivileged container nor virtio-fs has security.*; Samba hides the other name from clients, too."""
    gateway = site.gateways[share.gateway]
    mode = next((site.gateways[node].mode for node in gateway.nodes), gateway.mode)
    lacking = mode == "lxc" or (mode == "vm" and not share.storage.volume)
    return {"acl_xattr:security_acl_name": "user.NTACL"} if lacking else {}


def _shadow_copy(site: Site, share: Share) -> dict[str, str]:
    shown = view.folder(site, share)
    folder = ".zfs/snapshot" if share.storage.zfs else ".snapshots"
    inside = {"veto files": f"/{folder.partition('/')[0]}/"}  # a client can't rename or remove the snapshots
    return {
        "shadow:snapdir": shown or folder,
        **({"shadow:mountpoint": share.storage.path} if shown else inside),
        "shadow:format": schedule.SNAPSHOT,
        "shadow:sort": "desc",
        "shadow:localtime": "no",
    }


def _fruit(share: Share) -> dict[str, str]:
    found = {"fruit:metadata": "stream", "fruit:resource": "stream", "fruit:encoding": "native"}
    if share.time_machine:
        found["fruit:time machine"] = "yes"
        if share.max_size:
            found["fruit:time machine max size"] = str(share.max_size)
    return found
