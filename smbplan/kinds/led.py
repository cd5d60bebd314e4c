"""winbindd on the nodes of a cluster that is a member of a domain: CTDB starts it, and watches it. ctdb(7)

It can't run before the join, and the join not before the cluster: so smbd, which needs it, begins with it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Kind
from smbplan.engine.resource import Key, Resource
from smbplan.kinds import cluster
from smbplan.kinds.names import address
from smbplan.spec.model import Site


class Led(Kind):
    """State: {nodes}: the names of those on which CTDB does so; None where it does on none."""

    name, title, object = "ctdb.winbind", "winbind under CTDB", "led"

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if change.before and change.after:
            lacking = sorted({*change.after["nodes"]} - {*change.before["nodes"]})
            yield f"CTDB does not start it on {', '.join(lacking)}"


KIND = Led()


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        if gateway.nodes and gateway.domain:
            key, desired = Key(KIND.object, name), {"nodes": sorted(gateway.nodes)}
            after = (cluster.address(name), address("member", name))
            yield Resource(address("led", name), KIND.name, cluster.target(name), key, desired, after)
