"""Folders of a node in a container: bind mounts, which no token may make. pct.conf(5)"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind
from smbplan.engine.resource import Key, Resource, State
from smbplan.kinds import container, directory, guest
from smbplan.kinds.names import unit
from smbplan.spec.clusters import ClusterNode
from smbplan.spec.model import Site


class Bind(Kind):
    """State: {volume, path, size, backup, readonly}; `volume` is the folder's path on the node."""

    name, title, object = "lxc.bind", "bind mount", "bind"

    def canonical(self, state: State) -> State:
        return None if state is None else {name: value for name, value in state.items() if name not in ("id", "key")}

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        if change.resource and change.before and change.before["volume"] != change.after["volume"]:
            yield Hazard(
                change.address,
                f"the share would lie in {change.after['volume']} instead of {change.before['volume']}",
                "copy the data first, then use --allow path-move",
                "path-move",
                change.resource.origin,
            )

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if change.before is not None and change.after is not None and guest.waits(change, changes, facts):
            yield "stays mounted as it is until its container is restarted"


KIND = Bind()


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def expand(site: Site) -> Iterator[Resource]:
    for gateway, found in site.gateways.items():
        for name, share in guest.binds(site, gateway).items() if found.mode == "lxc" else ():
            path = share.storage.path
            yield Resource(
                address(name),
                KIND.name,
                guest.CLUSTER,
                Key(KIND.object, f"{gateway}:{path}"),
                {"volume": path, "path": path, "size": None, "backup": False, "readonly": False},
                (container.address(gateway), directory.below(site, name, share)),
                unit(name),
                share.prevent_destroy,
                share.storage.on_destroy,
                ahead=(guest.power(gateway),),
            )
        if isinstance(found, ClusterNode) and found.guest and found.ha:
            yield Resource(
                address(f"{gateway}.shared"),
                KIND.name,
                guest.CLUSTER,
                Key(KIND.object, f"{gateway}:{found.ha.shared}"),
                {"volume": found.ha.shared, "path": found.ha.shared, "size": None, "backup": False, "readonly": False},
                (container.address(gateway), directory.shared(found.of)),
                ahead=(guest.power(gateway),),
            )
