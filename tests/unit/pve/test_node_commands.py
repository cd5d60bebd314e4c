"""`pct`, `pvesm`, `pveum` and `pvesh` as a node's shell has them."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from unit.pve.emulated import TEMPLATE, Lab

from smbplan.lab.pve import cli
from smbplan.lab.pve.__main__ import install_commands


@dataclass
class Result:
    """What a program did."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Result]


@pytest.fixture
def run(lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a program of the node, in this process to save starting Python."""
    site = lab.site
    places = {"PVE_ROOT": site.root, "PVE_LOCAL": site.local, "PVE_NODE": site.node, "PVE_BACKEND": "dry"}
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))

    def call(*words: str, given: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        code = cli.main(words)
        return Result(code, *capfd.readouterr())

    return call


def test_the_installed_programs_need_nothing_but_python(lab: Lab, tmp_path: Path) -> None:
    places = {"PVE_ROOT": lab.site.root, "PVE_LOCAL": lab.site.local, "PVE_NODE": "pve1", "PVE_BACKEND": "dry"}
    code = Path(__file__).parents[3]
    install_commands(tmp_path / "sbin", code, {name: str(value) for name, value in places.items()})
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [tmp_path / "sbin" / "pvesh", "get", "/version"]
    result = subprocess.run(command, env={"PATH": path}, capture_output=True, check=True)
    assert json.loads(result.stdout)["release"] == "9.1"
    assert sorted(found.name for found in (tmp_path / "sbin").iterdir()) == ["pct", "pvesh", "pvesm", "pveum", "qm"]


def test_a_container_from_create_to_destroy(lab: Lab, run: Run) -> None:
    made = run("pct", "create", "100", f"local:vztmpl/{TEMPLATE}", "--rootfs", "local:1", "--features=nesting=1")
    assert (made.returncode, made.stderr) == (0, "")
    assert run("pct", "list").stdout.split() == ["VMID", "Status", "Lock", "Name", "100", "stopped", "CT100"]
    assert run("pct", "start", "100").returncode == 0
    assert run("pct", "status", "100").stdout == "status: running\n"
    # What no token may: a bind mount.
    assert run("pct", "set", "100", "--mp5", "/srv/t,mp=/mnt/t", "-description", "a: b").returncode == 0
    shown = run("pct", "config", "100").stdout.splitlines()
    assert "mp5: /srv/t,mp=/mnt/t" in shown
    assert "description: a%3A b%0A" in shown
    assert lab.ask("GET", "/nodes/pve1/lxc/100/config")["mp5"] == "/srv/t,mp=/mnt/t"
    lab.ask("PUT", "/nodes/pve1/lxc/100/config", lock="backup")
    refused = run("pct", "stop", "100")
    assert (refused.returncode, refused.stderr) == (255, "CT is locked (backup)\n")
    assert run("pct", "unlock", "100").returncode == 0
    assert run("pct", "stop", "100").returncode == 0
    assert run("pct", "destroy", "100", "--purge").returncode == 0
    assert run("pct", "list").stdout == ""


def test_refusals(run: Run) -> None:
    missing = run("pct", "start", "999")
    assert (missing.returncode, missing.stderr) == (
        2,
        "Configuration file 'nodes/pve1/lxc/999.conf' does not exist\n",
    )
    wrong = run("pct", "set", "999", "--memory", "x")
    assert wrong.returncode == 255
    assert wrong.stderr == "400 Parameter verification failed.\nmemory: type check ('integer') failed - got 'x'\n"
    assert run("pct", "nosuch").returncode == 255


def test_volumes(lab: Lab, run: Run) -> None:
    assert run("pvesm", "status").stdout.splitlines()[1].split()[:3] == ["local", "dir", "active"]
    made = run("pvesm", "alloc", "local", "100", "", "1G")
    volid = "local:100/vm-100-disk-0.raw"
    assert made.stdout == f"successfully created '{volid}'\n"
    assert run("pvesm", "path", volid).stdout == f"{lab.vz}/images/100/vm-100-disk-0.raw\n"
    assert volid in run("pvesm", "list", "local", "--vmid", "100").stdout
    assert run("pvesm", "free", volid).returncode == 0
    assert not list((lab.vz / "images" / "100").iterdir())


def test_a_role_a_user_and_a_token(lab: Lab, run: Run) -> None:
    assert run("pveum", "role", "add", "Smb", "--privs", "VM.Audit,Sys.Audit").returncode == 0
    assert run("pveum", "role", "modify", "Smb", "--privs", "Pool.Audit", "--append").returncode == 0
    assert run("pveum", "user", "add", "smb@pve").returncode == 0
    token = run("pveum", "user", "token", "add", "smb@pve", "one", "--privsep", "0", "--output-format", "json")
    assert token.returncode == 0, token.stderr
    assert run("pveum", "acl", "modify", "/", "--users", "smb@pve", "--roles", "Smb").returncode == 0
    secret = json.loads(token.stdout)["value"]
    lab.client.keys["smb"] = {"Authorization": f"PVEAPIToken=smb@pve!one={secret}"}
    held = lab.ask("GET", "/access/permissions", "smb", path="/")["/"]
    assert held == {"Pool.Audit": 1, "Sys.Audit": 1, "VM.Audit": 1}
    assert run("pveum", "passwd", "smb@pve", given="a-password\n").returncode == 0
    assert lab.ask("POST", "/access/ticket", "", username="smb@pve", password="a-password")["username"] == "smb@pve"
    assert json.loads(run("pvesh", "get", "/version").stdout)["release"] == "9.1"
