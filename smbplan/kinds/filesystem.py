"""File systems on disks of VMs: made once on an empty disk, grown with it, and never made anew. mke2fs(8)"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import disk
from smbplan.kinds.names import unit
from smbplan.spec.model import Site

TYPE = "ext4"
SPACE = uuid.UUID("6a1f9f0e-6e0f-4d0b-9d62-2f6a3c7d5b11")  # of our UUIDs, rfc9562 5.5


class FileSystem(Kind):
    """State: {type, uuid, size} on the disk with this serial number. Its UUID says that it is the share's own.

    An empty disk has the type "", which is as good as none; but one that was there has to be empty still.
    """

    name, title, object = "filesystem", "file system", "filesystem"

    def canonical(self, state: State) -> State:
        return state if state and state["type"] else None

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if record.original is not None:
            return Removal(live, reason="was there before")
        return Removal(live, Nature.PARKED, reason="goes with its disk", parked=True)

    def claims(self, live: State) -> bool:
        return True

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        if change.resource is None or change.before is None:
            return
        if (change.before["type"], change.before["uuid"]) != (change.after["type"], change.after["uuid"]):
            yield Hazard(
                change.address,
                f"the disk holds another file system already: {change.before['type']} {change.before['uuid']}",
                "smbplan never formats what isn't empty: look at it in the VM; if it may go, `wipefs -a` and then "
                "`blkdiscard -z -f` of the disk there empty it",
                origin=change.resource.origin,
            )


KIND = FileSystem()


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def identity(site: Site, share: str) -> str:
    """The UUID of a share's file system."""
    return str(uuid.uuid5(SPACE, f"{site.site}/{share}"))


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        if share.storage.volume and site.gateways[share.gateway].mode == "vm":
            yield Resource(
                address(name),
                KIND.name,
                share.gateway,
                Key(KIND.object, disk.serial(name)),
                {"type": TYPE, "uuid": identity(site, name), "size": share.storage.size},
                (disk.address(name),),
                unit(name),
                share.prevent_destroy,
            )
