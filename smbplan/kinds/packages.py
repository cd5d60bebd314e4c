"""Debian packages of a gateway. An installation stays when a run is rolled back; --purge removes what it brought."""

from collections.abc import Iterator

from smbplan.engine.kind import Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import guest, updates
from smbplan.kinds.names import address
from smbplan.spec.clusters import ClusterNode
from smbplan.spec.model import Site

SAMBA = ["acl", "samba", "samba-vfs-modules"]
DISCOVERY = ["avahi-daemon", "wsdd"]
UPDATES = ["unattended-upgrades"]
DOMAIN = ["libnss-winbind", "samba-dsdb-modules", "winbind"]  # the second: LDAP with a login, for the join
CLUSTER = ["ctdb", "ethtool"]  # without the second, CTDB takes every link for a dead one
SERVED = (*SAMBA, *DISCOVERY, *UPDATES, *DOMAIN)  # what a template has in it


class Packages(Kind):
    name, title, object = "packages", "packages", "packages"
    uses = True
    nature = Nature.KEPT
    why = "an installed package is harmless, and removing it again could take other things along"

    def blank(self, resource: Resource) -> State:
        return {"installed": None}

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if any(name.startswith(f"{guest.POWER}.") for name in record.after):
            return Removal(live, Nature.PARKED, reason="goes with its guest", parked=True)
        if not options.purge:
            return Removal(live, Nature.PARKED, reason="stays installed; --purge removes it", parked=True)
        return Removal(record.original, Nature.IRREVERSIBLE, "Samba's databases go with its package")


KIND = Packages()


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        wanted = sorted(
            [
                *SAMBA,
                *(DISCOVERY if gateway.discovery else []),
                *(UPDATES if updates.unattended(gateway) else []),
                *(DOMAIN if gateway.domain else []),
                *(CLUSTER if isinstance(gateway, ClusterNode) else []),
            ]
        )
        yield Resource(
            address("packages", name), KIND.name, name, Key(KIND.object, " ".join(wanted)), {"installed": wanted}
        )
