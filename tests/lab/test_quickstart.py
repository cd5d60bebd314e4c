"""examples/quickstart on real machines: apply, no drift, every seeded change found, nothing left."""

import pytest
from lab import snapshot
from lab.site import Site

pytestmark = pytest.mark.lab


def test_apply_serves_and_a_second_plan_is_empty(site: Site) -> None:
    site.applied()
    assert site.differences() == []
    assert site.smb("alice", "projects", "mkdir plans; ls").count("plans") == 1
    assert "ACCESS_DENIED" in site.smb("carol", "projects", "mkdir nope")
    assert "ACCESS_DENIED" in site.smb("bob", "books", "ls", node="pve2")
    assert "NT_STATUS" not in site.smb("", "welcome", "ls")
    assert "ACCESS_DENIED" in site.smb("", "welcome", "mkdir nope")
    assert "LOGON_FAILURE" in site.smb("mallory", "old-projects", "ls", node="pve2")


def test_destroy_leaves_the_machines_as_before(site: Site) -> None:
    before = {node: snapshot.take(site.lab, node) for node in ("pve1", "pve2")}
    site.applied()
    site.applied(destroy=True)
    assert site.differences(destroy=True) == []
    parked = site.shell("pve1", "getent passwd alice")
    assert "!" in parked
    site.applied(destroy=True, purge=True)
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node


SEEDS = {
    "share's parameter": ("net conf setparm projects comment hacked", "update samba.share.projects"),
    "share opened to all": ("net conf setparm projects 'guest ok' yes", "update samba.share.projects"),
    "share gone": ("net conf delshare home", "create samba.share.home"),
    "mode": ("chmod 0777 /mnt/btrfs/projects", "update btrfs.subvolume.projects"),
    "acl": ("setfacl -m u:carol:rwx /mnt/btrfs/projects", "update btrfs.subvolume.projects"),
    "owner": ("chown bob /srv/welcome", "update directory.welcome"),
    "quota": ("btrfs qgroup limit none /mnt/btrfs/projects", "update btrfs.subvolume.projects"),
    "home gone": ("rmdir /srv/homes/bob", "create directory.home.bob"),
    "user's name": ("usermod -c Mallory alice", "adopt posix.user.files.alice"),
    "member": ("gpasswd -d alice engineers", "update posix.group.files.engineers"),
    "password": ("printf 'x\\nx\\n' | smbpasswd -s alice", "update samba.user.files.alice"),
    "disabled": ("smbpasswd -d bob", "update samba.user.files.bob"),
    "smb.conf": (
        "sed -i 's/mandatory/disabled/; s/NTLMv2/x/; $a # x' /etc/samba/smb.conf",
        "update samba.config.files",
    ),
    "smbd stopped": ("systemctl stop smbd", "update service.files.smbd"),
    "smbd disabled": ("systemctl disable -q smbd", "update service.files.smbd"),
    "timer": ("systemctl stop smbplan-snapshot-projects.timer", "update service.projects.snapshot"),
    "unit file": (
        "sed -i s/hourly/weekly/ /etc/systemd/system/smbplan-snapshot-projects.timer",
        "update file.projects.snapshot-timer",
    ),
    "script": ("echo exit >> /usr/local/lib/smbplan/recycle", "update file.files.recycle"),
    "mdns": ("rm /etc/avahi/services/smbplan.service", "create file.files.mdns"),
    "wsdd": ("systemctl stop wsdd", "update service.files.wsdd"),
}


def test_drift_finds_each_seeded_change_and_apply_repairs_it(site: Site) -> None:
    site.applied()
    clean = snapshot.take(site.lab, "pve1")
    for command, _ in SEEDS.values():
        site.shell("pve1", command)
    assert sorted(set(site.differences())) == sorted({difference for _, difference in SEEDS.values()})
    site.applied(adopt=True, allow=frozenset({"acl-widening", "many-updates"}))
    assert site.differences() == []
    after = snapshot.differences(clean, snapshot.take(site.lab, "pve1"))
    assert [line for line in after if "account shadow" not in line] == []
