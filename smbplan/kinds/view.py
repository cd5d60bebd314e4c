"""Where a node shows a dataset's snapshots to a container, which can't enter `.zfs/snapshot`. zfs-mount(8)

The snapshots are mounted below a folder of the node; the container has that folder by a mount entry that follows it.
"""

from collections.abc import Iterator

from smbplan.engine.kind import Kind
from smbplan.engine.resource import Key, Resource
from smbplan.kinds import guest
from smbplan.kinds.names import unit
from smbplan.spec.model import Share, Site

VIEWS = "/var/lib/smbplan/snapshots"


class View(Kind):
    """State: {there: true}; it goes with the mounts in it."""

    name, title, object = "zfs.view", "view of snapshots", "view"


KIND = View()


def folder(site: Site, share: Share) -> str:
    """The same path on the node and in the container; "" where `.zfs/snapshot` or a volume does."""
    shown = share.previous_versions and share.storage.zfs and site.gateways[share.gateway].mode == "lxc"
    return f"{VIEWS}/{share.storage.zfs}" if shown else ""


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        path = folder(site, share)
        if path:
            target = guest.host(site, share.gateway)
            yield Resource(address(name), KIND.name, target, Key(KIND.object, path), {"there": True}, (), unit(name))
