"""winbind as a source of users and groups for the system's own programs. nsswitch.conf(5)"""

from collections.abc import Iterator

from smbplan.engine.kind import Kind
from smbplan.engine.resource import Key, Resource, State
from smbplan.kinds.names import address, domain_of
from smbplan.spec.model import Site


class NameService(Kind):
    """State: {databases}: those that winbind is asked for."""

    name, title, object = "host.nss", "name service", "nss"
    uses = True

    def blank(self, resource: Resource) -> State:
        return {"databases": None}


KIND = NameService()


def expand(site: Site) -> Iterator[Resource]:
    for name in site.gateways:
        if domain_of(site, name):
            desired = {"databases": ["group", "passwd"]}
            after = (address("packages", name),)
            yield Resource(f"{KIND.name}.{name}", KIND.name, name, Key(KIND.object, "winbind"), desired, after)
