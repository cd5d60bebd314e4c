"""The name servers of a host. resolv.conf(5). Those of a guest are Proxmox VE's matter."""

from collections.abc import Iterator

from smbplan.engine.kind import Kind
from smbplan.engine.resource import Key, Resource
from smbplan.kinds.names import domain_of
from smbplan.spec.model import Site


class Resolver(Kind):
    """State: {nameservers, search, rest}; rest is what else stands in the file."""

    name, title, object = "host.resolver", "resolver", "resolver"
    uses = True


KIND = Resolver()


def of(site: Site, gateway: str) -> tuple[str, ...]:
    """The address of a gateway's resolver, for what asks it; none where it is left alone."""
    domain = domain_of(site, gateway)
    return (f"{KIND.name}.{gateway}",) if domain and domain.nameservers and not site.gateways[gateway].guest else ()


def expand(site: Site) -> Iterator[Resource]:
    for name in site.gateways:
        domain = domain_of(site, name)
        if domain and of(site, name):
            desired = {"nameservers": domain.nameservers, "search": [domain.realm.lower()], "rest": None}
            yield Resource(f"{KIND.name}.{name}", KIND.name, name, Key(KIND.object, "/etc/resolv.conf"), desired)
