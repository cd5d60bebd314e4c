"""Every step of the emitted plan × every fault: the machines are as before.

The cases come from the plan itself: a step without a case can't be.
"""

from collections.abc import Iterator

import pytest
from lab import snapshot
from lab.faults import FAULTS, Fault, Pool
from lab.site import Site

from smbplan import app

pytestmark = pytest.mark.lab
PARTS = 4  # of each gateway's matrix; workers share them
NODES = {"files": "pve1", "vault": "pve2"}


@pytest.fixture
def connections() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("gateway", NODES)
def test_a_fault_at_any_step_leaves_the_machine_as_before(
    site: Site, connections: Pool, gateway: str, part: int
) -> None:
    before = {node: snapshot.take(site.lab, node) for node in NODES.values()}
    planned = site.plan(atomic=True, targets=addresses(site, gateway))
    matrix = [(step, fault) for step in planned.plan.steps for fault in FAULTS]
    for step, kind in matrix[part::PARTS]:
        fault = Fault(step, kind)
        done = app.apply(planned, connect=connections.connect(fault))
        assert fault.struck, f"no case for {step.id}"
        assert done.outcome.name == "rolled_back", (step.id, kind, done.outcome.problems)
        now = snapshot.take(site.lab, NODES[gateway])
        assert snapshot.differences(before[NODES[gateway]], now) == [], (step.id, kind)
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node


def test_the_gateways_matrices_are_the_whole_plan(site: Site) -> None:
    parts = [{step.id for step in site.plan(targets=addresses(site, name)).plan.steps} for name in NODES]
    assert parts[0] | parts[1] == {step.id for step in site.plan().plan.steps}
    assert not parts[0] & parts[1]


def addresses(site: Site, gateway: str) -> tuple[str, ...]:
    return tuple(change.address for change in site.plan().plan.changes if change.target == gateway)
