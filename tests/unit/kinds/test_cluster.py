"""Clusters: who has which number, what a budget becomes, and what waits for what."""

from dataclasses import replace

import pytest
from unit.kinds.sites import site
from unit.simulated import Notes, World

from smbplan import templates
from smbplan.engine import plan as planning
from smbplan.engine.execute import Execution
from smbplan.engine.kind import Options
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Live
from smbplan.kinds import cluster, expand, failover, kinds, together
from smbplan.report import text
from smbplan.report.manual import commands
from smbplan.spec.load import load
from smbplan.spec.model import Site

NODES = {"n1": "10.0.0.1", "n2": "10.0.0.2", "n3": "10.0.0.3"}
HA = {"shared": "/mnt/ceph", "addresses": ["192.0.2.61/24", "2001:db8::61/64"], "lock": {"rados": {"pool": "ctdb"}}}


def defined(nodes: dict[str, str] = NODES, **ha: object) -> Site:
    users = {name: {"uid": uid, "password": {"env": "X"}} for name, uid in (("alice", 10_000), ("bob", 10_001))}
    return site(
        {
            "version": 1,
            "site": "s",
            "gateways": {
                "files": {"nodes": {name: {"address": at} for name, at in nodes.items()}, "ha": {**HA, **ha}},
                "other": {"discovery": False},
            },
            "users": users,
            "shares": {
                "a": {"gateway": "files", "storage": {"directory": "/mnt/ceph/a"}, "access": {"write": ["alice"]}},
                "b": {"gateway": "other", "storage": {"directory": "/srv/b"}, "access": {"write": ["bob"]}},
            },
        }
    )


def planned(found: Site, world: World, **options: object) -> Plan:
    live = {name: Live({"samba": "4.17"}) for name in [*found.gateways, "@ha:files"]} | world.live()
    return planning.build("s", expand(found), live, kinds(), Options(**options))  # type: ignore[arg-type]


def applied(found: Site, world: World) -> Plan:
    made = planned(found, world)
    assert made.refused == ()
    assert Execution(made.steps, world, Notes()).run().name == "applied"
    return made


def test_accounts_are_on_every_node_and_shares_on_the_cluster() -> None:
    found = {item.address: item for item in expand(defined())}
    assert {name for name in found if name.startswith("posix.user")} == {
        *(f"posix.user.{node}.alice" for node in NODES),
        "posix.user.other.bob",
    }
    assert [name for name in found if name.startswith("samba.user")] == [
        "samba.user.files.alice",
        "samba.user.other.bob",
    ]
    share = found["samba.share.a"]
    assert share.target == "files" and {f"posix.user.{node}.alice" for node in NODES} <= set(
        found["samba.user.files.alice"].after
    )
    assert "ctdb.cluster.files" in share.after and "posix.user.other.bob" not in share.after
    whole = found["ctdb.cluster.files"]
    assert (whole.target, {f"samba.config.{node}" for node in NODES} <= set(whole.after)) == ("@ha:files", True)
    text = found["samba.config.n2"].desired["content"]
    assert "   clustering = yes\n" in text and "   netbios name = FILES\n" in text
    assert "clustering" not in found["samba.config.other"].desired["content"]
    assert found["samba.share.a"].desired["params"]["vfs objects"] == "fileid"
    assert "ctdb" in found["packages.n1"].desired["installed"]
    assert "ctdb" not in found["packages.other"].desired["installed"]


def test_a_node_that_joins_or_leaves_changes_nothing_of_what_is_served() -> None:
    world = World()
    applied(defined(), world)
    assert planned(defined(), world).changes == ()
    more = planned(defined({**NODES, "n4": "10.0.0.4"}), world)
    assert {change.address for change in more.changes if change.target not in ("n4", "other")} == {"ctdb.cluster.files"}
    fewer = planned(defined({"n1": "10.0.0.1", "n3": "10.0.0.3"}), world)
    assert {change.address for change in fewer.changes if change.target != "n2"} == {"ctdb.cluster.files"}
    steps = {step.id: step for step in fewer.steps}
    assert "ctdb.cluster.files" in steps["samba.config.n2"].after, "it serves until it is out of the cluster"


def test_what_a_node_has_goes_when_nothing_on_the_cluster_needs_it() -> None:
    world = World()
    applied(defined(), world)
    data = defined()
    share = data.shares["a"].model_copy(update={"access": data.shares["b"].access})
    users = {**data.users, "bob": data.users["bob"]}
    moved = data.model_copy(update={"shares": {**data.shares, "a": share}, "users": users})
    steps = {step.id: step for step in planned(moved, world).steps}
    assert "samba.user.files.alice" in steps["posix.user.n3.alice"].after
    assert {f"posix.user.{node}.bob" for node in NODES} <= set(steps["samba.user.files.bob"].after)


def test_a_share_goes_when_the_nodes_have_changed() -> None:
    world = World()
    applied(defined(), world)
    found = defined({**NODES, "n4": "10.0.0.4"})
    shares = {name: share for name, share in found.shares.items() if name != "a"}
    made = planned(found.model_copy(update={"shares": shares}), world)
    steps = {step.id: step for step in made.steps}
    assert "ctdb.cluster.files" in steps["samba.share.a"].after
    gone = planned(found.model_copy(update={"shares": {}, "gateways": {}}), world, destroy=True)
    (step,) = [step for step in gone.steps if step.id == "ctdb.cluster.files"]
    assert "samba.share.a" in step.after, "and before them, when they go"


def test_numbers_never_shift() -> None:
    live = {
        "nodes": {"n1": {"number": 0, "address": "10.0.0.1"}, "n3": {"number": 2, "address": "10.0.0.3"}},
        "next": 3,
    }
    found = cluster.numbered({"n3": "10.0.0.3", "n2": "10.0.0.2", "n1": "10.0.0.1"}, live)
    assert {name: node["number"] for name, node in found.items()} == {"n3": 2, "n2": 3, "n1": 0}


def test_a_budget_becomes_tunables() -> None:
    ours = failover.budget(10)
    assert (ours.silence, ours.lost_node, ours.lost_leader(3), ours.broken_service) == (3, 6, 7, 6)
    assert ours.tunables["KeepaliveInterval"] * (ours.tunables["KeepaliveLimit"] + 1) == ours.silence
    for seconds in range(7, 121):
        found = failover.budget(seconds)
        assert max(found.lost_node, found.lost_leader(0), found.broken_service) <= seconds
        assert found.silence >= 3
    assert failover.least(3) == 7 and failover.least(300) == 303


@pytest.mark.parametrize(
    ("lock", "filesystem", "words"),
    [
        ({"rados": {"pool": "ctdb"}}, "ceph", ""),
        (None, "ceph", "the lock of a leader that is lost lasts 300 s, so that failover: 10s can't be kept"),
        (None, "xyz", ""),
        ({"file": "/mnt/ceph/lock", "expires": "5s"}, "ceph", ""),
    ],
)
def test_a_lock_that_lasts_too_long_refuses_the_budget(lock: object, filesystem: str, words: str) -> None:
    made = planned(defined(lock=lock), World())
    (change,) = [change for change in made.changes if change.kind == "ctdb.cluster"]
    found = [hazard.summary for hazard in cluster.KIND.hazards(change, {"filesystem": filesystem})]
    assert found == ([words] if words else [])
    if filesystem == "xyz":
        (told,) = cluster.KIND.reasons(change, {}, {"filesystem": filesystem})
        assert "the leader unknown, as nobody knows how long its lock lasts" in told


def test_locks_as_ctdb_has_them() -> None:
    found = {item.kind: item for item in expand(defined())}["ctdb.cluster"]
    assert found.desired["lock"] == (
        "!/usr/libexec/ctdb/ctdb_mutex_ceph_rados_helper ceph client.admin ctdb ctdb-lock 3"
    )
    found = {item.kind: item for item in expand(defined(lock=None))}["ctdb.cluster"]
    assert found.desired["lock"] == "/mnt/ceph/.smbplan/files/lock"


def test_what_a_person_types_for_a_cluster() -> None:
    world = World()
    made = applied(defined(), world)
    (step,) = [step for step in made.steps if step.address == "ctdb.cluster.files"]
    typed = commands([step])
    assert [line.partition("#")[0] for line in typed[::4]] == ["n1", "n2", "n3"]
    assert typed[0] == "n1# systemctl disable --now ctdb; systemctl stop smbd"
    fewer = planned(defined({"n1": "10.0.0.1", "n3": "10.0.0.3"}), world)
    (step,) = [step for step in fewer.steps if step.address == "ctdb.cluster.files"]
    assert step.undo is not None
    lines = commands([step])
    assert "n3# printf '10.0.0.1\\n10.0.0.2\\n10.0.0.3\\n' >/etc/ctdb/nodes" in lines
    assert "n3# systemctl enable ctdb; systemctl restart ctdb; ctdb status" in lines
    unpacked, started, _ = back = lines[-3:]
    assert {line.partition("#")[0] for line in back} == {"n2"}
    assert "tar -xzf" in unpacked and started.endswith("systemctl enable --now ctdb")


def told(**changed: object) -> dict[str, dict[str, object]]:
    good = {
        "address": "", "version": "4.17", "helper": "", "own": [], "interfaces": {"192.0.2.61/24": "eth0"},
        "folder": {"is": [1, 2, 3, 4], "type": "ceph"},
    }  # fmt: skip
    return {"n1": good, "n2": {**good, **changed}}


@pytest.mark.parametrize(
    ("changed", "offset", "words"),
    [
        ({}, 0.0, ""),
        ({}, 1.9, ""),
        ({}, -40.0, "the clock of n1 is 40 s ahead of that of n2"),
        ({"version": "4.22"}, 0.0, "the nodes would have different versions of ctdb: 4.17 on n1, 4.22 on n2"),
        ({"folder": None}, 0.0, "/mnt/ceph is not there on n2"),
        ({"own": ["192.0.2.61"]}, 0.0, "192.0.2.61 is an address of n2 already"),
        (
            {"folder": {"is": [1, 2, 3, 5], "type": "ext4"}},
            0.0,
            "/mnt/ceph on n2 is another folder than on n1 (ceph on n1, ext4 on n2): what is on one is not on the other",
        ),
    ],
)
def test_hosts_that_can_not_be_one_cluster(changed: dict[str, object], offset: float, words: str) -> None:
    wanted = {"nodes": NODES, "shared": "/mnt/ceph", "addresses": ["192.0.2.61/24"]}
    found = [summary for summary, hint in together.problems(wanted, told(**changed), {"n1": 0.0, "n2": offset}) if hint]
    assert found == ([words] if words else [])


def test_containers_that_would_be_lost_together_or_started_twice_are_told_of() -> None:
    found = load(templates.data("examples") / "ha-lxc").site
    assert [*cluster.crowded(found), *cluster.rivals(found, {"files2": {"drops": ["2 firewall rules"]}})] == []
    moved = found.gateways["files2"].model_copy(update={"node": "pve1"})
    found = found.model_copy(update={"gateways": {**found.gateways, "files2": moved}})
    (words,) = cluster.crowded(found)
    assert words.startswith(
        "ctdb.cluster.files: files1 and files2 are on pve1, and would be lost together; migrate files2"
    )
    (words,) = cluster.rivals(found, {"files2": {"drops": ["2 firewall rules", "HA resource ct:102"]}, "files1": {}})
    assert words.startswith("ctdb.cluster.files: files2 is managed by Proxmox VE's own HA, too")
    assert words.endswith("`ha-manager remove ct:102` leaves it to CTDB")


def test_two_containers_on_one_node_are_drift_that_no_apply_ends() -> None:
    world = World()
    applied(defined(), world)
    made = planned(defined(), world)
    assert (made.empty, made.differs, text.summary(made)) == (True, False, text.NOTHING["plan"])
    made = replace(made, misplaced=("n1 and n2 are on pve1",))
    assert (made.empty, made.differs, text.summary(made, "drift")) == (True, True, text.BY_HAND)
