"""examples/vm: every step of the emitted plan fails; nodes and machines are as before.

The cases come from the plan itself. Those on the cluster and its nodes begin with nothing; those inside begin with the
machine running and its disk there.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from lab import vm
from lab.faults import FAULTS, Fault, FaultyInside, Pool, differences, nodes, outside
from lab.site import Site

from smbplan import app
from smbplan.drivers.channel import Channel, Counts, Endpoint
from smbplan.drivers.pve.cluster import Cluster
from smbplan.kinds.guest import CLUSTER
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
# What tells quickly whether a machine is as it was; the whole comparison comes at the end.
SIGNATURE = """
find /etc /srv /usr/local /var/lib/smbplan ! -type d ! -name '*-' ! -path '*/apparmor.d/*' \\
    -printf '%p %M %U %G %s %l\\n' 2>/dev/null | sort
sha256sum /etc/passwd /etc/group /etc/shadow; systemctl is-active smbd apt-daily.timer || :; findmnt -rno TARGET,SOURCE
"""


@pytest.fixture(scope="module")
def site(machines: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    lab = Lab(f"{machines.name}-vmf")
    lab.down()
    lab.up(nodes=2, pve=True, vms=True)
    with pytest.MonkeyPatch.context() as patched:
        yield vm.prepared(lab, tmp_path_factory.mktemp("site"), patched)
    lab.down()


@pytest.mark.parametrize("gateway", vm.NODES)
def test_a_fault_on_the_cluster_leaves_the_nodes_as_before(
    site: Site, monkeypatch: pytest.MonkeyPatch, gateway: str
) -> None:
    """Every fault for what makes a machine or a disk; one in turn for what only has to be started to fail."""
    planned = site.plan(atomic=True, targets=outside(site, gateway))
    assert {step.target[0] for step in planned.plan.steps} == {"@"}
    before, real, connections = nodes(site, vm.NODES.values()), Cluster.request, Pool()
    made = ("vm.machine.", "vm.disk.", "pve.mapping.")
    for number, step in enumerate(planned.plan.steps):
        for kind in FAULTS if step.id.startswith(made) else FAULTS[number % 3 : number % 3 + 1]:
            fault = Fault(step, kind)

            def request(self: Cluster, verb: str, timeout: float = 0.0, **given: Any) -> Any:
                if verb != "perform" or fault.step.target != CLUSTER:  # noqa: B023
                    return real(self, verb, timeout, **given)
                return fault.strike(partial(real, self, verb, timeout), given)  # noqa: B023

            monkeypatch.setattr(Cluster, "request", request)
            done = app.apply(planned, connect=connections.connect(fault))
            assert fault.struck, (step.id, kind, done.outcome.problems)
            assert done.outcome.name == "rolled_back", (step.id, kind, done.outcome.problems)
            assert differences(before, nodes(site, vm.NODES.values())) == [], (step.id, kind)
    connections.close()


MOUNTED = {
    "vault": {"service.books.mount", "directory.books", "samba.share.books"},
    "ledger": {"filesystem.accounts", "service.accounts.mount", "samba.share.accounts"},
}


@pytest.mark.parametrize("gateway", vm.NODES)
def test_a_fault_inside_leaves_the_machine_as_before(site: Site, monkeypatch: pytest.MonkeyPatch, gateway: str) -> None:
    """What the gateway is of first, and that of one for both; then, on top of that, what its share is of."""
    site.applied(targets=outside(site, gateway))
    changes = [change for change in site.plan().plan.changes if change.target == gateway]
    own = tuple(change.address for change in changes if change.resource and not change.resource.unit)
    shared = tuple(change.address for change in changes if change.address not in own)
    assert MOUNTED[gateway] < set(shared)
    if gateway == "ledger":
        faults_in(site, gateway, own, monkeypatch)
    site.applied(targets=own)
    faults_in(site, gateway, shared, monkeypatch)
    assert {change.address for change in site.plan().plan.changes if change.target == gateway} == set(shared)


def faults_in(site: Site, gateway: str, addresses: tuple[str, ...], patched: pytest.MonkeyPatch) -> None:
    """One fault in turn for every step of what these are planned as."""
    real, connections = Cluster.enter, Pool()
    before, around = vm.inside(site, gateway, SIGNATURE), nodes(site, vm.NODES.values())
    planned = site.plan(atomic=True, targets=addresses)
    assert {step.target for step in planned.plan.steps} == {gateway}
    for number, step in enumerate(planned.plan.steps):
        fault = Fault(step, FAULTS[number % 3])

        def enter(self: Cluster, endpoint: Endpoint, counts: Counts, connect: Any) -> Channel:
            there = real(self, endpoint, counts, connect)
            if endpoint.guest != gateway:
                return there
            made = partial(FaultyInside, there.endpoint, counts, client=self.guests.client, path=there.path)  # type: ignore[attr-defined]
            found: Channel = connections.found(gateway, fault, made)  # noqa: B023
            return found

        with patched.context() as entering:
            entering.setattr(Cluster, "enter", enter)
            done = app.apply(planned)
        assert fault.struck, (step.id, fault.kind, done.outcome.problems)
        assert done.outcome.name == "rolled_back", (step.id, fault.kind, done.outcome.problems)
        assert vm.inside(site, gateway, SIGNATURE) == before, (step.id, fault.kind)
    left = differences(around, nodes(site, vm.NODES.values()))
    assert [line for line in left if "/images/" not in line] == [], "but for what is in its own disks"
    connections.close()
