"""What a plan needs of a cluster before anything is made: nodes, storages, free ids, templates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smbplan.drivers.agent.core import Refused
from smbplan.drivers.pve import machine_templates, templates
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import DOCTOR, ApiError, Denied
from smbplan.drivers.pve.machine_templates import Template

ALLOCATE = "Datastore.AllocateSpace"
CONTENT = {"lxc": "rootdir", "vm": "images"}  # that storages of disks take


@dataclass(frozen=True, slots=True)
class Wish:
    """What a gateway is going to need. `storages` are those of new disks; `template` is None where none is needed."""

    gateway: str
    mode: str  # lxc, vm
    node: str | None
    vmid: int | None
    template: str | None
    storages: Sequence[str]
    disk: int = 0  # bytes of the root disk
    storage: str = ""  # of the root disk; "" for a linked clone, which lies where its template does


Trouble = tuple[str, str, str, str]  # gateway, summary, detail, hint


def check(client: Client, wishes: Sequence[Wish]) -> Iterator[Trouble]:
    """What is lacking. What the token may not look at is passed by. Raises ApiError."""
    states = {row["node"]: row.get("status") for row in client.get("nodes")}
    known: dict[tuple[str, str], set[str]] = {}
    clones = any(_is_clone(wish) for wish in wishes)
    found, everywhere = (machine_templates.every(client), machine_templates.shared(client)) if clones else ([], set())
    for wish in wishes:
        node = wish.node
        if node is not None and states and states.get(node) != "online":
            there = f"the cluster has {', '.join(sorted(states))}"
            words = f"node {node} is not online" if node in states else f"there is no node {node}"
            yield wish.gateway, words, "", f"correct node: at the gateway; {there}"
            continue
        yield from _ids(client, wish)
        if _is_clone(wish):
            try:
                one = machine_templates.picked(found, node, wish.template or "", everywhere, wish.storage)
            except Refused as refused:
                yield wish.gateway, refused.summary, refused.detail, refused.hint
                continue
            yield from _of_clone(client, wish, one)
            node = node or one.node  # where it is going to be made
        at = node or templates.roomiest(client)
        if (at, wish.mode) not in known:
            rows = client.get(f"nodes/{at}/storage", content=CONTENT[wish.mode], enabled=1)
            known[at, wish.mode] = {row["storage"] for row in rows}
        taking = known[at, wish.mode]
        for storage in wish.storages:
            if storage not in taking and _holds(client, f"/storage/{storage}", "Datastore.Audit", ALLOCATE):
                what = "containers" if wish.mode == "lxc" else "VMs"
                words = f"storage {storage} takes no disks of {what} on {at}"
                yield wish.gateway, words, "", f"those that do are {', '.join(sorted(taking))}"
    yield from _containers(client, [wish for wish in wishes if wish.mode == "lxc" and wish.template])


def _is_clone(wish: Wish) -> bool:
    return wish.mode == "vm" and wish.template is not None


def _holds(client: Client, path: str, *privileges: str) -> bool:
    """Whether the token has any of these at a path. Lists leave out what it has no rights on."""
    held = client.get("access/permissions", path=path).get(path, {})
    return any(name in held for name in privileges)


def _ids(client: Client, wish: Wish) -> Iterator[Trouble]:
    if wish.vmid is None:
        return
    try:
        client.get("cluster/nextid", vmid=wish.vmid)
    except Denied:
        return
    except ApiError as error:
        if error.status != 400:
            raise
        yield wish.gateway, f"the vmid {wish.vmid} is taken", "", "write another one, or leave the key out"


def _containers(client: Client, wishes: Sequence[Wish]) -> Iterator[Trouble]:
    """Templates of theirs that are not there."""
    listed = {wish.gateway: (wish.node, wish.template or "") for wish in wishes}
    for gateway, node, summary in templates.missing(client, listed):
        storage = listed[gateway][1].partition(":")[0]
        make = f"`smbplan image build lxc --node {node} --storage {storage}` makes one"
        yield gateway, summary, "", f"`smbplan image list` shows what is there; {make}"


def _of_clone(client: Client, wish: Wish, one: Template) -> Iterator[Trouble]:
    """What keeps a template from being cloned."""
    if wish.disk and one.size > wish.disk:
        words = f"the disk of template {one.vmid} has {one.size >> 20} MiB, more than its own {wish.disk >> 20} MiB"
        yield wish.gateway, words, "", f"write disk: {-(-one.size // 2**30)}GiB or more at the gateway"
    for storage in one.bases if not wish.storage else ():
        if not _holds(client, f"/storage/{storage}", ALLOCATE):
            words = (
                f"{client.access.token} lacks {ALLOCATE} on /storage/{storage}, where a clone of {one.vmid} would lie"
            )
            yield wish.gateway, words, "", DOCTOR
