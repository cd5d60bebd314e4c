"""Disks of VMs on storages of Proxmox VE, each with a share's file system on it. They grow, and never shrink."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import guest, machine
from smbplan.kinds.names import unit
from smbplan.spec.model import Site

LONGEST = 20  # characters of a serial number, qm.conf(5)


class Disk(Kind):
    """State: {volume, size, backup}; `volume` is the storage. Its serial number tells it from others."""

    name, title, object = "vm.disk", "disk", "disk"

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
        item, gateway = change.resource, guest.owner(change)
        if change.removal and change.removal.after is None and guest.told(facts, gateway).get("protected"):
            yield guest.protected(change, f"the VM of {gateway}", "deletes a disk of it")
        if item is not None and change.before is None and change.record is not None:
            yield Hazard(
                change.address,
                f"its disk is gone from the VM of {gateway}, and a new one would be empty",
                "attach it again with `qm set`, with the serial number of the share; or, if its data is lost, use "
                "--allow lost-disk",
                "lost-disk",
                item.origin,
            )
        if item is None or change.before is None:
            return
        yield from guest.shrinking(change, "the disk", item.desired["size"], change.before["size"] or 0)
        yield from guest.elsewhere(change, "the disk", "qm disk move")

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if change.before and change.before["size"] is None and not change.removal:
            yield "it was taken off, and is attached again with its data"
        stays = change.before and change.after
        if stays and change.before["backup"] != change.after["backup"] and guest.waits(change, changes, facts):
            yield "backup takes effect at the VM's next start"


KIND = Disk()


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def serial(share: str) -> str:
    """What the VM knows a share's disk by."""
    if len(share) <= LONGEST and re.fullmatch(r"[A-Za-z0-9_-]+", share):
        return share
    return f"{share[:11]}-{hashlib.sha256(share.encode()).hexdigest()[:8]}"


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        storage = share.storage
        if storage.volume and site.gateways[share.gateway].mode == "vm":
            yield Resource(
                address(name),
                KIND.name,
                guest.CLUSTER,
                Key(KIND.object, f"{share.gateway}:{serial(name)}"),
                {"volume": storage.volume, "size": storage.size, "backup": storage.backup},
                (machine.address(share.gateway),),
                unit(name),
                share.prevent_destroy,
                storage.on_destroy,
                ahead=(guest.power(share.gateway),),
            )
