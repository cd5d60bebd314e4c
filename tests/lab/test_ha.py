"""examples/ha: a cluster of three hosts comes, serves, changes node by node, and goes."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from lab import ha, snapshot
from lab.containers import eventually
from lab.site import Site

from smbplan import app, ha_trial
from smbplan import ha as clusters
from smbplan.cli.main import main
from smbplan.errors import Refused
from smbplan.lab import Lab
from smbplan.store import runs

pytestmark = pytest.mark.lab
PATIENCE = 30.0  # seconds that a pause may last on a machine that runs four tests at once; bench/ha.py measures
PLANNED = 10.0  # while a node is drained before it restarts


@pytest.fixture(scope="module")
def nodes(machines: Lab) -> Iterator[Lab]:
    """Four hosts and a client, with a folder that the hosts share."""
    lab = Lab(f"{machines.name}-ha")
    lab.down()
    lab.up(nodes=4, shared=True, btrfs=False)
    yield lab
    lab.down()


@pytest.fixture
def site(nodes: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return ha.fresh(nodes, tmp_path, monkeypatch)


def test_a_cluster_comes_serves_drifts_and_goes(site: Site) -> None:
    site.applied()
    site.applied(**ha.DESTROY)
    before = {node: snapshot.take(site.lab, node) for node in ha.NODES.values()}  # with the packages, which stay
    site.applied()
    assert site.differences() == []
    addresses = ha.serves_everywhere(site)
    assert "DENIED" in ha.smb(site, addresses[1], "projects", "mkdir no", user="bob")
    spread(site, addresses)
    revoked(site, addresses)
    drifts(site)
    gone = site.applied(purge=False, delete_data=False, **ha.DESTROY)
    assert gone.outcome.warnings == []
    kept = "rm -rf /mnt/shared/drawings /mnt/shared/projects"
    assert "f0" in site.shell("pve1", f"ls /mnt/shared/drawings; {kept}"), "the data is kept"
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node


def spread(site: Site, addresses: list[str]) -> None:
    """Every node serves one."""
    loaded = app.validate(site.folder).site
    eventually(lambda: clusters.status(loaded, "files").good)
    status = clusters.status(loaded, "files")
    assert sorted(address for node in status.nodes for address in node.addresses) == sorted(addresses)
    assert [len(node.addresses) for node in status.nodes] == [1, 1, 1]
    assert sum(node.leader for node in status.nodes) == 1


def revoked(site: Site, addresses: list[str]) -> None:
    """Whoever loses a right loses it in open sessions on every node; so does who is switched off."""
    for number, (old, new) in enumerate(
        (("write: [alice, bob]}", "write: [alice]}"), ("bob: {", "bob: {enabled: false, "))
    ):
        share = "projects" if number else "drawings"
        logins = [["smbclient", "-U", "bob%bob-Geheim-1", f"//{address}/{share}"] for address in addresses]
        sessions = [
            subprocess.Popen(site.lab.command("client", login), stdin=PIPE, stdout=PIPE, text=True) for login in logins
        ]
        for session in sessions:
            assert session.stdin is not None
            session.stdin.write("ls\n")
            session.stdin.flush()
        eventually(lambda: site.shell("pve1", "smbstatus -b").count("bob ") == 3)
        site.edit("site.yaml", old, new)
        site.applied(allow=frozenset({"many-updates"}))
        told = [session.communicate("ls\nquit\n")[0] for session in sessions]
        assert [each.count("blocks available") for each in told] == [1, 1, 1], "and none was listed again"
        site.edit("site.yaml", new, old)
    site.applied(allow=frozenset({"many-updates"}))


def drifts(site: Site) -> None:
    cases = {
        "ctdb disable": "disabled",
        "systemctl stop ctdb": "down",
        "ctdb setvar KeepaliveLimit 5": "different",
        "rm /etc/ctdb/public_addresses": "different",
        "sed -i s/timeout.=.*/timeout=9/ /etc/ctdb/ctdb.conf": "different",
    }
    for command, word in cases.items():
        site.shell("pve2", command)
        (change,) = site.plan().plan.changes
        assert (change.address, change.before["health"]["files2"]) == ("ctdb.cluster.files", word), command
        assert f"files2 is {word}" in change.reasons[0]
        site.applied()
        assert site.differences() == [], command
    site.shell("pve2", "mkdir -p /run/kept; mount --bind /mnt/shared /run/kept; umount -l /mnt/shared")
    eventually(lambda: [each.before["health"]["files2"] for each in site.plan().plan.changes] == ["unhealthy"], 30)
    (node,) = [node for node in clusters.status(app.validate(site.folder).site, "files").nodes if node.name == "files2"]
    assert "is the shared folder mounted?" in node.detail and node.addresses == ()
    site.shell("pve2", "mount --bind /run/kept /mnt/shared; umount -l /run/kept")
    eventually(lambda: site.differences() == [], 30)
    site.shell("pve3", "net conf setparm drawings comment other")
    assert site.differences() == ["update samba.share.drawings"]
    site.applied()
    site.shell("pve2", "sed -i s/that/which/ /etc/samba/smb.conf; userdel bob")
    assert site.differences() == ["create posix.user.files2.bob", "update samba.config.files2"]
    site.applied()
    assert site.differences() == []


def test_nodes_addresses_and_settings_change_while_it_serves(site: Site) -> None:
    site.applied()
    addresses = [ha.floating(site, last) for last in (61, 62, 63)]
    with ha.served(site, *addresses) as ended:
        node = f"      files4: {{host: pve4, address: {site.address('pve4')}}}\n    ha:"
        site.edit("site.yaml", "    ha:", node)
        site.applied()
        assert site.differences() == []
        site.edit("site.yaml", f"      files2: {{host: pve2, address: {site.address('pve2')}}}\n", "")
        site.applied()
        assert site.differences() == []
        lines = site.shell("pve1", "cat /etc/ctdb/nodes").split()
        assert lines == [site.address("pve1"), f"#{site.address('pve2')}", site.address("pve3"), site.address("pve4")]
        assert "ctdb.service" not in site.shell("pve2", "systemctl list-units --state=active --no-legend --plain")
        site.edit("site.yaml", f"{addresses[2]}/24", f"{addresses[2]}/24, {ha.floating(site, 64)}/24, 'fd00:18::61/64'")
        for number, each in enumerate(("pve1", "pve3", "pve4"), 1):
            site.shell(each, f"ip addr add fd00:18::{number}/64 dev eth0 nodad")
        site.applied()
        assert site.differences() == []
        site.edit("site.yaml", "Files that stay", "Files that moved")
        site.applied()
        site.edit("site.yaml", "failover: 10s", "failover: 16s")
        site.applied()
        assert site.differences() == []
        seen = ended()
    for each in seen:
        assert (each.lost, each.wrong) == (0, 0), each.address
        assert each.longest() < PLANNED, (each.address, each.longest(), each.errors)
    told = [
        site.shell(each, "cat /proc/sys/net/ipv6/conf/eth0/accept_dad; ls /run/ctdb")
        for each in ("pve1", "pve3", "pve4")
    ]
    assert all(each[0] == "1" and "dad." not in each for each in told), "as it was before an address was taken over"
    site.shell("client", "ip addr add fd00:18::99/64 dev eth0 nodad")
    assert "NT_STATUS" not in ha.smb(site, "fd00:18::61", "drawings", "mkdir six")


def test_commands_for_whoever_looks_after_it(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str, code: int = 0) -> Any:
        ended = main(["ha", *words, str(site.folder), "--format", "json"])
        assert ended in ((0, 3) if words[0] == "test" else (code,)), capsys.readouterr()
        return json.loads(capsys.readouterr().out)

    assert {node["health"] for node in said("status", code=2)["clusters"][0]["nodes"]} == {"no node yet"}
    site.applied()
    (status,) = said("status")["clusters"]
    serves = {address: node["name"] for node in status["nodes"] for address in node["addresses"]}
    address, home = next(iter(serves.items()))
    goal = next(name for name in ha.NODES if name != home)
    assert said("move", address, goal)["seconds"] < 5
    (status,) = said("status")["clusters"]
    assert address in next(node["addresses"] for node in status["nodes"] if node["name"] == goal)
    assert said("drain", goal)["state"] == "disabled"
    (status,) = said("status", code=2)["clusters"]
    (drained,) = [node for node in status["nodes"] if node["name"] == goal]
    assert (drained["health"], drained["addresses"], status["nobody"]) == ("disabled", [], [])
    assert "smbplan ha back" in drained["hint"]
    assert said("back", goal)["state"] == "ok"
    for options in ([], ["--stop", home]):
        tried = said("test", *options)
        assert len(tried["clients"]) == 3 and all(row["verified"] for row in tried["clients"]), tried
        assert all(row["seconds_without_service"] < PATIENCE and not row["lost"] for row in tried["clients"]), tried
        assert tried["ok"] is all(row["seconds_without_service"] <= 10 for row in tried["clients"])
    for words, summary in (
        (("move", "192.0.2.9", goal), "192.0.2.9 is no address of cluster files"),
        (("move", address, "pve9"), "pve9 is no node of cluster files"),
        (("drain", "pve9"), "pve9 is no node of cluster files"),
        (("status", "--cluster", "other"), "there is no cluster 'other'"),
    ):
        assert said(*words, code=1)["errors"][0]["summary"] == summary
    assert site.differences() == []
    told = [(one.outcome() or {}, one.plan()["changes"][0]) for one in runs.runs("ha") if one.is_command]
    assert [(change["action"], change["address"]) for _, change in reversed(told)][:3] == [
        ("ha move", address),
        ("ha drain", goal),
        ("ha back", goal),
    ]
    assert {ended["outcome"] for ended, _ in told} == {"applied"} and len(told) == 5
    moved = told[-1][1]["fields"][0]
    assert moved == {"path": "node", "before": home, "after": goal}


def test_nobody_moves_anything_while_somebody_else_changes_the_cluster(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.applied()
    loaded = app.validate(site.folder).site
    status, alice = clusters.status(loaded, "files"), os.environ["SMBPLAN_STATE"]
    address, home = status.nodes[0].addresses[0], status.nodes[0].name
    site.edit("site.yaml", "Files that stay", "Files that have changed")
    planned = site.plan()
    with clusters.held(loaded, "files"):
        monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "bob"))
        for asked in (
            lambda: clusters.drain(loaded, "files", home),
            lambda: clusters.move(loaded, "files", address, "files2"),
            lambda: ha_trial.run(loaded, "files", print, stop=home),
            lambda: app.apply(planned),
        ):
            with pytest.raises(Refused, match="is being changed by root"):
                asked()
    monkeypatch.setenv("SMBPLAN_STATE", alice)
    assert [node.addresses for node in clusters.status(loaded, "files").nodes] == [
        node.addresses for node in status.nodes
    ]
    site.applied()
    site.shell("pve3", "systemctl stop ctdb; systemctl stop ssh")
    try:
        eventually(lambda: not clusters.status(loaded, "files").nobody, 30)
        served = next(node for node in clusters.status(loaded, "files").nodes if len(node.addresses) == 2)
        goal = next(name for name in ("files1", "files2") if name != served.name)
        clusters.move(loaded, "files", served.addresses[0], goal)
    finally:
        site.shell("pve3", "systemctl start ssh")
    site.applied()
    leases = "ls /var/lib/smbplan/lease* /mnt/shared/.smbplan/*/lease* 2>/dev/null || :"
    assert [site.shell(node, leases) for node in ha.NODES.values()] == ["", "", ""]
