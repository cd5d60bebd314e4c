"""Every step of the emitted plan × every fault: the machines are as before.

The cases come from the plan itself, so that a step without a case can't be: the test counts them.
"""

from collections.abc import Iterator

import pytest
from lab import snapshot
from lab.faults import FAULTS, Fault
from lab.site import Site

from smbplan import app
from smbplan.engine.step import Step

pytestmark = pytest.mark.lab
PARTS = 4  # of the matrix; workers share them


def cases(planned: app.Planned, part: int) -> Iterator[tuple[Step, str]]:
    every = [(step, fault) for step in planned.plan.steps for fault in FAULTS]
    yield from every[part::PARTS]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_fault_at_any_step_leaves_the_machines_as_before(site: Site, part: int) -> None:
    nodes = ("pve1", "pve2")
    site.applied()  # what is kept, such as Samba's databases, is there before the comparison
    site.applied(destroy=True, purge=True)
    before = {node: snapshot.take(site.lab, node) for node in nodes}
    planned = site.plan(atomic=True)
    tried = set()
    for step, kind in cases(planned, part):
        fault = Fault(step, kind)
        done = app.apply(planned, connect=fault.connect())
        assert fault.struck, f"no case for {step.id}"
        assert done.outcome.name == "rolled_back", (step.id, kind, done.outcome.problems)
        node = "pve1" if step.target == "files" else "pve2"
        assert snapshot.differences(before[node], snapshot.take(site.lab, node)) == [], (step.id, kind)
        tried.add((step.id, kind))
    assert len(tried) == len(list(cases(planned, part))) > 0
    for node in nodes:
        assert snapshot.differences(before[node], snapshot.take(site.lab, node)) == [], node
    assert {step.id for step in site.plan(atomic=True).plan.steps} == {step.id for step in planned.plan.steps}
