"""Real virtual machines on the lab's PVE nodes: how they start, what is plugged into them, and what they leave."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from lab.containers import eventually, sh
from lab.machines import NOTHING, G, address, call, clone, inside, left

from smbplan.lab import Lab
from smbplan.lab.template import vmid

pytestmark = pytest.mark.lab

NAME = "-".join(filter(None, ["vm", os.environ.get("PYTEST_XDIST_WORKER")]))
QUICK = 45.0  # seconds on a machine that does other things, too; alone it takes eight


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Each test has machines of its own numbers, and removes them."""
    lab = Lab(NAME)
    lab.down()
    lab.up(nodes=2, pve=True, vms=True)
    yield lab
    lab.down()
    assert [path.name for path in Path("/proc").glob("[0-9]*") if f"/lab/{NAME}/" in _words(path)] == []


def _words(process: Path) -> str:
    try:
        return (process / "cgroup").read_text()
    except OSError:
        return ""


def start(lab: Lab, number: int, config: dict[str, str], node: str = "pve1") -> tuple[float, str]:
    """The seconds that it took, and what was logged."""
    code = "out = [timed(m.start, given['n'], given['c'], log.append), ' '.join(log)]"
    took, said = call(lab, code, node, n=number, c=config)
    return took, said


def removed(lab: Lab, number: int, config: dict[str, str], node: str = "pve1") -> None:
    """Stopped and without disks; nothing of it is left on the node."""
    drives = [text for key, text in config.items() if key.startswith(("scsi", "ide")) and ":" in text]
    volumes = [text.partition(",")[0] for text in drives]
    code = (
        "m.stop(given['n'], log.append) if m.status(given['n'])['running'] else None; [m.free(v) for v in given['v']]"
    )
    call(lab, code, node, n=number, v=volumes)
    assert left(lab, node) == NOTHING
    assert str(number) not in sh(lab, "ls /var/lib/vz/images; ls /mnt/pve/shared/images 2>/dev/null || :", node)


def test_every_node_has_a_template(lab: Lab) -> None:
    for node in ("pve1", "pve2"):
        text = sh(lab, f"cat /etc/pve/nodes/{node}/qemu-server/{vmid(node)}.conf")
        assert text.endswith("template: 1")
        assert text.startswith('#<!-- smbplan {"template"%3A{"version"%3A1,"samba"%3A"4.')
        volume = f"local:{vmid(node)}/base-{vmid(node)}-disk-0.qcow2"
        assert f"scsi0: {volume},size=2G\n" in text
        assert call(
            lab, "out = [m.size(given['v']), vm_files.untouched(m.disks.path(given['v']))]", node, v=volume
        ) == [
            2 * G,
            True,
        ]


def test_a_clone_is_up_in_seconds_with_what_cloud_init_was_told(lab: Lab) -> None:
    key = Path(lab.state.key.with_suffix(".pub")).read_text()
    config = clone(lab, 301, nameserver="198.18.0.9", searchdomain="lab.test", sshkeys=quote(key))
    call(lab, "m.resize(301, given['v'], 5 << 30)", v=config["scsi0"].partition(",")[0])
    took, said = start(lab, 301, config)
    assert "restored in" in said
    assert took < QUICK, said
    eventually(lambda: lab.exec("client", ["ping", "-c1", "-W1", address(lab, 301)]).returncode == 0)
    look = "hostname; hostname -f; cloud-init status; df --output=size -BG / | tail -1; systemctl --failed"
    shown = inside(lab, 301, look)
    assert shown.split()[:5] == ["vm301", "vm301.lab.test", "status:", "done", "5G"]
    assert "0 loaded units" in shown
    assert "nameserver 198.18.0.9" in inside(lab, 301, "cat /etc/resolv.conf")
    words = [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        f"IdentityFile={lab.state.key}",
    ]
    ssh = ["ssh", *(word for option in words for word in ("-o", option)), f"root@{address(lab, 301)}", "id", "-un"]
    assert subprocess.run(ssh, capture_output=True, text=True, check=False).stdout == "root\n"
    assert abs(float(inside(lab, 301, "date +%s.%N")) - time.time()) < 5
    removed(lab, 301, config)


def test_two_clones_have_nothing_in_common(lab: Lab) -> None:
    configs = {302: clone(lab, 302, full=True), 303: clone(lab, 303, node="pve2", storage="shared", full=True)}
    for number, node in ((302, "pve1"), (303, "pve2")):
        assert "restored in" in start(lab, number, configs[number], node)[1]
    own = "cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; cat /proc/sys/kernel/random/uuid"
    one, two = (inside(lab, number, own, node).split() for number, node in ((302, "pve1"), (303, "pve2")))
    assert len(one) == 3
    assert not set(one) & set(two)
    removed(lab, 302, configs[302])
    removed(lab, 303, configs[303], "pve2")


MAPPING = "dir: data\n\tmap node=pve1,path=/mnt/btrfs/data\n\nother\n\tmap node=pve2,path=/mnt/btrfs/data\n"


def test_a_folder_of_the_node_with_acls_and_attributes(lab: Lab) -> None:
    sh(lab, "mkdir -p /etc/pve/mapping /mnt/btrfs/data; cat > /etc/pve/mapping/directory.cfg <<'X'\n" + MAPPING + "X")
    config = clone(lab, 304, virtiofs0="data,cache=always,expose-acl=1")
    for wrong, why in (("nosuch", "cannot find mapping id 'nosuch'"), ("other", "no directory mapping entry")):
        with pytest.raises(RuntimeError, match=why):
            start(lab, 304, config | {"virtiofs0": wrong})
    sh(lab, "mv /mnt/btrfs/data /mnt/btrfs/away")
    with pytest.raises(RuntimeError, match="Path /mnt/btrfs/data does not exist"):
        start(lab, 304, config)
    assert left(lab) == NOTHING
    sh(lab, "mv /mnt/btrfs/away /mnt/btrfs/data")
    start(lab, 304, config)
    write = (
        "mount -t virtiofs data /mnt; echo it > /mnt/f; setfacl -m u:1234:rwx /mnt/f; setfattr -n user.a -v b /mnt/f"
    )
    inside(lab, 304, write)
    shown = sh(lab, "cd /mnt/btrfs/data; cat f; getfacl -pn f; getfattr --only-values -n user.a f")
    assert shown.startswith("it\n")
    assert "user:1234:rwx" in shown
    assert shown.endswith("b")
    removed(lab, 304, config)


def test_changes_of_one_that_runs(lab: Lab) -> None:
    before = clone(lab, 305)
    start(lab, 305, before)
    disk = call(lab, "out = m.disk(storages['local'], 305, 1 << 30, 'qcow2')")
    more = {"scsi1": f"{disk},serial=smbplan-x,size=1G", "net1": "virtio=BC:24:11:00:02:05,bridge=vmbr0"}
    after = before | more
    late = {"cores": "1", "description": "x"}
    assert call(lab, "out = m.changed(305, given['a'], given['b'])", a=before, b=after | late) == ["cores"]
    device = "/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_drive-scsi1"
    inside(lab, 305, f"until [ -e {device} ]; do sleep 0.1; done; mkfs.ext4 -q {device}; ip link show eth1")
    assert "smbplan-x" in inside(lab, 305, "lsblk -ndo SERIAL")
    call(lab, "m.resize(305, given['v'], 2 << 30)", v=disk)
    inside(lab, 305, f"until [ $(blockdev --getsize64 {device}) = {2 * G} ]; do sleep 0.1; done")
    for verb in ("create", "delete"):
        call(lab, "m.snapshot(305, given['v'], given['verb'], 's1')", v=disk, verb=verb)
    inside(lab, 305, f"mount {device} /mnt; echo kept > /mnt/f; umount /mnt; echo too > /root/f; sync")
    assert call(lab, "out = m.changed(305, given['a'], given['b'])", a=after, b=before) == []
    assert "eth1" not in inside(lab, 305, "ip -br link; ls /dev/sd*")
    assert call(lab, "m.pause(305); out = m.status(305)['qmpstatus']") == "paused"
    with pytest.raises(RuntimeError, match="QEMU guest agent is not running"):
        call(lab, "m.agent(305, 'guest-ping', {}, 1)")
    assert call(lab, "m.resume(305); out = m.monitor(305, 'info status')").strip() == "VM status: running"
    call(lab, "m.shutdown(305, 60, log.append)")
    assert left(lab) == NOTHING
    removed(lab, 305, after)


def test_an_agent_that_never_answers_and_an_image_that_is_none(lab: Lab) -> None:
    volume = call(lab, "out = m.disk(storages['local'], 306, 1 << 30, 'raw')")
    config = {"agent": "1", "scsi0": f"{volume},size=1G", "boot": "order=scsi0", "memory": "64"}
    start(lab, 306, config)
    with pytest.raises(RuntimeError, match="QEMU guest agent is not running"):
        call(lab, "m.agent(306, 'guest-ping', {}, 1)")
    with pytest.raises(RuntimeError, match="got timeout"):
        call(lab, "m.shutdown(306, 1, log.append)")
    with pytest.raises(RuntimeError, match="VM 306 already running"):
        start(lab, 306, config)
    removed(lab, 306, config)
    with pytest.raises(RuntimeError, match=r"volume 'local:306.*' does not exist"):
        start(lab, 306, config)
    assert left(lab) == NOTHING


def test_disks_are_named_imported_linked_and_kept_while_they_are_needed(lab: Lab) -> None:
    code = """
source = Path("/var/lib/vz/upload.qcow2")
source.write_bytes(vm_files.BASE.read_bytes())
one = m.imported(storages["shared"], 307, source, "qcow2", log.append)
kind = vm_files.untouched(m.disks.path(one))
base = m.base(one)
link = m.cloned(base, storages["shared"], 308, False, "qcow2", log.append)
try:
    m.free(base)
except Exception as error:
    said = str(error)
def content():
    shown = vm_files.run("qemu-io", "-c", "read -v 0 512", m.disks.path(link))
    return [row for row in shown.splitlines() if row.startswith("0000")]
before = content()
m.snapshot(308, link, "create", "s1")
vm_files.run("qemu-io", "-c", "write -P 7 0 64k", m.disks.path(link))
written = content()
m.snapshot(308, link, "revert", "s1")
back = before == content() != written
m.snapshot(308, link, "delete", "s1")
raw = m.disk(storages["local-btrfs"], 307, 1 << 20, "raw")
m.resize(307, raw, 1 << 21)
out = [back, one, kind, base, link, said, raw, m.size(raw), str(m.disks.path(raw))]
for volume in (link, base, base, raw):
    m.free(volume)
source.unlink()
"""
    assert call(lab, code) == [
        True,
        "shared:307/vm-307-disk-0.qcow2",
        True,
        "shared:307/base-307-disk-0.qcow2",
        "shared:307/base-307-disk-0.qcow2/308/vm-308-disk-0.qcow2",
        "base volume 'base-307-disk-0.qcow2' is still in use by linked cloned",
        "local-btrfs:307/vm-307-disk-0.raw",
        2**21,
        "/mnt/btrfs/images/307/vm-307-disk-0/disk.raw",
    ]
    assert sh(lab, "ls /mnt/pve/shared/images; ls /mnt/btrfs/images") == ""
