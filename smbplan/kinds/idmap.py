"""The id map of a container, where it needs another one than Proxmox VE's own. lxc.container.conf(5)"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import container, guest, ids, subid
from smbplan.spec.model import Site

MOST = 340  # lines that the kernel takes


class IdMap(Kind):
    """State: {map: lines of lxc.idmap}, or None for Proxmox VE's own map."""

    name, title, object = "lxc.idmap", "id map", "idmap"

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if record.original is None and (options.destroy or not options.purge):
            return Removal(live, Nature.PARKED, reason="stays with its container", parked=True)
        return Removal(record.original)

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        gateway = change.address.removeprefix(f"{self.name}.")
        origin = change.resource.origin if change.resource else None
        before, after = (lines["map"] if lines else ids.DEFAULT for lines in (change.before, change.after))
        if max(sum(line.startswith(kind) for line in after) for kind in "ug") > MOST:
            hint = "give the users of `ids: same` ids in a row"
            yield Hazard(
                change.address, f"the map has more than {MOST} lines, which the kernel refuses", hint, "", origin
            )
        moved = list(ids.moved(before, after)) if gateway in facts.get("guests", ()) else []
        if moved:
            yield Hazard(
                change.address,
                f"files of {', '.join(moved[:8])} in the container's own disks would belong to nobody",
                "if there are none, use --allow id-map",
                "id-map",
                origin,
            )

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if guest.waits(change, changes, facts) and not (change.removal and change.removal.parked):
            yield "restarts the container, which ends its sessions"


KIND = IdMap()


def address(gateway: str) -> str:
    return f"{KIND.name}.{gateway}"


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        wanted = ids.own(site, name)
        if wanted:
            ranges = (subid.address(gateway.node or "", *each) for each in ids.beyond(site, name))
            after = (container.address(name), *ranges)
            key = Key(KIND.object, name)
            yield Resource(address(name), KIND.name, guest.CLUSTER, key, {"map": wanted}, after)
