"""Driving containers on a lab's PVE nodes: what the tests of them share."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

from smbplan.lab import Lab

G = 2**30
# Calls the backend on a node as the API does there; what `out` is at the end comes back.
DRIVER = """
import json, sys
from pathlib import Path
from smbplan.lab.pve.containers import Containers
from smbplan.lab.pve import guest, volumes
c, given, log = Containers(), json.loads(sys.argv[1]), []
storages = volumes.storages(c.root)
archive = lambda kind: next(Path("/var/lib/vz/template/cache").glob(f"*-{kind}_*.tar.zst"))
def write(vmid, config):
    lines = "".join(f"{key}: {value}\\n" for key, value in config.items())
    Path(f"/etc/pve/lxc/{vmid}.conf").write_text(lines + given.get("raw", ""))
out = None
try:
    exec(sys.argv[2])
except Exception as error:
    print(error, *log, sep="\\n", file=sys.stderr)
    sys.exit(1)
print(json.dumps(out))
"""
CREATE = """
volid = c.allocate(storages[given["storage"]], given["vmid"], given["size"])
config = {"rootfs": f"{volid},size=2G", "unprivileged": "1", "ostype": "debian"} | given["config"]
write(given["vmid"], config)
c.create(given["vmid"], config, archive(given["template"]), log.append)
out = config
"""


def call(lab: Lab, code: str, node: str = "pve1", **given: Any) -> Any:
    argv = ["env", "PYTHONPATH=/usr/share/smbplan-lab", "python3", "-B", "-c", DRIVER, json.dumps(given), code]
    done = lab.exec(node, argv)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return json.loads(done.stdout)


def create(
    lab: Lab,
    vmid: int,
    node: str = "pve1",
    template: str = "standard",
    storage: str = "local",
    size: int | None = 2 * G,
    raw: str = "",
    **config: str,
) -> dict[str, str]:
    """A container with an address in the lab's network; its settings."""
    net = f"name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:{vmid % 100:02X},ip={address(lab, vmid)}/24,type=veth"
    config = {"hostname": f"ct{vmid}", "memory": "256", "net0": net} | config
    given = {"vmid": vmid, "config": config, "template": template, "storage": storage, "size": size, "raw": raw}
    made = call(lab, CREATE, node, **given)
    assert isinstance(made, dict)
    return made


def start(lab: Lab, vmid: int, node: str = "pve1") -> float:
    """Start and wait for systemd inside; the seconds it took."""
    began = time.monotonic()
    call(lab, "c.start(given['vmid'], log.append)", node, vmid=vmid)
    eventually(lambda: state(lab, vmid, node) in ("running", "degraded"))
    return time.monotonic() - began


def state(lab: Lab, vmid: int, node: str = "pve1") -> str:
    done = lab.exec(node, ["lxc-attach", "-n", str(vmid), "--clear-env", "--", "systemctl", "is-system-running"])
    return done.stdout.decode().strip()


def address(lab: Lab, vmid: int) -> str:
    return f"198.18.{lab.state.number()}.{120 + vmid % 100}"


def sh(lab: Lab, command: str, node: str = "pve1") -> str:
    done = lab.exec(node, ["sh", "-c", command])
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode().strip()


def attach(lab: Lab, vmid: int, command: str, stdin: str | None = None) -> subprocess.CompletedProcess[bytes]:
    return lab.exec("pve1", ["lxc-attach", "-n", str(vmid), "--clear-env", "--", "sh", "-c", command], stdin)


def inside(lab: Lab, vmid: int, command: str) -> str:
    done = attach(lab, vmid, command)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode().strip()


def eventually(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


IMAGES = "/var/lib/vz/images /mnt/btrfs/images /mnt/pve/shared/images /tank"


def left(lab: Lab) -> dict[str, str]:
    """What a node shows of containers."""
    shown = {
        "mounts": "grep -E '/var/lib/lxc/|/images/' /proc/mounts || :",
        # By each image's inode: other labs have images of the same names.
        "loops": f"find {IMAGES} -name '*.raw' 2>/dev/null | while read -r file; do losetup -j $file; done",
        "groups": "find /sys/fs/cgroup /run/lab-cgroup -type d -regex '.*/lxc[^/]*/[0-9]+' -o -name '7[0-9][0-9]'",
        "links": "ip -o link show | grep -o 'veth[0-9]*i[0-9]' || :",
        "processes": "pgrep -a lxc || :",
        "files": "ls /var/lib/lxc /var/lib/vz/images /mnt/btrfs/images 2>/dev/null | grep '^[0-9]' || :",
    }
    return {name: sh(lab, command) for name, command in shown.items()}


NOTHING = dict.fromkeys(("mounts", "loops", "groups", "links", "processes", "files"), "")
