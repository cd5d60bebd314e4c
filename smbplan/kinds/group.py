"""Local groups. They can't carry a mark, so the inventory knows which ones are ours. group(5)"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Call, Nature
from smbplan.kinds import ids
from smbplan.kinds.names import address, groups_on, members, users_on
from smbplan.kinds.password import logoffs
from smbplan.spec.model import Site


class Group(Kind):
    name, title, object = "posix.group", "group", "group"

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        """Whoever leaves a group loses its sessions, which know their groups from their start only."""
        before, after = (set(state["members"]) if state else set() for state in (change.before, change.after))
        return logoffs(before - after)

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        return ids.renumbered(change, "gid")

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if not options.purge and record.original is None:
            return Removal(live, Nature.PARKED, reason="stays, for its files; --purge removes it", parked=True)
        return Removal(record.original)


KIND = Group()


def expand(site: Site) -> Iterator[Resource]:
    for gateway in site.gateways:
        here = users_on(site, gateway)
        for name, group in groups_on(site, gateway).items():
            if group.external:
                continue
            people = [member for member in members(site, name) if member in here]
            users = tuple(address("user", gateway, user) for user in people if not site.users[user].external)
            desired = {"gid": group.gid, "members": people}
            yield Resource(address("group", gateway, name), KIND.name, gateway, Key(KIND.object, name), desired, users)
