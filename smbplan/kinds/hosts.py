"""The own name of a member in its /etc/hosts, as smbd asks for it at every session. hosts(5)

Without it, a session waits for the name server whenever that is silent. A guest gets the line from Proxmox VE, but for
a node of a cluster, whose name is another one.
"""

from collections.abc import Iterator

from smbplan.engine.kind import Kind
from smbplan.engine.resource import Key, Resource
from smbplan.kinds import resolver
from smbplan.kinds.names import domain_of, whole
from smbplan.spec.clusters import ClusterNode
from smbplan.spec.membership import computer
from smbplan.spec.model import Site


class Hosts(Kind):
    """State: {listed}: whether the name stands there with an address of the host, whoever has written it."""

    name, title, object = "host.name", "own name", "hosts"
    uses = True


KIND = Hosts()


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        domain = domain_of(site, name)
        if domain and (isinstance(gateway, ClusterNode) or not gateway.guest):
            own = f"{computer(whole(site, name), gateway)}.{domain.realm}".lower()
            key, after = Key(KIND.object, own), resolver.of(site, name)
            yield Resource(f"{KIND.name}.{name}", KIND.name, name, key, {"listed": True}, after)
