"""Local users without a login. The mark stands in the GECOS field. passwd(5)"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import ids
from smbplan.kinds.names import address, users_on
from smbplan.spec.model import Site


class User(Kind):
    name, title, object = "posix.user", "user", "user"
    marked = True

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        return ids.renumbered(change, "uid")

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if not options.purge and record.original is None:
            locked = {**live, "locked": True}
            return Removal(locked, Nature.PARKED, reason="is locked, for its files; --purge removes it", parked=True)
        return Removal(record.original)


KIND = User()


def expand(site: Site) -> Iterator[Resource]:
    for gateway in site.gateways:
        for name, user in users_on(site, gateway).items():
            if not user.external:
                desired = {"uid": user.uid, "full_name": user.full_name, "locked": False}
                yield Resource(address("user", gateway, name), KIND.name, gateway, Key(KIND.object, name), desired)
