"""examples/lxc on real containers: three gateways on three nodes of a cluster that behaves like Proxmox VE."""

from pathlib import Path

import pytest
from lab import lxc
from lab.lxc import smb, vmid
from lab.site import Site

from smbplan import app
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
DESTROY = {"destroy": True, "allow": frozenset({"many-deletes"})}


@pytest.fixture
def site(cluster: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return lxc.prepared(cluster, tmp_path, monkeypatch)


def test_three_gateways_come_serve_drift_and_go(site: Site) -> None:
    foreign = "pct create 200 local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst --rootfs local:1 --hostname theirs"
    site.shell("pve2", foreign)
    before = site.shell("pve2", "cat /etc/pve/lxc/200.conf; ls -R /var/lib/vz/images/200")
    made = site.applied()
    assert {step.id for step in made.steps if step.id.endswith("#proof")} == {
        f"samba.share.{name}#proof" for name in ("letters", "minutes", "plans", "old")
    }
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in smb(site, "office", "alice", "letters", "put /tmp/news n")
    assert "news" in smb(site, "office", "bob", "letters", "get n -")
    assert "DENIED" in smb(site, "office", "bob", "letters", "put /tmp/news m")
    assert "NT_STATUS" not in smb(site, "drawings", "bob", "plans", "put /tmp/news n; ls")

    number = vmid(site, "office", "pve1")
    site.shell("pve1", f"pct set {number} --memory 300")
    assert site.differences() == ["update lxc.container.office"]
    site.shell("pve1", f"lxc-attach -n {number} -- net conf setparm letters comment hello")
    assert site.differences() == ["update lxc.container.office", "update samba.share.letters"]
    site.applied()
    assert site.shell("pve1", f"pct config {number}").count("memory: 512") == 1
    site.shell("pve1", f"pct stop {number}")
    assert site.differences() == ["create lxc.power.office"]
    site.applied()
    assert site.differences() == []
    assert "news" in smb(site, "office", "bob", "letters", "get n -")

    site.shell("pve1", f"pct stop {number}; pct set {number} --delete mp0; pct start {number}")
    assert {"create lxc.volume.letters", "create lxc.volume.minutes"} & set(site.differences())
    site.applied()
    assert site.differences() == []
    assert "news" in smb(site, "office", "bob", "letters", "get n -"), "its volume is mounted again, and no new one"

    number = vmid(site, "archive", "pve3")
    site.shell("pve3", f"pct stop {number}; pct migrate {number} pve1")
    site.shell("pve1", f"pct start {number}")
    site.shell("pve1", f"until lxc-attach -n {number} -- smbcontrol smbd ping; do sleep 0.2; done")
    assert site.differences() == [], "it has migrated"
    assert "NT_STATUS" not in smb(site, "archive", "alice", "old", "put /tmp/news n")

    number = vmid(site, "drawings", "pve2")
    site.shell("pve2", f"pct stop {number}; pct destroy {number}")
    gone = site.differences()
    assert {"create lxc.container.drawings", "create lxc.volume.plans", "create lxc.power.drawings"} <= set(gone)
    assert all("drawings" in change or "plans" in change for change in gone)
    site.applied()
    assert site.differences() == []

    site.applied(**DESTROY)
    listed = "".join(site.shell(node, "pct list") for node in ("pve1", "pve2", "pve3"))
    assert listed.count("stopped") == 4 and "running" not in listed
    site.applied(purge=True, delete_data=True, **DESTROY)
    left = "".join(site.shell(node, "pct list") for node in ("pve1", "pve2", "pve3"))
    assert "office" in left, "its shares' data stays"
    assert "drawings" not in left and "archive" not in left
    assert site.shell("pve2", "cat /etc/pve/lxc/200.conf; ls -R /var/lib/vz/images/200") == before


def test_what_fails_takes_its_container_back(site: Site) -> None:
    site.edit("site.yaml", "volume: local-btrfs, size: 512MiB", "volume: nosuch, size: 512MiB")
    done = site.apply()
    assert done.outcome.name == "partial"
    assert "nosuch" in done.outcome.problems[0].summary
    assert site.shell("pve2", "pct list").strip() == ""
    assert site.shell("pve2", "ls /var/lib/vz/images") == ""
    assert "NT_STATUS" not in smb(site, "office", "alice", "letters", "ls")


def test_growth_is_in_place_and_shrinking_refused(site: Site) -> None:
    site.applied()
    site.edit("site.yaml", "size: 512MiB, backup: true", "size: 768MiB, backup: true")
    site.edit("site.yaml", "    node: pve1\n", "    node: pve1\n    memory: 768MiB\n")
    assert site.differences() == ["update lxc.container.office", "update lxc.volume.letters"]
    site.applied()
    number = vmid(site, "office", "pve1")
    assert "size=768M" in site.shell("pve1", f"pct config {number} | grep /srv/letters")
    assert "memory: 768" in site.shell("pve1", f"pct config {number}")
    # A machine without CAP_SYS_RESOURCE grows the file system when it is mounted next.
    site.shell("pve1", f"pct stop {number}; pct start {number}")
    assert int(site.shell("pve1", f"lxc-attach -n {number} -- df -B1M --output=size /srv/letters").split()[-1]) > 600
    assert site.differences() == []
    site.edit("site.yaml", "size: 768MiB, backup: true", "size: 256MiB, backup: true")
    assert "would shrink" in site.plan().plan.refused[0].summary


def test_two_sites_at_once_get_ids_of_their_own(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    text = (site.folder / "site.yaml").read_text()
    folders = []
    for number in (1, 2):
        folder = tmp_path / f"site{number}"
        folder.mkdir()
        body = text[: text.index("  drawings:")] + text[text.index("users:") : text.index("  minutes:")]
        body = body.replace("site: lxc", f"site: lxc{number}").replace(".51/24", f".{60 + number}/24")
        (folder / "site.yaml").write_text(body)
        folders.append(folder)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda folder: app.apply(app.plan(folder, app.Options())), folders))
    assert [each.outcome.name for each in done] == ["applied", "applied"], [each.outcome.problems for each in done]
    rows = site.shell("pve1", "pct list").splitlines()[1:]
    assert len({row.split()[0] for row in rows}) == 2
