"""examples/vm: every step of the emitted plan fails; nodes and machines are as before.

The cases come from the plan itself. Those on the cluster and its nodes begin with nothing; those inside begin with the
machine running and its disk there.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from lab import vm
from lab.faults import FAULTS, Fault, FaultyInside, Pool, differences, nodes, outside
from lab.site import Site

from smbplan import app
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.pve.cluster import Cluster
from smbplan.engine.step import Step
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
    *("service.books.mount", "directory.books", "samba.share.books"),
    *("filesystem.accounts", "service.accounts.mount", "samba.share.accounts"),
}


def test_a_fault_inside_leaves_the_machine_as_before(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One machine with both kinds of storage. The last step fails, which takes everything back; then each step alone,
    after those before it were applied: without KVM, the way there takes seconds every time.
    """
    gateway = "ledger"
    site.edit("site.yaml", "    gateway: vault\n", "    gateway: ledger\n")
    site.applied(targets=outside(site, gateway))
    addresses = [change.address for change in site.plan().plan.changes if change.target == gateway]
    assert set(addresses) > MOUNTED
    planned = site.plan(atomic=True, targets=tuple(addresses))
    steps = planned.plan.steps
    assert {step.target for step in steps} == {gateway}
    around = nodes(site, vm.NODES.values())
    brackets = [step for step in steps if step.bracket]
    with Inner(site, gateway, monkeypatch) as inner:
        inner.fails(planned, Fault(steps[-1], FAULTS[0]))
        for number, step in enumerate(step for step in steps if not step.bracket):
            alone = replace(step, after=(), behind=())
            for bracket in [each for each in brackets if step.id in each.after]:
                brackets.remove(bracket)  # it fails once, behind the first step that it follows
                behind = replace(bracket, after=(step.id,), behind=())
                inner.fails(only(planned, alone, behind), Fault(behind, FAULTS[number % 3]))
            fault = Fault(alone, FAULTS[number % 3])
            inner.fails(only(planned, alone), fault)
            if step is not steps[-1]:
                assert inner.apply(only(planned, alone), fault).outcome.name == "applied", "a fault strikes once"
    assert brackets == []
    left = differences(around, nodes(site, vm.NODES.values()))
    own = ("/images/", "/srv/books", "inventory.json")
    assert [line for line in left if not any(path in line for path in own)] == [], "but for what is in its storage"


def only(planned: app.Planned, *steps: Step) -> app.Planned:
    return replace(planned, plan=replace(planned.plan, steps=steps))


class Inner:
    """The inside of a machine, where steps fail."""

    def __init__(self, site: Site, gateway: str, patched: pytest.MonkeyPatch) -> None:
        self.site, self.gateway, self.patched = site, gateway, patched
        self.connections = Pool()

    def __enter__(self) -> "Inner":
        return self

    def __exit__(self, *_: object) -> None:
        self.connections.close()

    def fails(self, planned: app.Planned, fault: Fault) -> None:
        before = vm.inside(self.site, self.gateway, SIGNATURE)
        done = self.apply(planned, fault)
        assert fault.struck, (fault.step.id, fault.kind, done.outcome.problems)
        assert done.outcome.name == "rolled_back", (fault.step.id, fault.kind, done.outcome.problems)
        assert vm.inside(self.site, self.gateway, SIGNATURE) == before, (fault.step.id, fault.kind)

    def apply(self, planned: app.Planned, fault: Fault) -> app.Applied:
        real = Cluster.enter

        def enter(cluster: Cluster, endpoint: Endpoint, counts: Counts, connect: Any) -> Channel:
            there = real(cluster, endpoint, counts, connect)
            if endpoint.guest != self.gateway:
                return there
            made = partial(FaultyInside, there.endpoint, counts, client=cluster.guests.client, path=there.path)  # type: ignore[attr-defined]
            found: Channel = self.connections.found(self.gateway, fault, made)
            return found

        with self.patched.context() as entering:
            entering.setattr(Cluster, "enter", enter)
            return app.apply(planned)
