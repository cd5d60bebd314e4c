"""Whom a host's clock follows: its domain's controllers, for Kerberos. chrony.conf(5), timesyncd.conf(5)"""

from collections.abc import Iterator

from smbplan.engine.kind import Kind
from smbplan.engine.resource import Key, Resource, State
from smbplan.kinds import resolver
from smbplan.kinds.names import address, domain_of
from smbplan.spec.domain import Domain
from smbplan.spec.model import Gateway, Site


class Clock(Kind):
    """State: {servers}: what the host's own time daemon is told by smbplan; [] for nothing."""

    name, title, object = "host.time", "time", "time"
    uses = True

    def blank(self, resource: Resource) -> State:
        return {"servers": None}


KIND = Clock()


def follows(gateway: Gateway, domain: Domain | None) -> bool:
    """A container has its node's clock."""
    return gateway.mode != "lxc" and domain is not None and domain.time is not None


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        domain = domain_of(site, name)
        if domain and follows(gateway, domain):
            # The realm's own name has the addresses of all controllers.
            desired = {"servers": domain.servers or [domain.realm.lower()]}
            after = (address("packages", name), *resolver.of(site, name))
            yield Resource(f"{KIND.name}.{name}", KIND.name, name, Key(KIND.object, "servers"), desired, after)
