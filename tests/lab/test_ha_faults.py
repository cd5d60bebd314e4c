"""Building a cluster: what has to be so first, and a fault at any step leaves the nodes as before."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import ha, snapshot
from lab.faults import FAULTS, Fault, Pool
from lab.site import Site

from smbplan import app
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.ha import Ha
from smbplan.errors import Refused
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
PARTS = 3
LATE = ("files", "@ha:files")  # targets whose steps come when the cluster is there, which takes its time


@pytest.fixture(scope="module")
def nodes(machines: Lab) -> Iterator[Lab]:
    lab = Lab(f"{machines.name}-haf")
    lab.down()
    lab.up(nodes=3, shared=True, btrfs=False)
    yield lab
    lab.down()


@pytest.fixture
def site(nodes: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """With the packages, which stay when a run is rolled back."""
    site = ha.fresh(nodes, tmp_path, monkeypatch)
    site.applied(targets=tuple(f"packages.{name}" for name in ha.NODES))
    return site


@pytest.fixture
def connections() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


@pytest.mark.parametrize("part", range(PARTS))
def test_a_fault_at_any_step_leaves_the_nodes_as_before(
    site: Site, connections: Pool, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step has a fault; those of the cluster itself, and of the first part, have every one."""
    before = ha.seen(site)
    planned = site.plan(atomic=True)
    matrix = [
        (step, fault)
        for number, step in enumerate(planned.plan.steps)
        for fault in (FAULTS if step.target == "@ha:files" else (FAULTS[number % len(FAULTS)],))
    ]
    for step, kind in sorted(matrix, key=lambda each: each[0].target in LATE)[part::PARTS]:
        fault = Fault(step, kind)
        ha.strike(monkeypatch, fault)
        done = app.apply(planned, connect=connections.connect(fault))
        assert fault.struck, f"no case for {step.id}"
        assert done.outcome.name == "rolled_back", (step.id, kind, done.outcome.problems)
        assert ha.as_before(site, before) == [], (step.id, kind)


@pytest.mark.parametrize("where", ["found files1", "configure files2", "power files3", "wait files2"])
def test_a_node_that_fails_in_the_midst_leaves_none_of_them_changed(
    site: Site, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real, met = ha.seen(site), Ha._ask, list[str]()

    def ask(self: Ha, name: str, do: str, **words: Any) -> Any:
        answer = real(self, name, do, **words)
        if f"{do} {name}" == where and not met:
            met.append(where)
            raise ChannelError(f"{name}: seeded fault", "what CTDB says of it")
        return answer

    monkeypatch.setattr(Ha, "_ask", ask)
    done = site.apply()
    assert met and done.outcome.name == "rolled_back", done.outcome.problems
    (problem,) = done.outcome.problems
    assert problem.summary == f"{where.split()[1]}: seeded fault"
    assert ha.as_before(site, before) == []


def refused(site: Site) -> list[str]:
    try:
        return [hazard.summary for hazard in site.plan().plan.refused]
    except Refused as error:
        return [trouble.summary for trouble in error.troubles]


def test_what_has_to_be_so_first(site: Site) -> None:
    first, second, third = (site.address(node) for node in ha.NODES.values())
    before, client = ha.seen(site), site.address("client")

    site.edit("site.yaml", ha.floating(site, 63), client)
    (words,) = refused(site)
    assert words.startswith(f"{client} is taken already, by a host with the hardware address 02:5b:")
    site.edit("site.yaml", f"{client}/24", "203.0.113.9/24")
    assert refused(site) == ["no interface of files1, files2, files3 has an address in the network of 203.0.113.9/24"]
    site.edit("site.yaml", "203.0.113.9/24", f"{ha.floating(site, 63)}/24")

    site.edit("site.yaml", "lab-lock hold", "no-lock hold")
    assert refused(site)[0] == "the cluster lock can't be taken on files1: /mnt/shared/no-lock is not there"
    site.edit("site.yaml", "no-lock hold", "lab-lock hold")

    site.edit("site.yaml", "expires: 3s", "expires: 300s")
    assert refused(site) == ["the lock of a leader that is lost lasts 300 s, so that failover: 10s can't be kept"]
    site.edit("site.yaml", "expires: 300s", "expires: 3s")

    site.edit("site.yaml", f"address: {second}", f"address: {ha.floating(site, 77)}")
    assert f"files2 can't listen at {ha.floating(site, 77)}: Cannot assign requested address" in refused(site)
    site.edit("site.yaml", f"address: {ha.floating(site, 77)}", f"address: {second}")

    site.shell("pve3", f"ip route add blackhole {second}/32")
    assert f"files3 does not reach files2 at {second}, port 4379: Invalid argument" in refused(site)
    site.shell("pve3", f"ip route del blackhole {second}/32")

    site.shell("pve2", "umount /mnt/shared; mkdir -p /mnt/shared")
    words, helper = refused(site)
    assert helper == "the cluster lock can't be taken on files2: /mnt/shared/lab-lock is not there"
    assert words.startswith("/mnt/shared on files2 is another folder than on files1 (")
    site.shell("pve2", "rmdir /mnt/shared")
    assert refused(site)[0] == "/mnt/shared is not there on files2"
    site.lab.reset("pve2")

    assert refused(site) == []
    assert first != third
    unchanged = [node for node in before if node != "pve2"]
    assert [line for node in unchanged for line in snapshot.differences(before[node], ha.seen(site)[node])] == []


def test_two_nodes_can_not_tell_who_is_cut_off(site: Site) -> None:
    site.edit("site.yaml", f"      files3: {{host: pve3, address: {site.address('pve3')}}}\n", "")
    (words,) = [each for each in site.plan().plan.warnings if each.startswith("ctdb.cluster.files")]
    assert "two nodes that don't see each other can't tell who is cut off" in words


def test_a_destroy_that_fails_brings_back_what_others_keep_in_the_cluster(site: Site, connections: Pool) -> None:
    site.applied()
    site.shell("pve1", f"mkdir {ha.SHARED}/foreign; net conf addshare foreign {ha.SHARED}/foreign writeable=y")
    site.shell("pve2", "useradd -M -u 20000 zoe; (echo zoe; echo zoe) | smbpasswd -s -a zoe")

    def others() -> str:
        listed = site.shell("pve3", "net conf showshare foreign; pdbedit -L -w -u zoe; net getlocalsid")
        return listed.partition("LCT-")[0] + listed.rpartition("SID for")[2]

    before = others()
    assert "zoe:" in before and "S-1-5-21-" in before
    planned = site.plan(atomic=True, **ha.DESTROY)
    (step,) = [step for step in planned.plan.steps if step.id == "samba.config.files2"]
    fault = Fault(step, FAULTS[0])
    done = app.apply(planned, connect=connections.connect(fault))
    assert (fault.struck, done.outcome.name) == (True, "rolled_back"), done.outcome.problems
    assert "ctdb.cluster.files" in {name for name, status in done.outcome.statuses.items() if status.name == "UNDONE"}
    assert site.differences() == []
    assert others() == before
    assert site.shell("pve1", "ls /var/lib/smbplan/runs 2>/dev/null || :") == "", "no copy of passwords stays"
