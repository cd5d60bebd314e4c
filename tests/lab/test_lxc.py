"""examples/lxc on real containers: three gateways on three nodes of a cluster that behaves like Proxmox VE."""

from pathlib import Path

import pytest
from lab import lxc, snapshot
from lab.lxc import smb, vmid
from lab.site import Site

from smbplan import app
from smbplan.errors import Refused
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
DESTROY = {"destroy": True, "allow": frozenset({"many-deletes"})}


@pytest.fixture
def site(cluster: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return lxc.prepared(cluster, tmp_path, monkeypatch)


SHARES = ("letters", "minutes", "plans", "exports", "old", "exchange")


def test_three_gateways_come_serve_drift_and_go(site: Site) -> None:
    foreign = "pct create 200 local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst --rootfs local:1 --hostname theirs"
    site.shell("pve2", foreign)
    before = {node: snapshot.take(site.lab, node) for node in lxc.NODES.values()}
    made = site.applied()
    proofs = {step.id for step in made.steps if step.id.endswith("#proof")}
    assert proofs == {f"samba.share.{name}#proof" for name in SHARES}
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in smb(site, "office", "alice", "letters", "put /tmp/news n")
    assert "news" in smb(site, "office", "bob", "letters", "get n -")
    assert "DENIED" in smb(site, "office", "bob", "letters", "put /tmp/news m")
    for gateway, share in (("drawings", "plans"), ("drawings", "exports"), ("office", "exchange")):
        assert "NT_STATUS" not in smb(site, gateway, "bob", share, "put /tmp/news n; ls")

    drifts(site)
    comes_back(site)
    site.applied(delete_data=True, **DESTROY)
    listed = "".join(site.shell(node, "pct list") for node in lxc.NODES.values())
    assert listed.count("stopped") == 4 and "running" not in listed
    site.applied(purge=True, delete_data=True, **DESTROY)
    left = "".join(site.shell(node, "pct list") for node in lxc.NODES.values())
    assert "office" in left, "its shares' data stays"
    assert "drawings" not in left and "archive" not in left
    number = vmid(site, "office", "pve1")
    site.shell("pve1", f"pct destroy {number}; rm -r /srv/exports /var/lib/smbplan 2>/dev/null || true")
    site.shell("pve2", "rm -r /srv/exports")
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node


def drifts(site: Site) -> None:
    number = vmid(site, "office", "pve1")
    site.shell("pve1", f"pct set {number} --memory 300")
    assert site.differences() == ["update lxc.container.office"]
    site.shell("pve1", f"lxc-attach -n {number} -- net conf setparm letters comment hello")
    assert site.differences() == ["update lxc.container.office", "update samba.share.letters"]
    site.applied()
    assert site.shell("pve1", f"pct config {number}").count("memory: 512") == 1
    site.shell("pve1", f"pct stop {number}")
    assert site.differences() == ["create guest.power.office"]
    with pytest.raises(Refused, match=r"--target samba.share.letters is in office, whose guest does not run"):
        site.plan(targets=("samba.share.letters",))
    site.applied()
    assert site.differences() == []
    assert "news" in smb(site, "office", "bob", "letters", "get n -")

    mounts = site.shell("pve1", f"pct config {number} | grep -oE '^mp[0-9]+' | paste -sd,").strip()
    site.shell("pve1", f"pct stop {number}; pct set {number} --delete {mounts}; pct start {number}")
    assert {f"create lxc.volume.{name}" for name in ("letters", "minutes")} < set(site.differences())
    assert "create lxc.bind.exchange" in site.differences()
    site.applied()
    assert site.differences() == []
    assert "news" in smb(site, "office", "bob", "letters", "get n -"), "its volume is mounted again, and no new one"
    assert "news" in smb(site, "office", "bob", "exchange", "get n -")


def comes_back(site: Site) -> None:
    number = vmid(site, "archive", "pve3")
    site.shell("pve3", f"pct stop {number}; pct migrate {number} pve1")
    site.shell("pve1", f"pct start {number}")
    site.shell("pve1", f"until lxc-attach -n {number} -- smbcontrol smbd ping; do sleep 0.2; done")
    assert site.differences() == [], "it has migrated"
    assert "NT_STATUS" not in smb(site, "archive", "alice", "old", "put /tmp/news n")

    number = vmid(site, "drawings", "pve2")
    site.shell("pve2", f"pct stop {number}; pct destroy {number}")
    gone = site.differences()
    assert {f"create {kind}.drawings" for kind in ("lxc.container", "lxc.idmap", "guest.power")} < set(gone)
    assert all(any(word in change for word in ("drawings", "plans", "exports")) for change in gone)
    site.applied()
    assert site.differences() == []
    site.shell("client", "ip neigh flush all")  # it has another hardware address
    assert "news" in smb(site, "drawings", "bob", "plans", "get n -"), "what lies on the node stays"


def test_what_fails_takes_its_share_back_and_leaves_its_gateway(site: Site) -> None:
    site.edit("site.yaml", "volume: local, size: 256MiB", "volume: nosuch, size: 256MiB")
    shares = ("share.letters", "share.minutes")
    assert "storage nosuch takes no disks of containers on pve1" in site.plan(targets=shares).plan.refused[0].summary
    site.edit("site.yaml", "volume: nosuch, size: 256MiB", "volume: local-btrfs, size: 256MiB")
    planned = site.plan(targets=shares)
    site.shell("pve1", "pvesm set local-btrfs --disable 1")
    done = app.apply(planned)
    assert done.outcome.name == "partial"
    assert "storage 'local-btrfs' is disabled" in done.outcome.problems[0].summary
    assert "minutes" not in site.shell("pve1", f"pct config {vmid(site, 'office', 'pve1')} | grep ^mp")
    assert "NT_STATUS" not in smb(site, "office", "alice", "letters", "ls")
    assert "BAD_NETWORK_NAME" in smb(site, "office", "alice", "minutes", "ls")


def test_what_was_destroyed_comes_back_at_once(site: Site) -> None:
    """The lease of the run that turned it off is still in it; of what belonged to its shares, nothing is."""
    plans = ("share.plans",)
    site.applied(targets=plans)
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in smb(site, "drawings", "alice", "plans", "put /tmp/news n")
    assert site.applied(**DESTROY).outcome.warnings == []
    site.applied(targets=("guest.power.drawings",))
    enter = f"lxc-attach -n {vmid(site, 'drawings', 'pve2')} --"
    assert "smbplan" not in site.shell("pve2", f"{enter} ls -R /etc/systemd/system")
    site.applied(targets=plans)
    assert site.differences(targets=plans) == []
    site.shell("client", "ip neigh flush all")  # it has another hardware address
    assert "news" in smb(site, "drawings", "bob", "plans", "get n -")


def test_growth_is_in_place_and_shrinking_refused(site: Site) -> None:
    letters = ("share.letters",)
    site.applied(targets=letters)
    site.edit("site.yaml", "size: 512MiB, backup: true", "size: 768MiB, backup: true")
    site.edit("site.yaml", "    node: pve1\n", "    node: pve1\n    memory: 768MiB\n")
    assert site.differences(targets=letters) == ["update lxc.container.office", "update lxc.volume.letters"]
    site.applied(targets=letters)
    number = vmid(site, "office", "pve1")
    assert "size=768M" in site.shell("pve1", f"pct config {number} | grep /srv/letters")
    assert "memory: 768" in site.shell("pve1", f"pct config {number}")
    # A machine without CAP_SYS_RESOURCE grows the file system when it is mounted next.
    site.shell("pve1", f"pct stop {number}; pct start {number}")
    assert int(site.shell("pve1", f"lxc-attach -n {number} -- df -B1M --output=size /srv/letters").split()[-1]) > 600
    assert site.differences(targets=letters) == []
    site.edit("site.yaml", "size: 768MiB, backup: true", "size: 256MiB, backup: true")
    assert "would shrink" in site.plan(targets=letters).plan.refused[0].summary


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
