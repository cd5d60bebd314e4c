"""Where troubles are tried: example sites on the lab, in the midst of being made, changed and removed.

Of guests one gateway is made, with what it needs on the cluster and on its node.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab import ad, ha, lxc, vm
from lab.conftest import prepared
from lab.faults import nodes, outside
from lab.site import Site
from torture import members
from torture.cases import Case, Ground, representative, sample
from torture.troubles import RESTART, Place, Shell

from smbplan.kinds.guest import CLUSTER
from smbplan.lab import Lab

NODES = {"files": "pve1", "vault": "pve2"}
CONTAINER, MACHINE = "drawings", "ledger"  # of examples/lxc and examples/vm
SEED = 20261127
MANY = frozenset({"many-deletes", "many-updates", "acl-widening"})
GONE: dict[str, Any] = {"destroy": True, "purge": True, "delete_data": True, "allow": MANY}
# Something of every kind that examples/quickstart has.
CHANGES = {
    "site.yaml": [("description: Files of the office", "description: Files of everybody")],
    "people.yaml": [("Alice Adams", "Alice Archer"), ("groups: [office]}", "groups: [office, engineers]}")],
    "shares.yaml": [
        ("Drawings and plans", "Drawings"),
        ("quota: 1GiB", "quota: 2GiB"),
        ("expire: 14d", "expire: 7d"),
        ("schedule: hourly", "schedule: daily"),
        ("write: [carol], deny", "write: [carol, alice], deny"),
    ],
}
PASSWORDS = "alice-Geheim-1", "alice-Geheim-2"


@dataclass(frozen=True)
class Kind:
    """How a ground is made. Of its cases a sample of that size is tried; with 0, all."""

    make: Callable[[Site], Ground]
    prepare: Callable[[Lab, Path, pytest.MonkeyPatch], Site]
    up: dict[str, Any]  # the lab
    sample: int = 0

    def cases(self, ground: Ground) -> list[Case]:
        found = representative(ground)
        return sample(found, self.sample, SEED) if self.sample else found


@contextmanager
def ground(kind: Kind, lab: Lab, folder: Path) -> Iterator[Ground]:
    """The lab's nodes are as new at first."""
    with pytest.MonkeyPatch.context() as patched:
        lab.reset(*(each.name for each in lab.status().nodes if each.name.startswith("pve")))
        yield kind.make(kind.prepare(lab, folder, patched))


def _containers(lab: Lab, folder: Path, patched: pytest.MonkeyPatch) -> Site:
    return ha.fresh(lab, folder, patched, "ha-lxc")


def _quickstart(lab: Lab, folder: Path, patched: pytest.MonkeyPatch) -> Site:
    return prepared(lab, folder, patched, "quickstart")


def made(site: Site) -> Ground:
    """Nothing is there. Of one gateway, not everybody may read smb.conf."""
    attributes = "chgrp adm smb.conf; setfacl -m u::rw,g::r,u:nobody:r,o::- smb.conf"
    site.shell("pve2", f"cd /etc/samba; cp /usr/share/samba/smb.conf .; {attributes}")
    return _ground(site, partial(site.applied, **GONE))


def removed(site: Site) -> Ground:
    """Everything is, and goes as far as it can come back."""
    site.applied()
    return _ground(site, site.applied, destroy=True, allow=MANY)


def changed(site: Site) -> Ground:
    """Everything is, and something of each kind gets other settings."""
    site.applied()
    _edit(site, back=False)

    def back() -> None:
        _edit(site, back=True)
        site.applied(allow=MANY)
        _edit(site, back=False)

    return _ground(site, back, allow=MANY)


def _edit(site: Site, back: bool) -> None:
    """The definitions with the changes, or as they were."""
    os.environ["ALICE_PASSWORD"] = PASSWORDS[not back]
    for file, edits in CHANGES.items():
        for pair in edits:
            site.edit(file, *(reversed(pair) if back else pair))


def container(site: Site) -> Ground:
    """One with a subvolume and a folder of its node."""
    node, name = lxc.NODES[CONTAINER], CONTAINER

    def attach(*argv: str) -> str:
        return site.run(node, "lxc-attach", "-n", lxc.vmid(site, name, node), "--clear-env", "--", *argv)

    def reboot() -> None:
        site.run(node, "pct", "reboot", lxc.vmid(site, name, node))

    return _guest(site, name, lxc.NODES, lambda script: attach("sh", "-ec", script), reboot)


def machine(site: Site) -> Ground:
    """One with a disk."""
    node, name = vm.NODES[MACHINE], MACHINE

    def reset() -> None:
        site.run(node, "qm", "reset", vm.vmid(site, name))

    return _guest(site, name, vm.NODES, partial(vm.inside, site, name), reset, frozenset({name}))


def _guest(
    site: Site,
    gateway: str,
    places: Mapping[str, str],
    inside: Shell,
    restart: Callable[[], object],
    machines: frozenset[str] = frozenset(),
) -> Ground:
    mine = [change.address for change in site.plan().plan.changes if change.target == gateway]
    wish: dict[str, object] = {"targets": (*outside(site, gateway), *mine)}
    host = places[gateway]

    def api() -> None:
        for node in places.values():
            site.shell(node, "systemctl restart pveproxy")

    there = {node: _host(site, node, node) for node in places.values()}
    there[CLUSTER] = Place(there[host].shell, api, CLUSTER)
    there[f"{CLUSTER}:{host}"] = _host(site, host, f"{CLUSTER}:{host}")
    there[gateway] = Place(inside, restart, gateway)
    return Ground(site, partial(nodes, site, places.values()), there, partial(site.applied, **GONE), wish, machines)


def _host(site: Site, node: str, target: str) -> Place:
    shell = partial(site.shell, node)
    return Place(shell, partial(shell, RESTART), target)


def _ground(site: Site, back: Callable[[], object], **wish: object) -> Ground:
    places = {name: _host(site, node, name) for name, node in NODES.items()}
    return Ground(site, partial(nodes, site, NODES.values()), places, back, wish)


PLAIN: dict[str, Any] = {"nodes": 2}
NODES_OF_A_CLUSTER: dict[str, Any] = {"nodes": 3, "shared": True, "btrfs": False}
DOMAIN = {"domain": "CORP.TEST"}
GROUNDS = {
    "quickstart, made": Kind(made, _quickstart, PLAIN),
    "quickstart, changed": Kind(changed, _quickstart, PLAIN),
    "quickstart, removed": Kind(removed, _quickstart, PLAIN),
    "ha, made": Kind(members.cluster_made, ha.fresh, NODES_OF_A_CLUSTER, 60),
    "ha, removed": Kind(members.cluster_removed, ha.fresh, NODES_OF_A_CLUSTER, 60),
    "ha-ad, made": Kind(members.cluster_of_members_made, ha.outsiders, {**NODES_OF_A_CLUSTER, **DOMAIN}, 40),
    "ha-lxc, made": Kind(members.cluster_of_containers_made, _containers, {**NODES_OF_A_CLUSTER, "pve": True}, 40),
    "ad, made": Kind(members.member_made, ad.alone, {**PLAIN, **DOMAIN}, 60),
    "ad, removed": Kind(members.member_removed, ad.alone, {**PLAIN, **DOMAIN}, 60),
    "lxc, made": Kind(container, lxc.prepared, {"nodes": 3, "pve": True}, 90),
    "vm, made": Kind(machine, vm.prepared, {"nodes": 2, "pve": True, "vms": True}, 24),
}
