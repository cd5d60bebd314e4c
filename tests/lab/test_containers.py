"""Real containers on the lab's PVE nodes: what they are promised, what they may not do, and what they leave."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.containers import NOTHING, G, address, attach, call, create, eventually, inside, left, sh, start, state
from lab.site import guest_share

from smbplan.lab import Lab

pytestmark = pytest.mark.lab

NAME = "-".join(filter(None, ["ct", os.environ.get("PYTEST_XDIST_WORKER")]))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    lab = Lab(NAME)
    lab.down()
    lab.up(nodes=2, pve=True, zfs=True)
    yield lab
    lab.down()


@pytest.fixture
def lab(cluster: Lab) -> Lab:
    """As new: without containers."""
    cluster.up(nodes=2, pve=True, zfs=True)
    cluster.reset()
    return cluster


def test_a_start_that_failed_once_takes_no_id_for_good(lab: Lab) -> None:
    create(lab, 719)
    sh(lab, "mkdir -p /sys/fs/cgroup/lxc.monitor/719 /sys/fs/cgroup/lxc/719/ns")
    start(lab, 719)
    call(lab, "c.stop(719, log.append)")
    conf = "/etc/pve/lxc/719.conf"
    sh(lab, f"cp {conf} /tmp/kept && echo 'lxc.environment.nosuch.key = 1' >> {conf}")
    with pytest.raises(RuntimeError, match="startup for container '719' failed"):
        start(lab, 719)
    sh(lab, f"cp /tmp/kept {conf}")
    assert sh(lab, "ls -d /sys/fs/cgroup/lxc.monitor/719 /sys/fs/cgroup/lxc/719 2>/dev/null || true") == ""
    start(lab, 719)


def test_an_unprivileged_container_with_systemd_and_an_address(lab: Lab) -> None:
    create(lab, 701, nameserver="198.18.0.9", searchdomain="lab.test", features="nesting=1")
    took = start(lab, 701)
    assert took < 10, took
    found = call(lab, "out = c.status(701)")
    assert found["running"] and found["maxmem"] == 256 * 2**20 and 0 < found["mem"] < found["maxmem"]
    assert 100 * 2**20 < found["disk"] < found["maxdisk"] == 2 * G
    assert sh(lab, f"cat /proc/{found['pid']}/uid_map").split() == ["0", "100000", "65536"]
    eventually(lambda: lab.exec("client", ["ping", "-c1", "-W1", address(lab, 701)]).returncode == 0)
    with pytest.raises(ConnectionRefusedError):  # by the container itself: the host reaches it
        socket.create_connection((address(lab, 701), 9), timeout=2)
    assert inside(lab, 701, "hostname; id -u; cat /etc/resolv.conf").splitlines() == [
        "ct701",
        "0",
        "search lab.test",
        "nameserver 198.18.0.9",
    ]
    failed = inside(lab, 701, "systemctl --failed --plain --no-legend")
    assert failed in ("", failed if "sys-kernel-debug" in failed else "")
    other = attach(lab, 701, "cat; echo error >&2; exit 7", stdin="given")
    assert (other.stdout, other.stderr, other.returncode) == (b"given", b"error\n", 7)


def test_the_cluster_shares_its_configuration(lab: Lab) -> None:
    create(lab, 702)
    assert "rootfs: local:702/vm-702-disk-0.raw,size=2G" in sh(lab, "cat /etc/pve/nodes/pve1/lxc/702.conf", "pve2")
    assert sh(lab, "ls /etc/pve/lxc /etc/pve/local/lxc", "pve2").split() == ["/etc/pve/local/lxc:", "/etc/pve/lxc:"]
    sh(lab, "mkdir /etc/pve/priv/lock/one")
    assert lab.exec("pve2", ["mkdir", "/etc/pve/priv/lock/one"]).returncode == 1


def test_a_container_on_the_shared_storage_changes_nodes(lab: Lab) -> None:
    create(lab, 715, storage="shared")
    start(lab, 715)
    inside(lab, 715, "touch /root/here")
    call(lab, "c.shutdown(715, 20, log.append)")
    sh(lab, "mv /etc/pve/nodes/pve1/lxc/715.conf /etc/pve/nodes/pve2/lxc/")
    start(lab, 715, "pve2")
    assert sh(lab, "lxc-attach -n 715 -- ls /root/here", "pve2") == "/root/here"
    with pytest.raises(RuntimeError, match="does not exist"):
        call(lab, "c.start(715, log.append)")
    call(lab, "c.stop(715, log.append); c.destroy(715); c.free('shared:715/vm-715-disk-0.raw')", "pve2")
    assert sh(lab, "ls /mnt/pve/shared/images") == ""


def test_the_hosts_limits_are_raised_while_a_cluster_is_up(lab: Lab) -> None:
    # Dozens of containers share what the kernel allows one user.
    path = Path("/proc/sys/fs/inotify/max_user_instances")
    assert int(path.read_text()) >= 8192
    lab.down()
    others = [
        name for name in Path("/run/smbplan/lab").glob("*/machines/*/options.json") if '"pve": true' in name.read_text()
    ]
    assert others or int(path.read_text()) < 8192


EAT = "systemd-run --quiet --wait --collect python3 -c 'b = bytearray({size} << 20)'"
SPIN = "python3 -c 'import time; n=0; e=time.time()+1.5\nwhile time.time() < e: n+=1\nprint(time.process_time())'"


def test_memory_cpu_and_processes_are_limited_and_memory_changes_at_once(lab: Lab) -> None:
    before = create(lab, 703, memory="128", swap="0", cpulimit="0.3", raw="lxc.cgroup2.pids.max: 60\n")
    start(lab, 703)
    assert attach(lab, 703, EAT.format(size=40)).returncode == 0
    assert attach(lab, 703, EAT.format(size=300)).returncode != 0
    after = before | {"memory": "512"}
    assert call(lab, "out = c.changed(703, given['a'], given['b'])", a=before, b=after) == []
    assert attach(lab, 703, EAT.format(size=300)).returncode == 0
    spent = float(inside(lab, 703, f"systemd-run --quiet --wait --collect --pipe {SPIN}"))
    assert spent < 0.9, spent
    forks = "systemd-run --quiet --wait --collect --pipe sh -c 'for i in $(seq 80); do sleep 5 & done; wait'"
    assert b"Cannot fork" in attach(lab, 703, forks).stderr


def test_bind_mounts_show_shifted_ids(lab: Lab) -> None:
    sh(lab, "mkdir -p /srv/x; touch /srv/x/theirs /srv/x/nobodys; chown 101000:100100 /srv/x/theirs; chmod 777 /srv/x")
    create(lab, 704, mp0="/srv/x,mp=/srv/deep/x", mp1="/srv/x,mp=/ro,ro=1")
    start(lab, 704)
    assert inside(lab, 704, "cd /srv/deep/x; stat -c %u:%g theirs nobodys").split() == ["1000:100", "65534:65534"]
    inside(lab, 704, "touch /srv/deep/x/ours")
    assert sh(lab, "stat -c %u:%g /srv/x/ours") == "100000:100000"
    assert attach(lab, 704, "touch /ro/no").returncode != 0
    assert inside(lab, 704, "stat -c %u /srv/deep") == "0"


def test_an_id_map_of_its_own(lab: Lab) -> None:
    raw = "".join(
        f"lxc.idmap: {kind} {line}\n" for kind in "ug" for line in ("0 100000 1000", "1000 1000 1", "1001 101001 64535")
    )
    sh(lab, "mkdir /srv/x; chown 1000:1000 /srv/x; for f in /etc/subuid /etc/subgid; do echo root:1000:1 >> $f; done")
    create(lab, 705, mp0="/srv/x,mp=/x", raw=raw)
    start(lab, 705)
    assert inside(lab, 705, "stat -c %u:%g /x") == "1000:1000"


def may_resize() -> bool:
    """Whether a mounted ext4 can grow here: CAP_SYS_RESOURCE, which not every test machine's root has."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd:"))
    return bool(int(line.split()[1], 16) >> 24 & 1)


def test_volumes_as_mount_points_are_plugged_in_and_grow_while_it_runs(lab: Lab) -> None:
    first = call(lab, "out = c.allocate(storages['local'], 706, given['size'])", size=64 * 2**20)
    assert first == "local:706/vm-706-disk-0.raw"
    before = create(lab, 706, mp0=f"{first},mp=/data,size=64M")
    assert before["rootfs"] == "local:706/vm-706-disk-1.raw,size=2G"
    start(lab, 706)
    size = "df --output=size -BM {} | tail -1 | tr -d ' M'"
    assert inside(lab, 706, "stat -c %u:%g /data; touch /data/x; stat -f -c %T /data").split() == ["0:0", "ext2/ext3"]
    assert int(inside(lab, 706, size.format("/data"))) < 64
    call(lab, "c.resize(given['v'], given['s'])", v=first, s=512 * 2**20)
    call(lab, "c.resize(given['v'], given['s'])", v="local:706/vm-706-disk-1.raw", s=3 * G)
    if not may_resize():
        call(lab, "c.stop(706, log.append)")
        start(lab, 706)
    assert int(inside(lab, 706, size.format("/data"))) > 400
    assert int(inside(lab, 706, size.format("/"))) > 2800
    second = call(lab, "out = c.allocate(storages['local'], 706, given['size'])", size=64 * 2**20)
    before |= {"mp0": f"{first},mp=/data,size=512M"}  # as growing it notes
    after = before | {"mp1": f"{second},mp=/new/data,size=64M"}
    assert call(lab, "out = c.changed(706, given['a'], given['b'])", a=before, b=after) == []
    assert inside(lab, 706, "touch /new/data/x; stat -c %u /new /new/data/x").split() == ["0", "0"]
    # Unplugging waits for a restart, as on PVE, and so does another place.
    moved = after | {"mp0": f"{first},mp=/elsewhere,size=512M"}
    del moved["mp1"]
    assert call(lab, "out = c.changed(706, given['a'], given['b'])", a=after, b=moved) == ["mp0", "mp1"]
    call(lab, "write(706, given['b']); c.shutdown(706, 20, log.append); c.free(given['v'])", b=moved, v=second)
    start(lab, 706)
    assert inside(lab, 706, "ls /elsewhere/x; ls /data /new/data") == "/elsewhere/x\n/data:\n\n/new/data:"
    with pytest.raises(RuntimeError, match="unable to shrink"):
        call(lab, "c.resize(given['v'], 4096)", v=first)


def test_network_changes_while_it_runs(lab: Lab) -> None:
    before = create(lab, 707)
    start(lab, 707)
    other = address(lab, 757)
    after = before | {
        "net0": before["net0"].replace(address(lab, 707), other),
        "net1": "name=eth1,bridge=vmbr0,hwaddr=BC:24:11:00:01:07,type=veth",
    }
    assert call(lab, "out = c.changed(707, given['a'], given['b'])", a=before, b=after) == []
    eventually(lambda: lab.exec("client", ["ping", "-c1", "-W1", other]).returncode == 0)
    assert lab.exec("client", ["ping", "-c1", "-W1", address(lab, 707)]).returncode != 0
    assert "eth1" in inside(lab, 707, "ip -br link")
    assert call(lab, "out = c.changed(707, given['b'], given['a'])", a=before, b=after) == []
    assert "eth1" not in inside(lab, 707, "ip -br link")
    later = before | {"nameserver": "198.18.0.9", "features": "nesting=1", "onboot": "1", "hostname": "other"}
    assert call(lab, "out = c.changed(707, given['a'], given['b'])", a=before, b=later) == ["features", "nameserver"]


@pytest.mark.parametrize("storage", ["local", "local-btrfs", "local-zfs"])
@pytest.mark.parametrize("size", [2 * G, None])
def test_stop_start_shutdown_and_destroy_leave_nothing(lab: Lab, storage: str, size: int | None) -> None:
    if storage == "local-zfs":
        size = size and G // 2
    config = create(lab, 708, storage=storage, size=size)
    volid = config["rootfs"].partition(",")[0]
    start(lab, 708)
    call(lab, "c.stop(708, log.append)")
    stopped = left(lab)
    assert stopped == NOTHING | {"files": stopped["files"]}
    assert call(lab, "out = c.status(708)")["running"] is False
    start(lab, 708)
    call(lab, "c.shutdown(708, 20, log.append)")
    stopped = left(lab)
    assert stopped == NOTHING | {"files": stopped["files"]}
    start(lab, 708)
    inside(lab, 708, "systemctl poweroff")
    eventually(lambda: not call(lab, "out = c.status(708)")["running"])
    call(lab, "c.destroy(708); c.free(given['v'])", v=volid)
    eventually(lambda: left(lab) == NOTHING)
    assert sh(lab, "zfs list -H -o name").split() == ["tank"]


def test_what_cannot_start_says_why_and_leaves_nothing(lab: Lab) -> None:
    create(lab, 709, mp0="/srv/missing,mp=/x")
    with pytest.raises(RuntimeError, match=r"(?s)startup for container '709' failed.*'/srv/missing' does not exist"):
        call(lab, "c.start(709, log.append)")
    stopped = left(lab)
    assert stopped == NOTHING | {"files": stopped["files"]}


def test_reset_takes_containers_away_quickly(lab: Lab) -> None:
    create(lab, 710)
    create(lab, 711, node="pve2")
    start(lab, 710)
    start(lab, 711, "pve2")
    lab.reset("pve1")
    assert sh(lab, "ls /etc/pve/nodes/*/lxc", "pve2").split() == [
        "/etc/pve/nodes/pve1/lxc:",
        "/etc/pve/nodes/pve2/lxc:",
        "711.conf",
    ]
    assert state(lab, 711, "pve2") in ("running", "degraded")
    began = time.monotonic()
    lab.reset()
    assert time.monotonic() - began < 10
    assert left(lab) == NOTHING
    assert sh(lab, "ls /etc/pve/nodes/*/lxc").split() == ["/etc/pve/nodes/pve1/lxc:", "/etc/pve/nodes/pve2/lxc:"]


@pytest.mark.parametrize("killed", [False, True])
def test_down_with_running_containers_leaves_the_host_clean(lab: Lab, killed: bool) -> None:
    vmids = (716, 717) if killed else (712, 713)
    for vmid in vmids:
        create(lab, vmid)
        start(lab, vmid)
    assert len(host(vmids)["loops"]) == 2
    if killed:
        os.kill(next(node.pid for node in lab.status().nodes if node.name == "pve1") or 0, signal.SIGKILL)
    lab.down()
    eventually(lambda: host(vmids) == {"loops": [], "groups": [], "links": [], "processes": [], "mounts": []}, 5)


def host(vmids: tuple[int, ...]) -> dict[str, list[str]]:
    """What the host shows of this lab's containers, found by means other than the lab's own."""
    loops = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    processes = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            processes += [path.parent.name] if f"/smbplan-lab/{NAME}/" in path.read_text() else []
        except OSError:
            continue
    return {
        "loops": [text for text in loops if any(f"vm-{vmid}-disk" in text for vmid in vmids)],
        "groups": [
            str(path)
            for pattern in (f"smbplan-lab/{NAME}", f"*/smbplan-lab/{NAME}")
            for path in Path("/sys/fs/cgroup").glob(pattern)
        ],
        "links": [path.name for vmid in vmids for path in Path("/sys/class/net").glob(f"veth{vmid}*")],
        "processes": processes,
        "mounts": [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"/lab/{NAME}/" in line],
    }


@pytest.mark.parametrize("template", ["samba", "standard"])
def test_samba_in_a_container_serves_the_client(lab: Lab, template: str) -> None:
    create(lab, 714, template=template)
    start(lab, 714)
    if template == "standard":
        assert attach(lab, 714, "which smbd").returncode == 1
        inside(lab, 714, "DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install samba")
    begin = "mkdir -p /srv/probe; cat > /etc/samba/smb.conf; systemctl restart smbd"
    done = attach(lab, 714, begin, guest_share("/srv/probe"))
    assert done.returncode == 0, done.stderr.decode()
    put = ["smbclient", f"//{address(lab, 714)}/probe", "-N", "-c", "put /etc/hostname it; ls"]
    eventually(lambda: lab.exec("client", put).returncode == 0)
    assert inside(lab, 714, "cat /srv/probe/it") == "client"
