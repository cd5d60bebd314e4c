"""Volumes of Proxmox VE storages, mounted into a container. They grow, and never shrink."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import container
from smbplan.kinds.names import unit
from smbplan.spec.model import Site


class Volume(Kind):
    name, title, object = "lxc.volume", "volume", "volume"

    def canonical(self, state: State) -> State:
        """The volume's id is Proxmox's own affair."""
        return None if state is None else {name: value for name, value in state.items() if name not in ("id", "key")}

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if record.original is not None:
            return Removal(self.canonical(record.original), reason="was there before")
        if record.on_destroy != "delete" or not options.delete_data or not options.purge:
            return Removal(live, Nature.PARKED, reason="holds data, which stays", parked=True)
        return Removal(None, Nature.IRREVERSIBLE, "deleted data can't be brought back", options={"delete_data": True})

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        item = change.resource
        if item is None or change.before is None:
            return
        yield from container.shrinking(change, "the volume", item.desired["size"], change.before["size"] or 0)
        if item.desired["volume"] != change.before["volume"]:
            yield Hazard(
                change.address,
                f"the volume would move from {change.before['volume']} to {item.desired['volume']}",
                "move it with `pct move-volume` on the node first",
                origin=item.origin,
            )


KIND = Volume()


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        storage = share.storage
        if storage.volume:
            yield Resource(
                address(name),
                KIND.name,
                container.CLUSTER,
                Key(KIND.object, f"{share.gateway}:{storage.mount}"),
                {
                    "volume": storage.volume,
                    "path": storage.mount,
                    "size": storage.size,
                    "backup": storage.backup,
                    "readonly": False,
                },
                (container.address(share.gateway),),
                unit(name),
                share.prevent_destroy,
                storage.on_destroy,
            )
