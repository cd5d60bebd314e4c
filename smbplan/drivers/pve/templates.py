"""Container templates on a cluster's storages. Those of storages that all nodes share are told once."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smbplan.drivers.errors import ChannelError
from smbplan.drivers.pve import tasks
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import DOCTOR, ApiError, Denied

UPLOAD = "Datastore.AllocateTemplate"


@dataclass(frozen=True, slots=True)
class Place:
    """A storage that takes templates, as a node sees it."""

    node: str
    storage: str
    shared: bool
    content: str = "vztmpl"  # `import` for disks of VMs

    @property
    def path(self) -> str:
        return f"nodes/{self.node}/storage/{self.storage}"

    def volume(self, file: str) -> str:
        return f"{self.storage}:{self.content}/{file}"


@dataclass(frozen=True, slots=True)
class Template:
    place: Place
    volume: str
    size: int  # bytes

    @property
    def samba(self) -> bool:
        """By its name: whether Samba is in it."""
        return "-samba" in self.volume


def online(client: Client) -> list[str]:
    """Names of the nodes that are up. Raises ApiError."""
    return sorted(row["node"] for row in client.get("nodes") if row.get("status") == "online")


def places(client: Client, nodes: Sequence[str], content: str = "vztmpl") -> list[Place]:
    """Storages that take this content. Raises ApiError."""
    found: dict[tuple[str, str], Place] = {}
    for node in nodes:
        for row in client.get(f"nodes/{node}/storage", content=content, enabled=1):
            place = Place(node, row["storage"], bool(row.get("shared")), content)
            found.setdefault(("" if place.shared else node, place.storage), place)
    return list(found.values())


def on(client: Client, place: Place) -> list[Template]:
    """Raises ApiError."""
    rows = client.get(f"{place.path}/content", content=place.content)
    return sorted((Template(place, row["volid"], int(row.get("size", 0))) for row in rows), key=lambda one: one.volume)


def must_take(client: Client, place: Place) -> None:
    """Raises Denied when our token may not upload there."""
    path = f"/storage/{place.storage}"
    if UPLOAD not in client.get("access/permissions", path=path).get(path, {}):  # 0: it doesn't hold below
        raise Denied(f"{client.access.token} lacks {UPLOAD} on {path}", "", DOCTOR)


def upload(client: Client, place: Place, file: Path) -> str:
    """The volume that the file has become. Raises ApiError; then nothing of it is left, or the error says what."""
    volume = place.volume(file.name)
    with file.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
        data.seek(0)
        given: Mapping[str, Any] = {"checksum": digest, "checksum-algorithm": "sha256", "filename": data}
        try:
            tasks.wait(client, client.post(f"{place.path}/upload", content=place.content, **given))
        except BaseException as error:  # Ctrl-C, too
            left = dropped(client, place, volume)
            if left and isinstance(error, ChannelError):
                error.hint = "; ".join(filter(None, [error.hint, left]))
            raise
    return volume


def dropped(client: Client, place: Place, volume: str) -> str:
    """Remove what an upload has put there, all of it or half; what a person has to do if that fails."""
    try:
        if any(one.volume == volume for one in on(client, place)):
            tasks.wait(client, client.delete(f"{place.path}/content/{volume}"))
    except ApiError:
        return f"look on {place.node} with `pvesm list {place.storage}`; `pvesm free {volume}` removes half a file"
    return ""


def missing(client: Client, wanted: Mapping[str, tuple[str | None, str]]) -> Iterator[tuple[str, str, str]]:
    """(gateway, node, what is wrong) for gateways, {name: (node, template)}, whose template isn't there.

    One request for each storage of a node; a storage that may not be looked at is passed by.
    """
    known: dict[tuple[str, str], Any] = {}
    for gateway, (node, volume) in wanted.items():
        storage = volume.partition(":")[0]
        at = node or roomiest(client)
        if (at, storage) not in known:
            known[at, storage] = _volumes(client, Place(at, storage, False))
        found = known[at, storage]
        if isinstance(found, ApiError):
            yield gateway, at, found.summary
        elif found is not None and volume not in found:
            yield gateway, at, f"there is no template {volume} on {at}"


def _volumes(client: Client, place: Place) -> set[str] | ApiError | None:
    try:
        return {one.volume for one in on(client, place)}
    except Denied:
        return None
    except ApiError as error:
        return error


def roomiest(client: Client) -> str:
    """The online node with the most free memory. Raises ApiError."""
    nodes = [row for row in client.get("nodes") if row.get("status") == "online"]
    if not nodes:
        raise ApiError("no node of the cluster is online", "", "look at `pvecm status`")
    if not any("maxmem" in row for row in nodes):
        raise Denied(f"{client.access.token} lacks Sys.Audit on /nodes", "it is told no free memory", DOCTOR, 403)
    return str(max(nodes, key=lambda row: row.get("maxmem", 0) - row.get("mem", 0))["node"])
