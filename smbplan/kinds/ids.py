"""Which id of the node is which in a container. The solver places all ids that its shares need. user_namespaces(7)

Every id of a container is 100000 higher on its node, in blocks of 65536; all containers agree on that, so that data
moves between them. Ids of data that is also used on the node (`ids: same`) are the same there: holes in the blocks.
"""

from collections.abc import Iterable, Iterator, Sequence

from smbplan.engine.kind import Change, Hazard
from smbplan.kinds.names import domain_of, groups_on, members, principals, shares_of, users_on
from smbplan.spec.model import Site

SHIFT, BLOCK = 100000, 65536  # of Proxmox VE's own map
ALL = 2**32 - 2  # the last id there is
Piece = tuple[int, int, int]  # the first id inside, the first one on the node, how many


def pieces(ids: Iterable[int], same: Iterable[int] = ()) -> list[Piece]:
    """The map that has all these ids, some of them the same on the node; ascending, without gaps in what it has."""
    holes = set(same)
    blocks = sorted({0, *(number // BLOCK for number in {*ids, *holes})})
    found: list[Piece] = []
    for block in blocks:
        start = block * BLOCK
        for hole in sorted(number for number in holes if block == number // BLOCK):
            found += [(start, SHIFT + start, hole - start)] if hole > start else []
            found.append((hole, hole, 1))
            start = hole + 1
        if start < (block + 1) * BLOCK:
            found.append((start, SHIFT + start, (block + 1) * BLOCK - start))
    return _joined(found)


def _joined(found: Iterable[Piece]) -> list[Piece]:
    result: list[Piece] = []
    for inside, outside, count in found:
        if result and (sum(result[-1][::2]), result[-1][1] + result[-1][2]) == (inside, outside):
            result[-1] = (*result[-1][:2], result[-1][2] + count)
        else:
            result.append((inside, outside, count))
    return result


def lines(users: Sequence[Piece], groups: Sequence[Piece]) -> list[str]:
    """As `lxc.idmap` has them. lxc.container.conf(5)"""
    return [f"{kind} {' '.join(map(str, piece))}" for kind, found in (("u", users), ("g", groups)) for piece in found]


DEFAULT = lines(pieces(()), pieces(()))


def of(site: Site, gateway: str) -> tuple[list[Piece], list[Piece]]:
    """The maps of users and groups that a container needs."""
    users = {name: user.uid for name, user in users_on(site, gateway).items()}
    groups = {name: group.gid for name, group in groups_on(site, gateway).items()}
    shared, domain = _shared(site, gateway), domain_of(site, gateway)
    ranges = domain.ranges.values() if domain else ()
    foreign = [number for first, last in ranges for number in (*range(first, last, BLOCK), last)]
    return (
        pieces([*_written(users.values()), *foreign], _written(users.get(name) for name in shared)),
        pieces(
            [*_written(groups.values()), *foreign], _written(groups.get(name[1:]) for name in shared if name[0] == "@")
        ),
    )


def own(site: Site, gateway: str) -> list[str]:
    """The lines of a map that isn't Proxmox VE's own; [] for one that is."""
    found = lines(*of(site, gateway)) if site.gateways[gateway].mode == "lxc" else DEFAULT
    return [] if found == DEFAULT else found


def _written(ids: Iterable[int | None]) -> list[int]:
    return [number for number in ids if number is not None]


def _shared(site: Site, gateway: str) -> set[str]:
    """Everybody who has to do with data that is also used on the node."""
    found: set[str] = set()
    for share in shares_of(site, gateway).values():
        if share.storage.ids == "same":
            found |= {*principals(share), *(site.users if "*" in principals(share) else ())}
    groups = [name[1:] for name in found if name[0] == "@" and name[1:] in site.groups]
    return found | {user for group in groups for user in members(site, group)}


def renumbered(change: Change, key: str) -> Iterator[Hazard]:
    """A user or group that exists keeps its id: its files would be nobody's."""
    if change.resource and change.before and change.before[key] != change.after[key]:
        name, has, asked = change.resource.key.name, change.before[key], change.after[key]
        words = f"{name} has the {key} {has} on {change.target}, and would get {asked}; its files would not"
        way = f"write {key}: {has}, or remove {name} with --purge first and chown its files afterwards"
        yield Hazard(change.address, words, way, origin=change.resource.origin)


def mapped(site: Site, gateway: str) -> dict[str, list[list[int]]]:
    """The ranges of the node's ids, both ends included, that the guest has."""
    if site.gateways[gateway].mode == "vm":
        return {"users": [[0, ALL]], "groups": [[0, ALL]]}
    users, groups = of(site, gateway)
    return {
        kind: [[outside, outside + count - 1] for _, outside, count in found]
        for kind, found in (("users", users), ("groups", groups))
    }


def moved(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """The ids that are another id of the node afterwards."""
    for kind, word in (("u", "uid"), ("g", "gid")):
        old, new = _parsed(before, kind), _parsed(after, kind)
        edges = {edge for inside, _, count in (*old, *new) for edge in (inside, inside + count)}
        for number in sorted(edges):
            was, now = _outside(old, number), _outside(new, number)
            if was is not None and was != now:
                yield f"{word} {number}"


def _parsed(found: Sequence[str], kind: str) -> list[Piece]:
    rows = (line.split() for line in found if line.startswith(kind))
    return [(int(row[1]), int(row[2]), int(row[3])) for row in rows]


def _outside(found: Sequence[Piece], number: int) -> int | None:
    return next((outside + number - inside for inside, outside, count in found if 0 <= number - inside < count), None)


def beyond(site: Site, gateway: str) -> Iterator[tuple[str, int, int]]:
    """(u or g, first, count) of the node's ids that a map takes besides those that every container has."""
    for kind, found in zip("ug", of(site, gateway), strict=True):
        for _, start, count in found:
            for first, end in ((start, min(start + count, SHIFT)), (max(start, SHIFT + BLOCK), start + count)):
                if first < end:
                    yield kind, first, end - first
