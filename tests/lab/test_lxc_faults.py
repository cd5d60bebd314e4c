"""examples/lxc: every step of the emitted plan × every fault; nodes and containers are as before.

The cases come from the plan itself. Those on the cluster and its nodes begin with nothing; those inside begin with the
container running and its storage mounted.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab import lxc, snapshot
from lab.faults import FAULTS, Fault, Pool, differences, nodes, outside
from lab.site import Site

from smbplan import app
from smbplan.drivers.pve.cluster import Cluster
from smbplan.engine.step import Step
from smbplan.kinds.guest import CLUSTER
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
each_gateway = pytest.mark.parametrize("gateway", lxc.NODES)


@pytest.fixture
def site(cluster: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return lxc.prepared(cluster, tmp_path, monkeypatch)


@pytest.fixture
def connections() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


def matrix(site: Site, steps: list[Step]) -> Iterator[tuple[Step, str]]:
    """Every fault for a step on the cluster; one in turn where the agent works, whose matrix is test_faults.py.

    In 8.4, whose answers differ in words only, each step has one, and another one than in 9.1.
    """
    whole = site.lab.state.dialect() == "9.1"
    for number, step in enumerate(steps):
        every = whole and step.target == CLUSTER
        yield from ((step, fault) for fault in (FAULTS if every else [FAULTS[(number + whole) % 3]]))


@each_gateway
def test_a_fault_on_the_cluster_leaves_the_nodes_as_before(
    site: Site,
    connections: Pool,
    monkeypatch: pytest.MonkeyPatch,
    gateway: str,
) -> None:
    planned = site.plan(atomic=True, targets=outside(site, gateway))
    assert {step.target[0] for step in planned.plan.steps} == {"@"}
    before, real = nodes(site, lxc.NODES.values()), Cluster.request
    for step, kind in matrix(site, list(planned.plan.steps)):
        fault = Fault(step, kind)

        def request(self: Cluster, verb: str, timeout: float = 0.0, **given: Any) -> Any:
            if verb != "perform":
                return real(self, verb, timeout, **given)
            return fault.strike(partial(real, self, verb, timeout), given)  # noqa: B023

        monkeypatch.setattr(Cluster, "request", request)
        done = app.apply(planned, connect=connections.connect(fault))
        assert fault.struck, (step.id, kind, done.outcome.problems)
        assert done.outcome.name == "rolled_back", (step.id, kind, done.outcome.problems)
        node = lxc.NODES[gateway]
        found = snapshot.differences(before[node], snapshot.take(site.lab, node))
        assert not found, (step.id, kind, found)
    assert differences(before, nodes(site, lxc.NODES.values())) == []


@pytest.mark.parametrize(  # inside, nothing knows the API's version: one gateway shows that
    ("cluster", "gateway"), [*(("9.1", name) for name in lxc.NODES), ("8.4", "drawings")], indirect=["cluster"]
)
def test_a_fault_inside_leaves_the_container_as_before(site: Site, connections: Pool, gateway: str) -> None:
    site.applied(targets=outside(site, gateway))
    node = lxc.NODES[gateway]
    inside = ("lxc-attach", "-n", lxc.vmid(site, gateway, node), "--clear-env", "--")
    before, around = snapshot.take(site.lab, node, inside), nodes(site, lxc.NODES.values())
    changes = site.plan().plan.changes
    planned = site.plan(atomic=True, targets=tuple(change.address for change in changes if change.target == gateway))
    assert {step.target for step in planned.plan.steps} == {gateway}
    for step, kind in matrix(site, list(planned.plan.steps)):
        fault = Fault(step, kind)
        done = app.apply(planned, connect=connections.connect(fault))
        assert fault.struck, (step.id, kind, done.outcome.problems)
        assert done.outcome.name == "rolled_back", (step.id, kind, done.outcome.problems)
        assert snapshot.differences(before, snapshot.take(site.lab, node, inside)) == [], (step.id, kind)
    assert differences(around, nodes(site, lxc.NODES.values())) == []
