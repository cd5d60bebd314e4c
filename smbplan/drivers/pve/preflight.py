"""What a plan needs of a cluster before anything is made: nodes, storages, free ids, templates."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smbplan.drivers.agent.core import Refused
from smbplan.drivers.pve import machine_templates, templates
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError, Denied
from smbplan.drivers.pve.machine_templates import Template

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


Trouble = tuple[str, str, str, str]  # gateway, summary, detail, hint


def check(client: Client, wishes: Sequence[Wish]) -> Iterator[Trouble]:
    """What is lacking. What the token may not look at is passed by. Raises ApiError."""
    states = {row["node"]: row.get("status") for row in client.get("nodes")}
    known: dict[tuple[str, str], set[str]] = {}
    for wish in wishes:
        node = wish.node
        if node is not None and states and states.get(node) != "online":
            there = f"the cluster has {', '.join(sorted(states))}"
            words = f"node {node} is not online" if node in states else f"there is no node {node}"
            yield wish.gateway, words, "", f"correct node: at the gateway; {there}"
            continue
        at = node or templates.roomiest(client)
        yield from _ids(client, wish)
        if (at, wish.mode) not in known:
            rows = client.get(f"nodes/{at}/storage", content=CONTENT[wish.mode], enabled=1)
            known[at, wish.mode] = {row["storage"] for row in rows}
        found = known[at, wish.mode]
        for storage in wish.storages:
            if storage not in found and _may_see(client, storage):
                what = "containers" if wish.mode == "lxc" else "VMs"
                words = f"storage {storage} takes no disks of {what} on {at}"
                yield wish.gateway, words, "", f"those that do are {', '.join(sorted(found))}"
    yield from _templates(client, [wish for wish in wishes if wish.template is not None])


def _may_see(client: Client, storage: str) -> bool:
    """Whether the token would be told of it: lists leave out what it has no rights on."""
    path = f"/storage/{storage}"
    held = client.get("access/permissions", path=path).get(path, {})
    return any(held.get(name) for name in ("Datastore.Audit", "Datastore.AllocateSpace"))


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


def _templates(client: Client, wishes: Sequence[Wish]) -> Iterator[Trouble]:
    listed: Mapping[str, Any] = {
        wish.gateway: (wish.node, wish.template) for wish in wishes if wish.mode == "lxc" and wish.template
    }
    for gateway, node, summary in templates.missing(client, listed):
        storage = listed[gateway][1].partition(":")[0]
        make = f"`smbplan image build lxc --node {node} --storage {storage}` makes one"
        yield gateway, summary, "", f"`smbplan image list` shows what is there; {make}"
    cloned = [wish for wish in wishes if wish.mode == "vm"]
    found, everywhere = (machine_templates.every(client), machine_templates.shared(client)) if cloned else ([], set())
    yield from (trouble for wish in cloned for trouble in _of_clone(wish, found, everywhere))


def _of_clone(wish: Wish, found: Sequence[Template], everywhere: Collection[str]) -> Iterator[Trouble]:
    try:
        one = machine_templates.picked(found, wish.node, wish.template or "", everywhere)
    except Refused as refused:
        yield wish.gateway, refused.summary, refused.detail, refused.hint
        return
    if wish.disk and one.size > wish.disk:
        words = f"the disk of template {one.vmid} has {one.size >> 20} MiB, more than its own {wish.disk >> 20} MiB"
        yield wish.gateway, words, "", f"write disk: {-(-one.size // 2**30)}GiB or more at the gateway"
