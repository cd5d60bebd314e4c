"""Volumes of Proxmox VE storages, mounted into a container. They grow, and never shrink."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import container, guest
from smbplan.kinds.names import unit
from smbplan.spec.model import Site

AT_START = ("backup", "readonly")  # what a running container gets only when it starts again
LOST = "deleted data can't be brought back"


class Volume(Kind):
    name, title, object = "lxc.volume", "volume", "volume"

    def canonical(self, state: State) -> State:
        """The volume's id is Proxmox's own affair."""
        return None if state is None else {name: value for name, value in state.items() if name not in ("id", "key")}

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if record.original is not None:
            return Removal(self.canonical(record.original), reason="was there before")
        if not _mounted(live):  # see drivers.pve.config.doomed
            reason = "was to be deleted as soon as its container had been stopped"
            return Removal(None, Nature.IRREVERSIBLE, LOST, reason=reason, options={"delete_data": True})
        if record.on_destroy != "delete" or not options.delete_data or not options.purge:
            return Removal(live, Nature.PARKED, reason="holds data, which stays", parked=True)
        return Removal(None, Nature.IRREVERSIBLE, LOST, options={"delete_data": True})

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        item, gateway = change.resource, guest.owner(change)
        if _lost(change) and guest.told(facts, gateway).get("protected"):
            yield guest.protected(change, f"the container of {gateway}", "deletes a volume of it")
        if item is None or change.before is None:
            return
        yield from guest.shrinking(change, "the volume", item.desired["size"], change.before["size"] or 0)
        yield from guest.elsewhere(change, "the volume", "pct move-volume")

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if change.before is None or not guest.waits(change, changes, facts):
            return
        if _lost(change) and _mounted(change.raw):
            yield "stays mounted until its container is restarted, and the next apply after that deletes it"
        late = [key for key in AT_START if change.after and change.before[key] != change.after[key]]
        if late and _mounted(change.raw):
            yield f"{' and '.join(late)} {'takes' if len(late) == 1 else 'take'} effect at its container's next start"


def _mounted(raw: Mapping[str, Any]) -> bool:
    return not str(raw.get("key", "")).startswith("unused")


def _lost(change: Change) -> bool:
    return change.removal is not None and change.removal.after is None


KIND = Volume()


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        storage = share.storage
        if storage.volume and site.gateways[share.gateway].mode == "lxc":
            yield Resource(
                address(name),
                KIND.name,
                guest.CLUSTER,
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
                ahead=(guest.power(share.gateway),),
            )
