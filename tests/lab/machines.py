"""Driving virtual machines on a lab's PVE nodes: what the tests of them share."""

import json
from typing import Any

from smbplan.lab import Lab

G = 2**30
# Calls the machines of a node as the API does there; what `out` is at the end comes back.
DRIVER = """
import json, sys, time
from pathlib import Path
from smbplan.lab.pve import guestconf, vm_files, volumes
from smbplan.lab.pve.machines import Machines
from smbplan.lab.pve.vm_agent import Agent
from smbplan.lab.pve.vm_qemu import Place
m, given, log = Machines(), json.loads(sys.argv[1]), []
storages = volumes.storages(m.root)
def run(vmid, script, timeout=60):
    return Agent(Place(vmid).agent).run(script, timeout).strip()
def clone(vmid, full, storage, **config):
    number = 8999 + int(m.node.removeprefix("pve"))
    template = guestconf.parse(Path(f"/etc/pve/qemu-server/{number}.conf").read_text()).values
    del template["template"], template["description"]
    disk = m.cloned(f"local:{number}/base-{number}-disk-0.qcow2", storages[storage], vmid, full, "qcow2", log.append)
    drive = m.disk(storages[storage], vmid, 4 << 20, "qcow2", "cloudinit")
    own = {"scsi0": f"{disk},size=2G", "ide2": f"{drive},media=cdrom", "name": f"vm{vmid}"}
    return template | own | config
def timed(call, *words):
    began = time.monotonic()
    call(*words)
    return time.monotonic() - began
out = None
try:
    exec(sys.argv[2])
except Exception as error:
    print(error, *log, sep="\\n", file=sys.stderr)
    sys.exit(1)
print(json.dumps(out))
"""


def call(lab: Lab, code: str, node: str = "pve1", **given: Any) -> Any:
    argv = ["env", "PYTHONPATH=/usr/share/smbplan-lab", "python3", "-B", "-c", DRIVER, json.dumps(given), code]
    done = lab.exec(node, argv)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return json.loads(done.stdout)


def clone(lab: Lab, vmid: int, *, full: bool = False, storage: str = "local", node: str = "pve1", **config: str) -> Any:
    """A machine's settings, with disks of its own and an address in the lab's network."""
    network = {
        "net0": f"virtio=BC:24:11:00:01:{vmid % 100:02X},bridge=vmbr0",
        "ipconfig0": f"ip={address(lab, vmid)}/24",
    }
    words = {"vmid": vmid, "full": full, "storage": storage} | network | config
    return call(lab, "out = clone(**given)", node, **words)


def address(lab: Lab, vmid: int) -> str:
    return f"198.18.{lab.state.number()}.{120 + vmid % 100}"


def inside(lab: Lab, vmid: int, script: str, node: str = "pve1") -> str:
    said = call(lab, "out = run(given['vmid'], given['script'])", node, vmid=vmid, script=script)
    assert isinstance(said, str)
    return said


def left(lab: Lab, node: str = "pve1") -> dict[str, str]:
    """What a node shows of machines that run."""
    shown = {
        "processes": "pgrep -a 'qemu|virtiofsd' || :",
        "taps": "ip -o link show | grep -o 'tap[0-9]*i[0-9]' || :",
        "files": "ls /run/qemu-server 2>/dev/null | grep -v -e '[.]log$' -e '-log$' || :",
    }
    return {name: lab.exec(node, ["sh", "-c", command]).stdout.decode().strip() for name, command in shown.items()}


NOTHING = dict.fromkeys(("processes", "taps", "files"), "")
