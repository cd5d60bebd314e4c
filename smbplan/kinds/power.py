"""Whether a guest runs. Everything inside it needs that."""

from collections.abc import Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Kind
from smbplan.engine.resource import Key, Resource, State
from smbplan.kinds import container, entry, guest, idmap, ids, machine, view
from smbplan.kinds.names import shares_of
from smbplan.spec.model import Site


class Power(Kind):
    """State: {running: true}, or None for a guest that is stopped.

    Mount points and disks come first if they come: one that fails takes its share back, and not the gateway.
    """

    name, title, object = "guest.power", "power", "power"
    uses = True

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        return {"running": True}

    def options(self, resource: Resource) -> Mapping[str, Any]:
        """How it is known that a VM has booted."""
        return {key: value for key, value in resource.desired.items() if key == "answers"}


KIND = Power()


def address(gateway: str) -> str:
    return guest.power(gateway)


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        if gateway.mode == "lxc":
            shares = shares_of(site, name)
            entries = (entry.address(key) for key, share in shares.items() if view.folder(site, share))
            map_ = (idmap.address(name),) if ids.own(site, name) else ()
            after = (container.address(name), *map_, *entries)
            key = Key(KIND.object, name)
            yield Resource(address(name), KIND.name, guest.CLUSTER, key, {"running": True}, after)
        if gateway.mode == "vm":
            desired = {"running": True, "answers": guest.answers(gateway)}
            after = (machine.address(name),)
            yield Resource(address(name), KIND.name, guest.CLUSTER, Key(KIND.object, name), desired, after)
