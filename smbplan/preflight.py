"""What the plan needs of Proxmox VE, and the nodes of a cluster of each other, looked at before anything is created."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from smbplan.drivers.channel import timed
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.fleet import Fleet
from smbplan.engine.kind import Action, Change, Hazard
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Resource
from smbplan.errors import Refused, Trouble
from smbplan.kinds import cluster, container, disk, guest, machine, together, volume
from smbplan.kinds.guest import CLUSTER
from smbplan.spec.model import Gateway, Site

if TYPE_CHECKING:
    from smbplan.drivers.pve.preflight import Wish


def check(fleet: Fleet, site: Site, made: Plan) -> list[Hazard]:
    """Raises Refused where that can't be said."""
    return [*guests(fleet, site, made), *clusters(fleet, site, made)]


def guests(fleet: Fleet, site: Site, made: Plan) -> list[Hazard]:
    """What the cluster lacks for guests and disks that are to be created."""
    new = [change.resource for change in made.changes if change.action is Action.CREATE and change.resource]
    new_guests = {item.key.name: item for item in new if item.kind in (container.KIND.name, machine.KIND.name)}
    disks: dict[str, list[Resource]] = {}
    for item in new:
        if item.kind in (volume.KIND.name, disk.KIND.name):
            disks.setdefault(item.key.name.partition(":")[0], []).append(item)
    wishes = [
        _wish(name, site.gateways[name], new_guests.get(name), disks.get(name, [])) for name in {**new_guests, **disks}
    ]
    if not wishes:
        return []
    answer = fleet.each([CLUSTER], lambda target: fleet.ask(target, "preflight", wishes=wishes))[CLUSTER]
    if isinstance(answer, Exception):
        raise Refused(Trouble(str(answer), getattr(answer, "hint", ""), address=CLUSTER))
    places = {name: new_guests.get(name) or disks[name][0] for name in {**new_guests, **disks}}
    return [
        Hazard(places[name].address, summary, hint, origin=places[name].origin, detail=detail)
        for name, summary, detail, hint in answer or ()
    ]


def _wish(name: str, gateway: Gateway, new: Resource | None, disks: Sequence[Resource]) -> "Wish":
    linked = gateway.mode == "vm" and gateway.clone == "linked"
    root = "" if linked or not new else gateway.storage
    storages = [*(item.desired["volume"] for item in disks), *filter(None, [root])]
    from smbplan.drivers.pve.preflight import Wish

    return Wish(
        name,
        gateway.mode,
        gateway.node,
        gateway.vmid if new else None,
        (gateway.template or "") if new else None,
        tuple(dict.fromkeys(storages)),
        gateway.disk if new else 0,
        root,
    )


def clusters(fleet: Fleet, site: Site, made: Plan) -> Iterator[Hazard]:
    """Whether nodes that are to work together can."""
    for change in made.changes:
        item = change.resource
        if change.kind != cluster.KIND.name or item is None or not _grows(change):
            continue
        known = change.before or {"nodes": {}, "addresses": []}
        fresh = [each for each in item.desired["addresses"] if each not in known["addresses"]]
        wanted = {**item.desired, "addresses": fresh}
        absent = any(_is_new(made, name) for name in wanted["nodes"])
        try:
            ask = partial(fleet.ask, change.target, "preflight")
            found = _by_their_nodes(fleet, site, wanted) if absent else ask(wanted=wanted)
        except ChannelError as error:
            raise Refused(Trouble(error.summary, error.hint, error.detail, address=change.address)) from None
        for summary, hint in found:
            yield Hazard(change.address, summary, hint, origin=item.origin)


def _by_their_nodes(fleet: Fleet, site: Site, wanted: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What can be known of containers that are not there yet. Raises ChannelError."""
    hosts = {name: guest.host(site, name) for name in wanted["nodes"]}
    told, offsets = {}, {}
    for name, host in hosts.items():
        told[name], middle = timed(partial(fleet.ask, host, "together", do="place", shared=wanted["shared"]))
        offsets[name] = told[name]["time"] - middle
    plain = [each.partition("/")[0] for each in wanted["addresses"]]
    asked = fleet.ask(next(iter(hosts.values())), "together", do="taken", addresses=plain)
    kind = next((each["folder"]["type"] for each in told.values() if each["folder"]), "")
    return [
        *together.places(wanted["shared"], told, offsets),
        *cluster.impatient(wanted, kind),
        *together.taken(asked),
    ]


def _grows(change: Change) -> bool:
    """It is new, or gets nodes or addresses."""
    before, after = change.before, change.after
    if before is None or after is None:
        return before is None
    return bool(set(after["nodes"]) - set(before["nodes"]) or set(after["addresses"]) - set(before["addresses"]))


def _is_new(made: Plan, gateway: str) -> bool:
    address = container.address(gateway)
    return any(change.address == address and change.action is Action.CREATE for change in made.changes)
