"""Where troubles are tried: example sites on the lab, in the midst of being made, changed and removed.

Of guests one gateway is made, with what it needs on the cluster and on its node.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab import ad, ha, lxc, snapshot, vm
from lab.conftest import prepared
from lab.faults import nodes, outside
from lab.site import Site
from torture import members
from torture.cases import Case, Ground, representative, sample
from torture.troubles import FULL, RESTART, Place

from smbplan.kinds.guest import CLUSTER
from smbplan.lab import Lab

NODES = {"files": "pve1", "vault": "pve2"}
SEED = 20261127
MANY = frozenset({"many-deletes", "many-updates", "acl-widening"})
GONE: dict[str, Any] = {"destroy": True, "purge": True, "delete_data": True, "allow": MANY}
Changes = Mapping[str, Sequence[tuple[str, str]]]
# Something of every kind that examples/quickstart has.
CHANGES: Changes = {
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
UNIFORM: Changes = {
    "shares.yaml": [
        (storage, f"{storage}\n    permissions: {{recursive: true}}")
        for storage in ("storage: {directory: /srv/books}", "storage: {btrfs: /mnt/btrfs/projects, quota: 1GiB}")
    ]
}
# Of users who have their own idea of who may read them.
FILES = """
for top in {folders}; do test -d $top && cd $top || continue
    mkdir -p deep/deeper; touch one two deep/three; ln -sf /etc/shadow link
    chown -R carol deep one two; chgrp users one; chmod 600 one; chmod 4711 two; chmod 1700 deep
    setfacl -m u:bob:rwx,d:u:bob:r-x deep/deeper; setfacl -m g:office:r deep/three
done"""
# The same of what containers of examples/lxc have.
SETTINGS: Changes = {
    "site.yaml": [
        ("cores: 4", "cores: 2"),
        ("quota: 1GiB", "quota: 2GiB"),
        ("size: 512MiB, backup: true", "size: 512MiB, backup: false"),
        ("quota: 100MiB", "quota: 200MiB"),
        ("{keep: 8}", "{keep: 9}"),
    ]
}
PASSWORDS = "alice-Geheim-1", "alice-Geheim-2"


@dataclass(frozen=True)
class Kind:
    """How a ground is made.

    Of its cases those are tried that are `whole`, by how their addresses begin, as no ground before it has them, and
    those of a disk that is full, which few can have; of the others a sample of that size. With 0, all.
    """

    make: Callable[[Site], Ground]
    prepare: Callable[[Lab, Path, pytest.MonkeyPatch], Site]
    up: dict[str, Any]  # the lab
    sample: int = 0
    whole: tuple[str, ...] = ()

    def cases(self, ground: Ground) -> list[Case]:
        found = representative(ground)
        others = [case for case in found if case.kind != FULL]
        chosen = sample(others, self.sample, SEED) if self.sample else others
        return [case for case in found if case.kind == FULL or case in chosen or case.step.id.startswith(self.whole)]


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
    _edit(site, CHANGES, back=False)

    def back() -> None:
        _edit(site, CHANGES, back=True)
        site.applied(allow=MANY)
        _edit(site, CHANGES, back=False)

    return _ground(site, back, allow=MANY)


def uniform(site: Site) -> Ground:
    """What lies below two folders, of users, gets the rights of these."""

    def theirs() -> None:
        for node in NODES.values():
            site.shell(node, FILES.format(folders="/srv/books /mnt/btrfs/projects"))

    def back() -> None:
        _edit(site, UNIFORM, back=True)
        site.applied(allow=MANY)
        theirs()
        _edit(site, UNIFORM, back=False)

    site.applied()
    theirs()
    _edit(site, UNIFORM, back=False)
    return _ground(site, back, allow=MANY)


def _edit(site: Site, changes: Changes, back: bool) -> None:
    """The definitions with the changes, or as they were."""
    os.environ["ALICE_PASSWORD"] = PASSWORDS[not back]
    for file, edits in changes.items():
        for pair in edits:
            site.edit(file, *(reversed(pair) if back else pair))


def container(name: str, site: Site) -> Ground:
    """Nothing of it is there, and of what it has on its node."""

    def back() -> None:
        site.applied(**GONE)
        site.shell(lxc.NODES[name], "for each in $(pct list | awk 'NR > 1 {print $1}'); do pct destroy $each; done")

    return _container(site, name, back, targets=_of(site, name))


def _with_inside(ground: Ground, name: str) -> Ground:
    """What is in the container is compared, too."""
    site, look, node = ground.site, ground.look, lxc.NODES[name]

    def looked() -> dict[str, dict[str, object]]:
        enter = ["lxc-attach", "-n", lxc.vmid(site, name, node), "--clear-env", "--"]
        return {**look(), name: snapshot.take(site.lab, node, enter)}

    ground.look, ground.before = looked, looked()
    return ground


def container_changed(name: str, site: Site) -> Ground:
    """It is there, and gets other settings."""
    targets = _of(site, name)
    site.applied(targets=targets)
    _edit(site, SETTINGS, back=False)

    def back() -> None:
        _edit(site, SETTINGS, back=True)
        site.applied(targets=targets, allow=MANY)
        _edit(site, SETTINGS, back=False)

    return _with_inside(_container(site, name, back, targets=targets, allow=MANY), name)


def container_removed(name: str, site: Site) -> Ground:
    """It is there, and goes as far as it can come back."""
    targets = _of(site, name)

    def back() -> None:
        site.applied(targets=(f"guest.power.{name}",), allow=MANY)
        site.applied(targets=targets, allow=MANY)  # what is in it is seen when it runs

    site.applied(targets=targets)
    ground = _container(site, name, back, destroy=True, allow=MANY)
    ground.another = True  # it comes back with another hardware address
    return _with_inside(ground, name)


def _of(site: Site, gateway: str) -> tuple[str, ...]:
    """The addresses of all that belongs to it."""
    mine = [change.address for change in site.plan().plan.changes if change.target == gateway]
    return (*outside(site, gateway), *mine)


def _container(site: Site, name: str, back: Callable[[], object], **wish: object) -> Ground:
    node = lxc.NODES[name]

    def attach(*argv: str) -> str:
        return site.run(node, "lxc-attach", "-n", lxc.vmid(site, name, node), "--clear-env", "--", *argv)

    def reboot() -> None:
        site.run(node, "pct", "reboot", lxc.vmid(site, name, node))

    inside = Place(lambda script: attach("sh", "-ec", script), reboot, name, disk=True)
    return _guest(site, inside, lxc.NODES, back, wish)


def machine(name: str, site: Site) -> Ground:
    """Nothing of it is there."""
    node = vm.NODES[name]

    def reset() -> None:
        site.run(node, "qm", "reset", vm.vmid(site, name))

    inside, wish = Place(partial(vm.inside, site, name), reset, name), {"targets": _of(site, name)}
    return _guest(site, inside, vm.NODES, partial(site.applied, **GONE), wish, frozenset({name}))


def _guest(
    site: Site,
    inside: Place,
    places: Mapping[str, str],
    back: Callable[[], object],
    wish: Mapping[str, object],
    machines: frozenset[str] = frozenset(),
) -> Ground:
    host = places[inside.host]

    def api() -> None:
        for node in places.values():
            site.shell(node, "systemctl restart pveproxy")

    there = {node: _host(site, node, node) for node in places.values()}
    there[CLUSTER] = Place(there[host].shell, api, CLUSTER)
    there[f"{CLUSTER}:{host}"] = _host(site, host, f"{CLUSTER}:{host}")
    there[inside.host] = inside
    return Ground(site, partial(nodes, site, places.values()), there, back, dict(wish), machines)


def _host(site: Site, node: str, target: str) -> Place:
    shell = partial(site.shell, node)
    return Place(shell, partial(shell, RESTART), target)


def _ground(site: Site, back: Callable[[], object], **wish: object) -> Ground:
    places = {name: _host(site, node, name) for name, node in NODES.items()}
    return Ground(site, partial(nodes, site, NODES.values()), places, back, wish)


PLAIN: dict[str, Any] = {"nodes": 2}
NODES_OF_A_CLUSTER: dict[str, Any] = {"nodes": 3, "shared": True, "btrfs": False}
DOMAIN = {"domain": "CORP.TEST"}
CONTAINERS = {"nodes": 3, "pve": True}
MACHINES = {"nodes": 2, "pve": True, "vms": True}
MEMBERS = ("domain.", "host.", "files:restart")
GUESTS = ("lxc.", "node.", "guest.power.", "packages.")
VOLUMES = ("lxc.volume.", "lxc.entry.", "zfs.")
GROUNDS = {
    "quickstart, made": Kind(made, _quickstart, PLAIN),
    "quickstart, changed": Kind(changed, _quickstart, PLAIN),
    "quickstart, uniform": Kind(uniform, _quickstart, PLAIN),
    "quickstart, removed": Kind(removed, _quickstart, PLAIN),
    "ha, made": Kind(members.cluster_made, ha.fresh, NODES_OF_A_CLUSTER, 60, ("ctdb.",)),
    "ha, removed": Kind(members.cluster_removed, ha.fresh, NODES_OF_A_CLUSTER, 60, ("ctdb.", "packages.")),
    "ha-ad, made": Kind(
        members.cluster_of_members_made, ha.outsiders, {**NODES_OF_A_CLUSTER, **DOMAIN}, 40, ("ctdb.winbind.",)
    ),
    "ha-lxc, made": Kind(members.cluster_of_containers_made, _containers, {**NODES_OF_A_CLUSTER, "pve": True}, 40),
    "ad, made": Kind(members.member_made, ad.alone, {**PLAIN, **DOMAIN}, 60, MEMBERS),
    "ad, removed": Kind(members.member_removed, ad.alone, {**PLAIN, **DOMAIN}, 60, MEMBERS),
    "lxc, made": Kind(partial(container, "drawings"), lxc.prepared, CONTAINERS, 90, GUESTS),
    "lxc, made with volumes": Kind(partial(container, "office"), lxc.prepared, CONTAINERS, 15, VOLUMES),
    "lxc, changed": Kind(partial(container_changed, "drawings"), lxc.prepared, CONTAINERS, 15, GUESTS),
    "lxc, changed with volumes": Kind(partial(container_changed, "office"), lxc.prepared, CONTAINERS, 15, VOLUMES),
    "lxc, removed": Kind(partial(container_removed, "drawings"), lxc.prepared, CONTAINERS, 15, GUESTS),
    "lxc, removed with volumes": Kind(partial(container_removed, "office"), lxc.prepared, CONTAINERS, 15, VOLUMES),
    "vm, made": Kind(partial(machine, "ledger"), vm.prepared, MACHINES, 24, ("vm.", "filesystem.", "guest.power.")),
    "vm, made with a folder": Kind(partial(machine, "vault"), vm.prepared, MACHINES, 4, ("vm.virtiofs.", "pve.")),
}
