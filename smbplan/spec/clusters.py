"""The nodes of clusters as gateways of their own, and what a cluster needs before any of them is asked."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from smbplan.spec.addresses import Address
from smbplan.spec.ha import STATE, Ha, Node
from smbplan.spec.model import Gateway, Share, Site

Finding = tuple[tuple[str | int, ...], str, str]
FIRST_ID = 10_000  # the ids that are proposed for accounts


class ClusterNode(Gateway):
    """A node of a cluster, as a gateway; nobody writes one."""

    of: str = ""  # the cluster
    address: Address | None = None


def private_address(name: str, node: ClusterNode) -> str:
    """Where the other nodes reach it; "" if nobody says."""
    network = (node.network.address or "").partition("/")[0]
    for text in (node.address, node.host if not node.guest else network, name):
        try:
            return str(ip_address(text or ""))
        except ValueError:
            continue
    return ""


def clustered(site: Site) -> Site:
    """The site with the nodes of its clusters as gateways of their own, each `of` its cluster."""
    found = dict(site.gateways)
    for name, gateway in site.gateways.items():
        if gateway.nodes:
            found |= {each: _node(name, gateway, node) for each, node in gateway.nodes.items()}
            found[name] = gateway.model_copy(update={"mode": "native", "discovery": False})
    return site.model_copy(update={"gateways": found})


def _node(name: str, gateway: Gateway, node: Node) -> ClusterNode:
    own = {key: value for key, value in node if value is not None}
    return ClusterNode.model_construct(**{**dict(gateway), **own, "nodes": {}, "of": name, "discovery": False})


def check(site: Site) -> Iterator[Finding]:
    """What a cluster needs before any of its nodes is asked."""
    for name, gateway in site.gateways.items():
        if not gateway.nodes:
            continue
        yield from _nodes(site, name, gateway)
        if gateway.guest and site.proxmox is None:
            hint = "write proxmox: with endpoint and token"
            yield ("gateways", name, "mode"), "a container needs Proxmox VE", hint
        yield from _accounts(site, name)
        assert gateway.ha is not None
        lock = gateway.ha.lock and gateway.ha.lock.file
        if lock and not lock.startswith(f"{gateway.ha.shared}/"):
            words = f"{lock} is not on what the nodes share, so that each of them could take it"
            yield ("gateways", name, "ha"), words, f"use a file below {gateway.ha.shared}, or leave lock out"
        for share_name, share in site.shares.items():
            if share.gateway == name:
                yield from _share(share_name, share, gateway.ha)
    for share_name, share in site.shares.items():
        whole = next((name for name, gateway in site.gateways.items() if share.gateway in gateway.nodes), None)
        if whole and share.gateway not in site.gateways:
            words = f"{share.gateway!r} is a node of the cluster {whole!r}"
            yield ("shares", share_name, "gateway"), words, f"write gateway: {whole}"


def _nodes(site: Site, name: str, gateway: Gateway) -> Iterator[Finding]:
    here = ("gateways", name, "nodes")
    members = {each: _node(name, gateway, node) for each, node in gateway.nodes.items()}
    addresses = {each: private_address(each, node) for each, node in members.items()}
    floating = set(gateway.ha.plain) if gateway.ha else set()
    seen: dict[str, str] = {}
    places: dict[str, str] = {}
    for each, node in members.items():
        if any(each == other or (other != name and each in found.nodes) for other, found in site.gateways.items()):
            yield (*here, each), f"{each!r} is the name of another gateway or node", "choose another name"
        if gateway.mode == "lxc" and ("_" in each or each.endswith("-")):
            yield (*here, each), f"{each!r} is the container's host name, too", "use letters, digits and -"
        found = addresses[each]
        if not found:
            yield (*here, each), "nobody knows where the other nodes reach it", "write address: 10.0.0.1"
        elif found in seen or found in floating:
            words = f"{found} is the address of {seen.get(found, 'a floating one')}, too"
            yield (*here, each), words, "write another address"
        seen[found] = each
        if gateway.mode == "lxc":
            if node.node is None:
                yield (*here, each), "a container of a cluster stays where it is", "write node: with a node of Proxmox"
            elif node.node in places:
                words = f"{each!r} and {places[node.node]!r} would be lost together, with {node.node}"
                yield (*here, each, "node"), words, "put each one on a node of its own"
            places[node.node or each] = each


def _accounts(site: Site, name: str) -> Iterator[Finding]:
    """Files belong to ids, which have to be the same on all nodes."""
    for section, key in (("users", "uid"), ("groups", "gid")):
        accounts: dict[str, Any] = getattr(site, section)
        numbers = {getattr(each, key) for each in accounts.values()}
        for account, each in accounts.items():
            if getattr(each, key) is None and not each.external and (not each.gateways or name in each.gateways):
                free = next(number for number in range(FIRST_ID, 60_000) if number not in numbers)
                numbers.add(free)
                words = f"cluster {name!r} needs the {key} of {account}: all its nodes have to give the same one"
                yield (section, account), words, f"write {key}: {free}"


def _share(name: str, share: Share, ha: Ha) -> Iterator[Finding]:
    storage = share.storage
    if not storage.directory:
        words = "the nodes of a cluster share folders of a cluster file system"
        yield ("shares", name, "storage"), words, f"write directory: {ha.shared}/{name}"
        return
    inside = f"{storage.directory}/".removeprefix(f"{ha.shared}/")
    if not inside or inside.startswith(("/", f"{STATE}/")):
        words = f"{storage.directory} is not on what the nodes of the cluster share"
        yield ("shares", name, "storage"), words, f"use a folder below {ha.shared}"
    if share.recycle:
        words = "recycle bins are not emptied on clusters yet"
        yield ("shares", name, "recycle"), words, "leave recycle out"
