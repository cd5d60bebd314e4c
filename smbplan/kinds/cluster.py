"""CTDB on the nodes of a gateway: who is in the cluster, its addresses, and how soon a node is given up. ctdb(7)"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Kinds, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.kinds import failover
from smbplan.spec.clusters import ClusterNode, private_address
from smbplan.spec.ha import Lock
from smbplan.spec.model import Gateway, Site

PREFIX = "@ha:"  # of the target on which a cluster is one thing; its shares are on that of its own name
RADOS_HELPER = "/usr/libexec/ctdb/ctdb_mutex_ceph_rados_helper"
RADOS_EXPIRES = 3  # seconds for which the lock is taken at a time
OK = "ok"
MANAGED = "HA resource "  # as the guest's facts call it, among what goes with a container
SETTINGS = ("addresses", "lock", "leader_timeout", "realtime", "tunables")


class Cluster(Kind):
    """State: {nodes: {name: {number, address}}, next, health: {name: word}, and SETTINGS}.

    A node that was removed keeps its number, and its line in the file of nodes: numbers never shift, and `next` is the
    one that none ever had.
    """

    name, title, object = "ctdb.cluster", "cluster", "ctdb"
    steady = True

    def guard(self, raw: State) -> State:
        return None if raw is None else {**raw, "health": None}  # nodes fall ill and recover by themselves

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        nodes = numbered(desired["nodes"], live)
        following = max(node["number"] for node in nodes.values()) + 1
        return {
            **{name: desired[name] for name in SETTINGS},
            "nodes": nodes,
            "next": max(following, live["next"] if live else 0),
            "health": dict.fromkeys(nodes, OK),
        }

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        return Removal(
            None,
            reason="its nodes serve nobody any more; what else is in their registry and passwords goes, too",
            open=frozenset({"health"}),
        )

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        item = change.resource
        if item is None:
            return
        for words, hint in impatient(item.desired, facts.get("filesystem", "")):
            yield Hazard(change.address, words, hint, origin=item.origin)
        former, coming = ((state or {}).get("nodes", {}) for state in (change.before, change.after))
        if former and coming and not former.keys() & coming.keys():
            words = f"no node of {item.key.name} would stay, and what CTDB keeps is on its nodes"
            yield Hazard(change.address, words, "change them one after the other", origin=item.origin)
        for name, node in (change.after or {}).get("nodes", {}).items():
            before = (change.before or {}).get("nodes", {}).get(name)
            if before and before["address"] != node["address"]:
                words = f"the address of {name} among the nodes would change from {before['address']}"
                hint = "take the node out and apply; then write it again with its new address"
                yield Hazard(change.address, words, hint, origin=item.origin)

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        before, after = (state["health"] if state else {} for state in (change.before, change.after))
        for name in sorted(before.keys() & after.keys()):
            if before[name] != OK:
                yield f"{name} is {before[name]}: {EXPLAINED.get(before[name], 'see ctdb status')}"
        if change.before and change.after:
            yield from _restarts(change.before, change.after)
        if change.resource and not change.removal:
            yield from covered(change.resource.desired, facts.get("filesystem", ""))

    def warnings(self, resource: Resource, live: State) -> Iterable[str]:
        if len(resource.desired["nodes"]) == 2:
            yield (
                f"{resource.address}: two nodes that don't see each other can't tell who is cut off: the one that gets "
                "the lock serves, whether clients reach it or not; a third node would be the majority"
            )


KIND = Cluster()
EXPLAINED = {
    "banned": "it failed in recoveries, and is kept out for a while; it comes back by itself, or by this plan",
    "stopped": "somebody has stopped it (ctdb stop)",
    "disabled": "somebody has taken its addresses away (ctdb disable, smbplan ha drain)",
    "disconnected": "the other nodes don't reach it",
    "unhealthy": "one of its services does not work",
    "partially-online": "one of its interfaces is down",
    "unknown": "the other nodes don't know yet how it is",
    "down": "ctdbd does not run there",
    "different": "its settings are not those of the other nodes",
}


def _restarts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before["lock"] != after["lock"]:
        yield "with another lock all nodes stop first, and nobody is served until they are back"
    elif any(before[name] != after[name] for name in ("leader_timeout", "realtime")):
        yield "ctdbd is restarted on one node after the other"


def target(gateway: str) -> str:
    return f"{PREFIX}{gateway}"


def address(gateway: str) -> str:
    return f"{KIND.name}.{gateway}"


def nodes(site: Site, gateway: str) -> dict[str, ClusterNode]:
    """The nodes of a cluster, in the order in which they are defined."""
    found = ((name, site.gateways[name]) for name in site.gateways[gateway].nodes)
    return {name: node for name, node in found if isinstance(node, ClusterNode)}


def numbered(wanted: Mapping[str, str], live: State) -> dict[str, dict[str, Any]]:
    """Each wanted node with the number that it has, or the next one that none ever had."""
    have, following, found = live["nodes"] if live else {}, live["next"] if live else 0, {}
    for name, address in wanted.items():
        number = have[name]["number"] if name in have else following
        following += name not in have
        found[name] = {"number": number, "address": address}
    return found


def command(lock: Lock) -> str:
    """As ctdb.conf(5) has it."""
    if lock.rados:
        words = [RADOS_HELPER, lock.rados.cluster, lock.rados.user, lock.rados.pool, lock.rados.object]
        return f"!{' '.join(words)} {lock.expires or RADOS_EXPIRES}"
    return lock.file or f"!{lock.command}"


def expires(told: int | None, filesystem: str) -> int | None:
    """For how many seconds a lock outlives its holder; None if nobody knows."""
    return failover.TAKES.get(filesystem) if told is None else told


def impatient(desired: Mapping[str, Any], filesystem: str) -> Iterator[tuple[str, str]]:
    """What is wrong with a budget that the lock outlives, and what to do."""
    promised, lasts = desired["failover"], expires(desired["expires"], filesystem)
    if lasts is not None and failover.budget(promised).lost_leader(lasts) > promised:
        words = f"the lock of a leader that is lost lasts {lasts} s, so that failover: {promised}s can't be kept"
        least = failover.least(lasts)
        yield words, f"write failover: {least}s, or a lock that goes with its holder, such as lock: {{rados: …}}"


def covered(desired: Mapping[str, Any], filesystem: str) -> Iterator[str]:
    """What the budget means, fault by fault."""
    budget, lasts = failover.budget(desired["failover"]), expires(desired["expires"], filesystem)
    unknown = "unknown, as nobody knows how long its lock lasts (lock.expires)"
    leader = unknown if lasts is None else f"{budget.lost_leader(lasts)} s"
    yield (
        f"failover: a node that is lost or cut off {budget.lost_node} s, the leader {leader}; "
        f"a service that fails {budget.broken_service} s"
    )


def crowded(site: Site) -> Iterator[str]:
    """Warnings: containers of a cluster that have come to be on one node of Proxmox VE."""
    for name, gateway in site.gateways.items():
        hosts: dict[str, list[str]] = {}
        for each, node in nodes(site, name).items() if gateway.nodes else ():
            if node.guest and node.node:
                hosts.setdefault(node.node, []).append(each)
        for host, found in hosts.items():
            if len(found) > 1:
                words = f"{' and '.join(found)} are on {host}, and would be lost together"
                yield f"{address(name)}: {words}; migrate {found[-1]} to another node with `pct migrate`"


def rivals(site: Site, told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Warnings: containers that Proxmox VE would start elsewhere, where another node of the cluster is."""
    for name, node in site.gateways.items():
        drops = told.get(name, {}).get("drops") or ()
        found = [each.removeprefix(MANAGED) for each in drops if each.startswith(MANAGED)]
        if isinstance(node, ClusterNode) and found:
            words = f"{name} is managed by Proxmox VE's own HA, too, and would be started where another node is"
            yield f"{address(node.of)}: {words}; `ha-manager remove {found[0]}` leaves it to CTDB"


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        if gateway.nodes and gateway.ha:
            key = Key(KIND.object, name)
            yield Resource(address(name), KIND.name, target(name), key, _desired(site, name, gateway))


def _desired(site: Site, name: str, gateway: Gateway) -> dict[str, Any]:
    assert gateway.ha is not None
    lock, budget = gateway.ha.lock_of(name), failover.budget(gateway.ha.failover)
    members = nodes(site, name)
    return {
        "nodes": {each: private_address(each, node) for each, node in members.items()},
        "addresses": sorted(gateway.ha.addresses, key=_order),
        "lock": command(lock),
        "leader_timeout": budget.leader,
        "realtime": not any(node.guest for node in members.values()),
        "tunables": budget.tunables,
        "shared": gateway.ha.shared,
        "failover": gateway.ha.failover,
        "expires": lock.expires or (RADOS_EXPIRES if lock.rados else None),
    }


def _order(floating: str) -> tuple[int, int]:
    found = ip_address(floating.partition("/")[0])
    return found.version, int(found)


def shared(site: Site, found: Iterable[Resource], kinds: Kinds) -> Iterator[Resource]:
    """Of what belongs to a cluster, each on all of its nodes or once for all of them, as its kind says.

    What is there once waits for the cluster, and in place of a thing on the cluster for that thing on every node.
    """
    clusters = {name: nodes(site, name) for name, gateway in site.gateways.items() if gateway.nodes}
    if not clusters:
        yield from found
        return
    of = {node: name for name, members in clusters.items() for node in members}
    kept = [item for item in found if item.target not in (of if kinds[item.kind].one else clusters)]
    aliases = {item.address: _for_all(item.address, item.target, of[item.target]) for item in kept if item.target in of}
    everywhere: dict[str, list[str]] = {}
    for address_, alias in aliases.items():
        everywhere.setdefault(alias, []).append(address_)
    for item in kept:
        if item.kind == KIND.name:
            name = item.target.removeprefix(PREFIX)
            alike = tuple(sorted({aliases[each.address] for each in kept if of.get(each.target) == name}))
            yield replace(item, after=tuple(each for alias in alike for each in everywhere[alias]), noted=alike)
        elif item.target in clusters:
            noted = (*item.after, address(item.target))
            after = dict.fromkeys(each for alias in noted for each in everywhere.get(alias, [alias]))
            yield replace(item, after=tuple(after), noted=noted)
        else:
            yield replace(item, alias=aliases.get(item.address, ""))


def _for_all(address: str, node: str, cluster: str) -> str:
    """What is on a node, as it is called in place of all of them: posix.user.NODE.alice, posix.user.CLUSTER.alice"""
    return re.sub(rf"\.{re.escape(node)}(?=\.|$)", f".{cluster}", address, count=1)
