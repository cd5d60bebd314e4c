"""Ids of a node that its root may hand to containers: lines of /etc/subuid and /etc/subgid. subuid(5)"""

from collections.abc import Iterator

from smbplan.engine.kind import Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import guest, ids
from smbplan.spec.model import Site


class SubId(Kind):
    """State: {owner: root}. Several containers may need one range."""

    name, title, object = "node.subid", "subordinate ids", "subid"
    uses = True

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if record.original is None and not options.purge:
            words = "stays, as a parked container may need it; --purge removes it"
            return Removal(live, Nature.PARKED, reason=words, parked=True)
        return Removal(record.original)


KIND = SubId()


def address(node: str, kind: str, first: int, count: int) -> str:
    return f"{KIND.name}.{node}.{kind}{first}-{first + count - 1}"


def expand(site: Site) -> Iterator[Resource]:
    seen = set()
    for name, gateway in site.gateways.items():
        for kind, first, count in ids.beyond(site, name) if gateway.mode == "lxc" else ():
            where = address(gateway.node or "", kind, first, count)
            if where not in seen:
                seen.add(where)
                key = Key(KIND.object, f"{kind}:{first}:{count}")
                yield Resource(where, KIND.name, guest.host(site, name), key, {"owner": "root"})
