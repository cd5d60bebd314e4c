"""Starting and stopping virtual machines, and the folders that they need."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.pve.emulated import MACHINE, Lab

Start = Callable[..., list[Lab]]
VM = "/nodes/pve1/qemu/200"
DIR = "/cluster/mapping/dir"


def act(lab: Lab, action: str, **params: Any) -> str:
    """A power action's outcome, or why it was refused."""
    status, reason, body = lab.answer("POST", f"{VM}/status/{action}", **params)
    return lab.done(body["data"]) if status == 200 else reason


def current(lab: Lab) -> dict[str, Any]:
    shown: dict[str, Any] = lab.ask("GET", f"{VM}/status/current")
    return shown


def test_up_and_down(lab: Lab) -> None:
    lab.machine({**MACHINE, "serial0": "socket", "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0"})
    assert [act(lab, name) for name in ("reboot", "suspend", "resume", "reset")] == ["VM 200 not running"] * 4
    assert (act(lab, "stop"), act(lab, "shutdown")) == ("OK", "OK")
    assert (act(lab, "start"), act(lab, "start")) == ("OK", "VM 200 already running")
    shown = current(lab)
    assert (shown["status"], shown["qmpstatus"], shown["serial"], "agent" in shown) == ("running", "running", 1, False)
    assert set(shown["nics"]) == {"tap200i0"}
    assert (act(lab, "suspend"), current(lab)["qmpstatus"]) == ("OK", "paused")
    assert {act(lab, "shutdown"), act(lab, "reboot")} == {"VM is paused - cannot shutdown"}
    assert (act(lab, "resume"), act(lab, "reset"), act(lab, "reboot")) == ("OK", "OK", "OK")
    assert (act(lab, "shutdown"), current(lab)["qmpstatus"]) == ("OK", "stopped")


def test_a_guest_that_does_not_go_down(lab: Lab) -> None:
    lab.machine(running=True)
    (lab.machines.folder / "200.stubborn").touch()
    assert act(lab, "shutdown", timeout=1) == "VM quit/powerdown failed - got timeout"
    assert act(lab, "reboot", timeout=1) == "VM quit/powerdown failed - got timeout"
    assert current(lab)["status"] == "running"
    assert (act(lab, "shutdown", timeout=1, forceStop=1), current(lab)["status"]) == ("OK", "stopped")


def test_who_is_not_there_or_does_not_start(lab: Lab) -> None:
    text = "Configuration file 'nodes/pve1/qemu-server/200.conf' does not exist"
    assert (act(lab, "start"), act(lab, "stop")) == (text, text)
    assert act(lab, "shutdown") == "unable to find configuration file for VM 200 on node 'pve1'"
    lab.machine()
    (lab.machines.folder / "200.broken").write_text("start failed: QEMU exited with code 1")
    assert act(lab, "start") == "start failed: QEMU exited with code 1"


def test_folders_are_looked_at_when_a_machine_starts(start: Start, tmp_path: Path) -> None:
    lab = start(("pve1", "pve2"))[0]
    lab.machine({**MACHINE, "virtiofs0": "data,cache=always"})
    assert act(lab, "start") == "Directory ID data does not exist."
    lab.ask("POST", DIR, id="data", map=f"node=pve2,path={tmp_path}/nowhere")  # no path of this node
    assert act(lab, "start") == "No directory mapping for node pve1."
    folder = tmp_path / "data"
    folder.mkdir()
    maps = [f"node=pve1,path={folder}", f"node=pve2,path={tmp_path}/nowhere"]
    lab.ask("PUT", f"{DIR}/data", map=maps, description="d")
    assert act(lab, "start") == "OK"
    assert act(lab, "stop") == "OK"
    folder.rmdir()
    assert act(lab, "start") == f"directory mapping invalid: Path {folder} does not exist"
    folder.touch()
    assert act(lab, "start") == f"directory mapping invalid: Path {folder} exists, but is not a directory"
    lab.ask("DELETE", f"{DIR}/data")  # one that is used can be deleted
    assert act(lab, "start") == "Directory ID data does not exist."


def test_mappings(start: Start, tmp_path: Path) -> None:
    first, second = start(("pve1", "pve2"))
    here = f"node=pve1,path={tmp_path}"
    first.ask("POST", DIR, id="one", map=[here, f"node=pve2,path={tmp_path}/none"])
    shown = first.ask("GET", f"{DIR}/one")
    assert shown["map"] == [here, f"node=pve2,path={tmp_path}/none"]
    assert first.ask("GET", DIR, check_node="pve1")[0]["checks"] == []
    found = first.ask("GET", DIR, check_node="pve2")[0]["checks"]  # the other node looks
    assert found == [{"severity": "error", "message": f"Invalid configuration: Path {tmp_path}/none does not exist\n"}]
    assert first.answer("POST", DIR, id="two", map=[here, here])[1] == "Node 'pve1' is specified 2 times."
    assert first.answer("PUT", f"{DIR}/two", map=here)[1].endswith("dir ID 'two' does not exist")
    text = "update directory mapping failed: missing value for required option 'map'"
    assert first.answer("PUT", f"{DIR}/one", description="x")[1] == text
    assert "detected modified configuration" in first.answer("PUT", f"{DIR}/one", map=here, digest="0" * 40)[1]
    second.ask("PUT", f"{DIR}/one", map=here, description="x", digest=shown["digest"])
    assert first.ask("GET", DIR, check_node="pve2")[0]["checks"] == [
        {"severity": "warning", "message": "No mapping for node pve2."}
    ]
    first.ask("PUT", f"{DIR}/one", map=here, delete="description")
    assert "description" not in first.ask("GET", f"{DIR}/one")
    first.ask("DELETE", f"{DIR}/one")
    assert first.answer("GET", f"{DIR}/one")[1] == "mapping 'one' not found"


@pytest.mark.parametrize("status", ["stopped", "running"])
def test_listings_tell_how_a_machine_is(lab: Lab, status: str) -> None:
    lab.machine(running=status == "running")
    assert [row["status"] for row in lab.ask("GET", "/nodes/pve1/qemu")] == [status]
    assert [row["status"] for row in lab.ask("GET", "/cluster/resources", type="vm")] == [status]
    assert lab.answer("GET", "/cluster/nextid", vmid=200)[0] == 400
    assert lab.answer("POST", "/nodes/pve1/qemu", vmid=200)[1].endswith("VM 200 already exists on node 'pve1'")
