"""Users and groups of a domain that shares name. They are looked up once; smbd and ACLs know their SIDs and ids."""

from collections.abc import Iterator

from smbplan.engine.kind import Kind
from smbplan.engine.resource import Key, Resource
from smbplan.kinds.names import address, domain_of, foreign_on
from smbplan.spec.model import Site


class Principals(Kind):
    """State: {names, ids}: the maps of ids by which they are looked up, so that another map has them looked up anew."""

    name, title, object = "domain.principals", "users and groups of a domain", "principals"
    one = True


KIND = Principals()


def expand(site: Site) -> Iterator[Resource]:
    for name in site.gateways:
        domain = domain_of(site, name)
        wanted = foreign_on(site, name)
        if domain and wanted:
            key = Key(KIND.object, domain.netbios)
            winbind = address("led" if site.gateways[name].nodes else "winbind", name)
            after = (address("config", name), address("member", name), winbind)
            desired = {"names": wanted, "ids": domain.maps}
            yield Resource(address("principals", name), KIND.name, name, key, desired, after)
