"""`qm` as a node's shell has it."""

import json
from pathlib import Path

from unit.pve.emulated import Lab
from unit.pve.test_node_commands import Run, run

from smbplan.lab.pve import images

__all__ = ["run"]


def test_a_template_by_hand(lab: Lab, run: Run, tmp_path: Path) -> None:
    image = tmp_path / "debian.qcow2"
    images.write(image, images.Image("qcow2", 2**31))
    made = run("qm", "create", "9000", "--name", "template", "--memory", "512", "--agent", "1", "--serial0", "socket")
    assert (made.returncode, made.stderr) == (0, "")
    imported = run("qm", "disk", "import", "9000", str(image), "local", "--format", "qcow2")
    assert imported.stdout.splitlines()[-1] == ("unused0: successfully imported disk 'local:9000/vm-9000-disk-0.qcow2'")
    set_up = ("--scsi0", "local:9000/vm-9000-disk-0.qcow2", "--boot", "order=scsi0", "-description", "a: b")
    assert run("qm", "set", "9000", *set_up).stdout.startswith("update VM 9000: -boot order=scsi0 -description a: b ")
    shown = run("qm", "config", "9000").stdout.splitlines()
    assert "scsi0: local:9000/vm-9000-disk-0.qcow2,size=2G" in shown
    assert "description: a%3A b" in shown and not any(line.startswith("unused") for line in shown)
    assert run("qm", "importdisk", "9000", str(image), "local", "--target-disk", "scsi1").returncode == 0
    assert "scsi1: local:9000/vm-9000-disk-1.raw,size=2G" in run("qm", "config", "9000").stdout
    assert run("qm", "unlink", "9000", "--idlist", "scsi1", "--force").returncode == 0
    assert run("qm", "template", "9000").returncode == 0
    cloned = run("qm", "clone", "9000", "100", "--name", "files")
    assert cloned.stdout.splitlines()[0] == "creating a clone of VM 9000 with ID 100"
    assert run("qm", "destroy", "9000").stderr.endswith("is still in use by linked cloned\n")
    assert run("qm", "resize", "100", "scsi0", "+1G").returncode == 0
    listed = [line.split() for line in run("qm", "list").stdout.splitlines()]
    assert listed[1] == ["100", "files", "stopped", "512", "3.00", "0"]
    assert run("qm", "destroy", "100", "--purge").returncode == 0


def test_a_machine_that_runs(lab: Lab, run: Run) -> None:
    lab.machine({"agent": "1", "memory": "512", "name": "vm"}, running=True)
    assert run("qm", "status", "200").stdout == "status: running\n"
    assert run("qm", "agent", "200", "ping").stdout == ""
    assert json.loads(run("qm", "guest", "cmd", "200", "get-host-name").stdout) == {"host-name": "dry"}
    done = run("qm", "guest", "exec", "200", "--timeout", "5", "--", "true")
    assert json.loads(done.stdout) == {"exitcode": 0, "exited": 1}
    assert json.loads(run("qm", "guest", "exec", "200", "--synchronous", "0", "true").stdout) == {"pid": 201}
    assert run("qm", "set", "200", "--memory", "1024").returncode == 0
    rows = json.loads(run("qm", "pending", "200").stdout)
    assert {"key": "memory", "value": "512", "pending": "1024"} in rows
    lab.ask("PUT", "/nodes/pve1/qemu/200/config", lock="backup")
    refused = run("qm", "stop", "200")
    assert (refused.returncode, refused.stderr) == (255, "VM is locked (backup)\n")
    assert run("qm", "unlock", "200").returncode == 0
    assert run("qm", "shutdown", "200").returncode == 0
    assert run("qm", "wait", "200", "--timeout", "1").returncode == 0
    missing = run("qm", "start", "999")
    assert (missing.returncode, missing.stderr) == (
        2,
        "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist\n",
    )
