"""Mount entries of a container: folders of the node with whatever is mounted in them. lxc.container.conf(5)"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Kind
from smbplan.engine.resource import Key, Resource
from smbplan.kinds import container, guest, view
from smbplan.kinds.names import unit
from smbplan.spec.model import Site


class Entry(Kind):
    """State: {source}; it is read when the container starts."""

    name, title, object = "lxc.entry", "mount entry", "entry"

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if guest.waits(change, changes, facts):
            yield "takes effect when its container is restarted"


KIND = Entry()


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        path = view.folder(site, share)
        if path:
            yield Resource(
                address(name),
                KIND.name,
                guest.CLUSTER,
                Key(KIND.object, f"{share.gateway}:{path}"),
                {"source": path},
                (container.address(share.gateway), view.address(name)),
                unit(name),
            )
