"""Folders of a node in a VM, by virtio-fs. qm.conf(5), `virtiofs[n]`; Proxmox VE 8.4 or newer"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind
from smbplan.engine.resource import Key, Resource, State
from smbplan.kinds import guest, machine, mapping
from smbplan.kinds.names import unit
from smbplan.spec.model import Site

SINCE = (8, 4)


class VirtioFs(Kind):
    """State: {acl, xattr}: what of the folder's files the VM sees besides their modes."""

    name, title, object = "vm.virtiofs", "virtio-fs device", "virtiofs"

    def canonical(self, state: State) -> State:
        return None if state is None else {name: value for name, value in state.items() if name != "key"}

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        node = change.resource.desired["node"] if change.resource else ""
        version = str(facts.get("versions", {}).get(node) or facts.get("version", ""))  # its node's, or the endpoint's
        parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if change.resource and parts and parts < SINCE:
            yield Hazard(
                change.address,
                f"Proxmox VE {version} has no virtio-fs, which came with 8.4",
                f"use storage: {{volume: STORAGE, size: …}} for this share, or upgrade {node}",
                origin=change.resource.origin,
            )

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if guest.waits(change, changes, facts):
            gone = change.after is None
            yield "stays attached until the VM is restarted" if gone else "restarts the VM, which ends its sessions"

    def options(self, resource: Resource) -> Mapping[str, Any]:
        return dict(resource.desired)

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        return {"acl": True, "xattr": True}


KIND = VirtioFs()


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        for share in guest.binds(site, name) if gateway.mode == "vm" else ():
            yield Resource(
                address(share),
                KIND.name,
                guest.CLUSTER,
                Key(KIND.object, f"{name}:{mapping.identity(site, share)}"),
                {"answers": guest.answers(gateway), "node": gateway.node},
                (machine.address(name), mapping.address(share)),
                unit(share),
                ahead=(guest.power(name),),
            )


def first(items: Sequence[Resource]) -> Iterator[Resource]:
    """All these resources; a device comes ahead of everything in its VM, which a new one restarts."""
    inside: dict[str, list[str]] = {}
    for item in items:
        inside.setdefault(item.target, []).append(item.address)
    for item in items:
        gateway = item.key.name.partition(":")[0]
        yield replace(item, ahead=(*item.ahead, *inside.get(gateway, ()))) if item.kind == KIND.name else item


def exposed(site: Site, machines: Mapping[str, str]) -> Iterator[str]:
    """A warning for each folder in a VM that another gateway serves, too. `machines`: {target: id of its machine}"""
    for name, gateway in site.gateways.items():
        for share, found in guest.binds(site, name).items() if gateway.mode == "vm" else ():
            path = found.storage.path
            for other in sorted(_others(site, name, path, machines)):
                yield (
                    f"{address(share)}: the isolation of {name} is weakened both ways: "
                    f"what lies in {path} is also served by {other}"
                )


def _others(site: Site, gateway: str, path: str, machines: Mapping[str, str]) -> set[str]:
    """The gateways that serve something of the same folder of the same node, whatever name that has."""
    node, found = guest.host(site, gateway), set()
    for share in site.shares.values():
        there = guest.host(site, share.gateway)
        other = site.gateways[share.gateway]
        named = not other.guest and (other.host or share.gateway) == site.gateways[gateway].node
        same = there == node or named or machines.get(there, there) == machines.get(node, node)
        near = f"{share.storage.path}/".startswith(f"{path}/") or f"{path}/".startswith(f"{share.storage.path}/")
        if share.gateway != gateway and not share.storage.volume and same and near:
            found.add(share.gateway)
    return found
