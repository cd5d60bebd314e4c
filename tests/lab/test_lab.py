"""The lab's promises, on a lab of these tests' own: up, real services, reset, and a clean host after down."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.site import guest_share

from smbplan.lab import Lab, LabError, LabStatus

pytestmark = pytest.mark.lab

NAME = "-".join(filter(None, ["t9", os.environ.get("PYTEST_XDIST_WORKER")]))  # one lab for each worker


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    """Whatever an interrupted run left is gone before, and nothing is left after."""
    Lab(NAME).down()
    yield
    Lab(NAME).down()


@pytest.fixture
def lab() -> Iterator[Lab]:
    lab = Lab(NAME)
    lab.up(nodes=2)
    yield lab


def said(lab: Lab, node: str, *argv: str, stdin: str | None = None) -> str:
    done = lab.exec(node, argv, stdin)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode()


def eventually(true: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def inventory() -> dict[str, list[str]]:
    """Everything of the lab that this host shows, found by means other than the lab's own."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    groups = [path for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") for path in Path(top).glob("smbplan-lab/*")]
    loops = Path("/sys/block").glob("loop*/loop/backing_file")
    ours = f"/{NAME}/"
    return {
        "netns": sorted(path.name for path in Path("/run/netns").glob(f"smbplan-{NAME}.*")),
        "mounts": [line for line in mounts if f"smbplan-{NAME}." in line or f"/smbplan/lab{ours}" in line],
        "loops": [text for path in loops if f"smbplan-lab.{NAME}." in (text := path.read_text())],
        "links": [name for _, name in socket.if_nameindex() if name.startswith("smbplan") and alias(name) == NAME],
        "groups": [str(path) for path in groups if path.name == NAME],
        "processes": processes(),
        "files": [str(path) for path in Path("/run/smbplan/lab").glob(f"*{NAME}*")],
    }


def alias(link: str) -> str:
    return Path(f"/sys/class/net/{link}/ifalias").read_text().strip().removeprefix("smbplan-lab:")


def processes() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if f"/smbplan-lab/{NAME}/" in path.read_text():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def nothing() -> dict[str, list[str]]:
    return {key: [] for key in ("netns", "mounts", "loops", "links", "groups", "processes", "files")}


def assert_clean() -> None:
    # Dead processes show until the host's init has collected them: that is its business, not the lab's.
    eventually(lambda: not inventory()["processes"], 5)
    assert inventory() == nothing()


def ssh(lab: Lab, target: str, *command: str) -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-F", str(lab.ssh_config), "-o", "StrictHostKeyChecking=yes", target, *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


def test_ssh_with_the_real_host_keys_as_root_and_as_admin(lab: Lab) -> None:
    assert ssh(lab, "pve1", "hostname").stdout == "pve1\n"
    assert ssh(lab, "pve2", "hostname").stdout == "pve2\n"
    assert ssh(lab, "admin@pve1", "sudo -n id -u; id -un").stdout == "0\nadmin\n"
    lines = lab.state.known_hosts.read_text().splitlines()
    pve1 = next(line for line in lines if line.startswith("pve1,"))
    assert pve1.split()[1:3] == said(lab, "pve1", "cat", "/etc/ssh/ssh_host_ed25519_key.pub").split()[:2]


def test_a_wrong_host_key_is_refused(lab: Lab) -> None:
    keys = lab.state.known_hosts.read_text()
    other = keys.splitlines()[1].split()[2]
    try:
        lab.state.known_hosts.write_text(f"pve1,{lab.status().nodes[0].address} ssh-ed25519 {other}\n")
        assert ssh(lab, "pve1", "true").returncode == 255
    finally:
        lab.state.known_hosts.write_text(keys)


def test_real_samba_serves_the_client(lab: Lab) -> None:
    assert not lab.exec("pve1", ["ls", "/etc/samba/smb.conf"]).stdout
    assert said(lab, "pve1", "systemctl", "is-system-running", "--wait").strip() == "running"
    said(lab, "pve1", "tee", "/etc/samba/smb.conf", stdin=guest_share("/mnt/btrfs"))
    said(lab, "pve1", "systemctl", "enable", "--now", "smbd")
    address = lab.status().nodes[0].address
    put = ["smbclient", f"//{address}/probe", "-N", "-c", "put /etc/hostname it; ls"]
    eventually(lambda: lab.exec("client", put).returncode == 0)
    assert said(lab, "pve1", "cat", "/mnt/btrfs/it") == "client\n"


def test_attributes_acls_and_quotas_are_real(lab: Lab) -> None:
    for folder in ("/root", "/mnt/btrfs"):
        path = f"{folder}/probe-attributes"
        said(lab, "pve2", "touch", path)
        for name in ("user.a", "trusted.a", "security.NTACL"):
            said(lab, "pve2", "setfattr", "-n", name, "-v", "1", path)
        said(lab, "pve2", "setfacl", "-m", "u:admin:rw", path)
        assert "user:admin:rw-" in said(lab, "pve2", "getfacl", "-p", path)
    said(lab, "pve2", "btrfs", "subvolume", "create", "/mnt/btrfs/limited")
    said(lab, "pve2", "btrfs", "qgroup", "limit", "8M", "/mnt/btrfs/limited")
    wrote = lab.exec("pve2", ["dd", "if=/dev/zero", "of=/mnt/btrfs/limited/x", "bs=1M", "count=32", "conv=fsync"])
    assert b"quota exceeded" in wrote.stderr
    said(lab, "pve2", "systemd-run", "--on-active=0.1", "--timer-property=AccuracySec=10ms", "touch", "/root/timed")
    eventually(lambda: lab.exec("pve2", ["ls", "/root/timed"]).returncode == 0)


def test_reset_is_back_to_pristine_with_the_same_keys(lab: Lab) -> None:
    said(lab, "pve1", "sh", "-c", "touch /root/trace /mnt/btrfs/trace; rm /usr/bin/getfacl")
    said(lab, "pve2", "touch", "/root/trace")
    before = {node.name: node.pid for node in lab.status().nodes}
    after = {node.name: node.pid for node in lab.reset("pve1").nodes}
    assert before.pop("pve1") != after.pop("pve1")
    assert before == after
    assert lab.exec("pve1", ["ls", "/root/trace", "/mnt/btrfs/trace"]).stdout == b""
    said(lab, "pve1", "ls", "/usr/bin/getfacl")
    said(lab, "pve2", "ls", "/root/trace")
    assert ssh(lab, "pve1", "hostname").stdout == "pve1\n"


def test_up_repairs_a_killed_machine_and_adds_missing_ones(lab: Lab) -> None:
    pids = {node.name: node.pid for node in lab.status().nodes}
    os.kill(pids["pve2"] or 0, signal.SIGKILL)
    eventually(lambda: state(lab.status(), "pve2") == "stopped")
    status = lab.up(nodes=3)
    assert [(node.name, node.state) for node in status.nodes] == [
        (name, "running") for name in ("pve1", "pve2", "pve3", "client")
    ]
    assert {node.name: node.pid for node in status.nodes}["pve1"] == pids["pve1"]
    assert ssh(lab, "pve3", "hostname").stdout == "pve3\n"


def state(status: LabStatus, node: str) -> str:
    return next(found.state for found in status.nodes if found.name == node)


def attached(image: str) -> bool:
    return any(path.read_text().strip() == image for path in Path("/sys/block").glob("loop*/loop/backing_file"))


def test_down_leaves_nothing_even_after_kills(lab: Lab) -> None:
    # A loop device of the user's own, a daemon started from outside, and a machine whose init is dead.
    image = f"/root/disk-{os.getpid()}"
    said(lab, "pve1", "sh", "-c", f"truncate -s 1M {image}; losetup -f {image}; setsid -f sleep 1000 >&- 2>&-")
    assert attached(image)
    os.kill(next(node.pid for node in lab.status().nodes if node.name == "pve2") or 0, signal.SIGKILL)
    assert inventory()["processes"]
    lab.down()
    assert_clean()
    assert not attached(image)
    lab.down()
    with pytest.raises(LabError, match="no machine"):
        lab.exec("pve1", ["true"])


@pytest.mark.parametrize("after", [0.05, 0.12, 0.2, 0.3, 0.45])
def test_down_is_clean_after_a_killed_up(after: float) -> None:
    up = f"from smbplan.lab import Lab; Lab({NAME!r}).up(nodes=3)"
    process = subprocess.Popen([sys.executable, "-c", up])
    eventually(lambda: Path(f"/run/smbplan/lab/{NAME}").is_dir())
    time.sleep(after)
    process.kill()
    process.wait()
    Lab(NAME).down()
    assert_clean()


def test_up_completes_a_killed_up() -> None:
    up = f"from smbplan.lab import Lab; Lab({NAME!r}).up(nodes=2)"
    process = subprocess.Popen([sys.executable, "-c", up])
    eventually(lambda: Path(f"/run/smbplan/lab/{NAME}").is_dir())
    time.sleep(0.2)
    process.kill()
    process.wait()
    status = Lab(NAME).up(nodes=2)
    assert [node.state for node in status.nodes] == ["running"] * 3
    assert ssh(Lab(NAME), "pve1", "hostname").stdout == "pve1\n"


def test_a_bare_machine_installs_samba_without_a_network() -> None:
    lab = Lab(NAME)
    lab.down()
    lab.up(nodes=1, samba=False, btrfs=False, client=False)
    assert lab.exec("pve1", ["which", "smbd"]).returncode == 1
    said(lab, "pve1", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "install", "samba")
    assert said(lab, "pve1", "systemctl", "is-active", "smbd").strip() == "active"
    lab.down()


def test_zfs_pool(lab: Lab) -> None:
    lab.down()
    lab.up(nodes=1, zfs=True, client=False)
    said(lab, "pve1", "zfs", "create", "tank/projects")
    said(lab, "pve1", "zfs", "set", "quota=32M", "tank/projects")
    assert said(lab, "pve1", "zfs", "get", "-H", "-o", "value", "quota", "tank/projects") == "32M\n"
    lab.down()
    assert_clean()


def test_two_labs_do_not_see_each_other(lab: Lab) -> None:
    other = Lab(f"{NAME}-b")
    try:
        status = other.up(nodes=1, client=False)
        assert status.nodes[0].address != lab.status().nodes[0].address
        ping = ["ping", "-c1", "-W1", status.nodes[0].address]
        assert lab.exec("client", ping).returncode != 0
        other.down()
        assert ssh(lab, "pve1", "true").returncode == 0
    finally:
        other.down()


def test_command_line(lab: Lab) -> None:
    def call(*argv: str) -> subprocess.CompletedProcess[str]:
        entry = "from smbplan.cli.lab import app; app()"
        return subprocess.run([sys.executable, "-c", entry, *argv], capture_output=True, text=True, check=False)

    shown = json.loads(call("status", "--name", NAME, "--format", "json").stdout)
    assert [node["state"] for node in shown["nodes"]] == ["running"] * 3
    assert "pve1     198.18." in call("status", "--name", NAME).stdout
    assert call("exec", "--name", NAME, "pve1", "--", "sh", "-c", "echo hi; exit 7").returncode == 7
    unknown = call("exec", "--name", NAME, "--format", "json", "pve7", "--", "true")
    assert (unknown.returncode, json.loads(unknown.stdout)["errors"][0]["summary"]) == (
        1,
        f"lab `{NAME}` has no machine `pve7`",
    )
    for command in ("up", "down", "status", "reset", "exec"):
        assert "Example: smbplan lab" in call(command, "--help").stdout
