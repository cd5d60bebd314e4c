"""ZFS datasets with a quota, mounted at /NAME. zfs-create(8)"""

from collections.abc import Iterator

from smbplan.engine.resource import Resource
from smbplan.kinds.directory import Directory, data
from smbplan.spec.model import Site


class Dataset(Directory):
    name, title, object = "zfs.dataset", "ZFS dataset", "dataset"


KIND = Dataset()


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        if share.storage.zfs:
            yield data(site, name, share, KIND, share.storage.zfs, {"quota": share.storage.quota or 0})
