"""btrfs subvolumes with a quota. btrfs-subvolume(8), btrfs-qgroup(8)"""

from collections.abc import Iterator

from smbplan.engine.resource import Resource
from smbplan.kinds.directory import Directory, data
from smbplan.spec.model import Site


class Subvolume(Directory):
    name, title, object = "btrfs.subvolume", "btrfs subvolume", "subvolume"


KIND = Subvolume()


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        if share.storage.btrfs:
            yield data(site, name, share, KIND, share.storage.btrfs, {"quota": share.storage.quota or 0})
