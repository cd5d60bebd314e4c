"""The guest agent, as far as recordings don't show it."""

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from unit.pve.emulated import MACHINE, Lab

from smbplan.lab.pve.machine import AgentError, MachineError

Start = Callable[..., list[Lab]]
AGENT = "/nodes/pve1/qemu/200/agent"


@pytest.fixture
def guest(lab: Lab) -> Lab:
    """A running machine with an agent."""
    lab.machine({**MACHINE, "agent": "1"}, running=True)
    return lab


@pytest.mark.parametrize(
    ("agent", "running", "silent", "text"),
    [
        (None, True, False, "No QEMU guest agent configured"),
        ("1", False, False, "VM 200 is not running"),
        ("1", True, True, "QEMU guest agent is not running"),
        ("0", True, False, "QEMU guest agent is not running"),
    ],
)
def test_an_agent_that_is_not_there(lab: Lab, agent: str | None, running: bool, silent: bool, text: str) -> None:
    lab.machine({**MACHINE, **({"agent": agent} if agent else {})}, running)
    if silent:
        (lab.machines.folder / "200.silent").touch()
    for method, name, params in (
        ("POST", "ping", {}),
        ("GET", "get-osinfo", {}),
        ("POST", "exec", {"command": "true"}),
        ("POST", "file-write", {"file": "/a", "content": ""}),
    ):
        assert lab.answer(method, f"{AGENT}/{name}", **params)[:2] == (500, text)


def test_files_in_pieces(guest: Lab) -> None:
    text = base64.b64encode(bytes(range(256)) * 100).decode()
    guest.ask("POST", f"{AGENT}/file-write", file="/a", content=text, encode=0)
    read = guest.ask("GET", f"{AGENT}/file-read", file="/a")
    assert read["bytes-read"] == 25600
    assert read["content"].encode("latin-1") == bytes(range(256)) * 100
    part = guest.ask("GET", f"{AGENT}/file-read", file="/a", count=3, offset=255, decode=0)
    assert part == {"content": base64.b64encode(b"\xff\x00\x01").decode(), "bytes-read": 3, "truncated": 1}
    # Perl's base64 takes no letter beyond Latin-1, and makes one byte of each within.
    guest.ask("POST", f"{AGENT}/file-write", file="/b", content="ü")
    assert guest.ask("GET", f"{AGENT}/file-read", file="/b", decode=0)["content"] == base64.b64encode(b"\xfc").decode()
    status, reason, _ = guest.answer("POST", f"{AGENT}/file-write", file="/b", content="€")
    assert (status, reason) == (500, "Wide character in subroutine entry")


def test_programs(guest: Lab) -> None:
    seen: list[tuple[int, list[str], bytes]] = []

    def run(vmid: int, argv: list[str], given: bytes) -> tuple[int, bytes, bytes] | None:
        seen.append((vmid, argv, given))
        return None if argv == ["sleep"] else (3, "ä".encode(), b"")

    guest.machines.run = run
    pid = guest.ask("POST", f"{AGENT}/exec", command=["sh", "-c", "x, y"], input_data="in")["pid"]
    assert seen == [(200, ["sh", "-c", "x, y"], b"in")]
    shown = guest.ask("GET", f"{AGENT}/exec-status", pid=pid)
    assert shown == {"exited": 1, "exitcode": 3, "out-data": "Ã¤", "out-truncated": 0}
    assert guest.answer("GET", f"{AGENT}/exec-status", pid=pid)[0] == 500  # it is told once
    later = guest.ask("POST", f"{AGENT}/exec", command="sleep")["pid"]
    assert later != pid
    assert guest.ask("GET", f"{AGENT}/exec-status", pid=later) == {"exited": 0}
    status, _, body = guest.answer("POST", f"{AGENT}/exec", command="true", input_data="x" * 65537)
    assert (status, set(body["errors"])) == (400, {"input-data"})


def test_an_agent_of_ones_own(guest: Lab) -> None:
    def answer(command: str, arguments: Mapping[str, Any]) -> Any:
        if command == "guest-ping":
            return {}
        if command == "guest-get-time":
            return time.time_ns()
        if command == "guest-get-vcpus":
            raise AgentError(f"VM command '{command}' failed - got timeout")
        raise AgentError(f"{command} is disabled")

    guest.machines.agents[200] = answer
    assert guest.ask("GET", f"{AGENT}/get-time")["result"] > 0
    error = {"class": "GenericError", "desc": "guest-get-users is disabled"}
    assert guest.ask("GET", f"{AGENT}/get-users") == {"result": {"error": error}}
    assert guest.ask("POST", AGENT, command="get-users") == {"result": {"error": error}}
    text = "VM command 'guest-get-vcpus' failed - got timeout"
    assert guest.answer("GET", f"{AGENT}/get-vcpus")[1] == text
    assert guest.answer("POST", f"{AGENT}/exec", command="x")[1] == "Agent error: guest-exec is disabled"


@pytest.mark.parametrize("dialect", ["8.4", "9.1"])
def test_rights(start: Start, dialect: str) -> None:
    lab = start(dialect=dialect)[0]
    lab.machine({**MACHINE, "agent": "1"}, running=True)
    lab.token("a@pve!t")
    agent = "VM.Monitor" if dialect == "8.4" else "VM.GuestAgent.{}"

    def may(role: str, method: str, name: str, **params: Any) -> bool:
        lab.ask("POST", "/access/roles", roleid=f"r{name}", privs=role)
        lab.give("/vms/200", "a@pve", f"r{name}")
        status, reason, _ = lab.answer(method, f"{AGENT}/{name}", "a@pve!t", **params)
        lab.ask("DELETE", f"/access/roles/r{name}")
        assert status != 403 or "/vms/200" in reason
        return status != 403

    assert not may("VM.Audit", "POST", "ping")
    assert may(agent.format("Audit"), "POST", "ping")
    assert may(agent.format("Unrestricted"), "POST", "exec", command="true")
    assert may(agent.format("FileWrite"), "POST", "file-write", file="/a", content="b")
    if dialect == "9.1":
        assert not may("VM.GuestAgent.Audit", "POST", "exec", command="true")
        assert not may("VM.GuestAgent.FileRead", "POST", "file-write", file="/a", content="b")
        assert may("VM.GuestAgent.FileRead", "GET", "file-read", file="/a", count=1)
    else:
        assert lab.answer("GET", f"{AGENT}/file-read", file="/a", count=1)[0] == 400


def test_the_monitor(guest: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "/nodes/pve1/qemu/200/monitor"
    guest.tester()
    assert guest.ask("POST", place, command="info block") == "info block\r\n"
    assert guest.ask("POST", place, "tester@pve!t0", command="info block") == "info block\r\n"
    assert guest.answer("POST", place, "tester@pve!t0", command="device_add x")[1] == "root-only command 'device_add'"
    assert guest.answer("POST", place, "tester@pve!t0", command="stop")[1] == "Permission check failed (/, Sys.Modify)"
    assert guest.answer("POST", place, "tester@pve!t1", command="info block")[0] == 403

    def broken(vmid: int, line: str) -> str:
        raise MachineError("got timeout")

    monkeypatch.setattr(guest.machines, "monitor", broken)
    assert guest.ask("POST", place, command="info block") == "ERROR: got timeout\n"
    assert guest.done(guest.ask("POST", "/nodes/pve1/qemu/200/status/stop")) == "OK"
    assert guest.ask("POST", place, command="info block") == "ERROR: VM 200 not running\n"
