"""Where troubles are tried: example sites on the lab, in the midst of being made, changed and removed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from lab.conftest import prepared
from lab.faults import nodes
from lab.site import Site
from torture.cases import Ground

from smbplan.lab import Lab

NODES = {"files": "pve1", "vault": "pve2"}
MANY = frozenset({"many-deletes", "many-updates", "acl-widening"})
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


@contextmanager
def ground(name: str, lab: Lab, folder: Path) -> Iterator[Ground]:
    """Raises KeyError for one that there is not. The lab's nodes are as new at first."""
    with pytest.MonkeyPatch.context() as patched:
        lab.reset(*NODES.values())
        yield GROUNDS[name](prepared(lab, folder, patched, "quickstart"))


def made(site: Site) -> Ground:
    """Nothing is there."""
    return _ground(site, partial(site.applied, destroy=True, purge=True, delete_data=True, allow=MANY))


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


def _ground(site: Site, back: Callable[[], object], **wish: object) -> Ground:
    return Ground(
        site,
        site.plan(atomic=True, **wish),
        nodes(site, NODES.values()),
        {name: partial(site.shell, node) for name, node in NODES.items()},
        back,
        wish,
    )


GROUNDS: dict[str, Callable[[Site], Ground]] = {
    "quickstart, made": made,
    "quickstart, changed": changed,
    "quickstart, removed": removed,
}
