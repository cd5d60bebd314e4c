"""Folders, subvolumes and datasets of a node in containers: ids, previous versions, ACLs. The API has no part in it."""

import re
from pathlib import Path

import pytest
from lab import lxc
from lab.lxc import smb, vmid
from lab.site import Site

from smbplan.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.parametrize("cluster", ["9.1"], indirect=True)]


@pytest.fixture
def site(cluster: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return lxc.prepared(cluster, tmp_path, monkeypatch)


def test_folders_of_the_node_have_the_containers_ids_and_shared_ones_their_own(site: Site) -> None:
    site.shell("pve2", "mkdir /srv/exports && chown 2001:3001 /srv/exports && touch /srv/exports/old")
    site.shell("pve2", "chown 2002:3001 /srv/exports/old")
    site.applied(targets=("share.exports", "share.plans"))
    site.shell("client", "echo news >/tmp/news")
    for share in ("exports", "plans"):
        assert "NT_STATUS" not in smb(site, "drawings", "alice", share, "put /tmp/news n")
    assert "NT_STATUS" not in smb(site, "drawings", "bob", "exports", "put /tmp/news old")
    shown = site.shell("pve2", "stat -c '%u %g %n' /srv/exports /srv/exports/* /mnt/btrfs/plans /mnt/btrfs/plans/n")
    assert shown.splitlines() == [
        "100000 3001 /srv/exports",
        "2001 3001 /srv/exports/n",
        "2002 3001 /srv/exports/old",
        "100000 3001 /mnt/btrfs/plans",
        "2001 3001 /mnt/btrfs/plans/n",
    ]


def test_what_a_container_could_not_see_is_refused_before_anything_is_made(site: Site) -> None:
    site.shell("pve2", "mkdir /srv/exports && touch /srv/exports/theirs && chown 1234:5678 /srv/exports/theirs")
    (refused,) = site.plan(targets=("share.exports",)).plan.refused
    assert "uid 1234, gid 5678" in refused.summary and refused.guardrail == "unmapped-ids"
    site.shell("pve2", "rm -r /srv/exports; echo mallory:2000:100 >>/etc/subuid")
    (refused,) = site.plan(targets=("share.exports",)).plan.refused
    assert "mallory" in refused.summary
    assert site.shell("pve2", "pct list").strip() == ""


def test_previous_versions_of_a_nodes_storage_are_seen_inside_also_after_a_restart(site: Site) -> None:
    names = {"plans": ("drawings", "pve2"), "exchange": ("office", "pve1")}
    site.applied(targets=tuple(f"share.{name}" for name in names))
    site.shell("client", "echo first >/tmp/news")
    for name, (gateway, node) in names.items():
        assert "NT_STATUS" not in smb(site, gateway, "alice", name, "put /tmp/news n")
        site.shell(node, f"systemctl start smbplan-snapshot-{name}.service")
        found = smb(site, gateway, "alice", name, "allinfo n")
        assert found.count("@GMT-") == 1, found
        number = vmid(site, gateway, node)
        site.shell(node, f"pct stop {number}; pct start {number}")
        site.shell(node, f"until lxc-attach -n {number} -- smbcontrol smbd ping; do sleep 0.2; done")
        stamp = re.search(r"@GMT-[0-9.-]+", smb(site, gateway, "alice", name, "allinfo n"))
        assert stamp, "it is there after a restart, too"
        assert "first" in smb(site, gateway, "bob", name, f"get {stamp[0]}\\n -")


def test_windows_acls_stand_where_a_container_may_write_them(site: Site) -> None:
    site.edit("site.yaml", "    recycle: true\n", "    recycle: true\n    windows_acls: true\n")
    site.applied(targets=("share.plans",))
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in smb(site, "drawings", "alice", "plans", "put /tmp/news n; setea n plain 1")
    assert "DENIED" in smb(site, "drawings", "alice", "plans", "setea n NTACL 1"), "it is no attribute for clients"
    address = f"//{lxc.network(site.lab)}.52/plans"
    allow = "ACL:bob:ALLOWED/0x0/READ"
    site.shell("client", f"smbcacls -U alice%alice-Geheim-1 {address} n --add {allow}")
    assert "bob:ALLOWED" in site.shell("client", f"smbcacls -U alice%alice-Geheim-1 {address} n")
    stored = site.shell("pve2", "getfattr -m - --only-values -n user.NTACL /mnt/btrfs/plans/n | wc -c")
    assert int(stored) > 50


def test_ids_that_do_not_fit_widen_the_map(site: Site) -> None:
    site.edit("site.yaml", "uid: 2001", "uid: 70001")
    site.edit("site.yaml", "directory: /srv/exports, ids: same", "directory: /srv/exports")
    made = site.applied(targets=("share.exports",))
    assert {"node.subid.pve2.u165536-231071", "lxc.idmap.drawings"} < {step.id for step in made.steps}
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in smb(site, "drawings", "alice", "exports", "put /tmp/news n")
    assert site.shell("pve2", "stat -c '%u %g' /srv/exports/n").split() == ["170001", "103001"]
    assert "root:165536:65536" in site.shell("pve2", "cat /etc/subuid")
    assert site.differences(targets=("share.exports",)) == []
