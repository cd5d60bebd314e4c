"""Kinds of steps of examples/quickstart × troubles: nothing is lost. `make torture` tries all of them."""

import pytest
from lab import snapshot
from lab.site import Site
from torture.cases import LOST, Ground, representative, tried

pytestmark = pytest.mark.lab
PARTS, SHARE = 8, 4  # of all cases every fourth, so that kinds of steps meet different troubles
NODES = {"files": "pve1", "vault": "pve2"}


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost(site: Site, part: int) -> None:
    ground = Ground(
        site,
        site.plan(atomic=True),
        {node: snapshot.take(site.lab, node) for node in NODES.values()},
        {name: lambda script, node=node: site.shell(node, script) for name, node in NODES.items()},
    )
    chosen = representative(ground.planned.plan.steps)[::SHARE][part::PARTS]
    verdicts = [tried(ground, case, by_hand=bool(number % 2)) for number, case in enumerate(chosen)]
    assert len(chosen) > 9
    assert [(each.case.name, each.detail) for each in verdicts if each.word == LOST] == []
