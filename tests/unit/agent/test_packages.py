"""Packages: what an agent that dies at work leaves on its host, and who ends that."""

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from unit.agent.owners import taken

from smbplan.drivers.agent import core, main, system
from smbplan.drivers.agent.core import Refused
from smbplan.drivers.agent.system import Packages

STEP = {"undo": False}  # an option that a step has, and a look has not
NONE: dict[str, Any] = {"installed": []}
SAMBA = {"installed": ["samba"]}
SIMULATED = "Inst libtdb1 (1.4.8-2 localhost [amd64])\nInst samba [1] (2 localhost [amd64])\nConf tzdata (1 x [all])\n"


class Host:
    """What apt-get and systemctl do on it."""

    def __init__(self, home: Path) -> None:
        self.policy, self.conf, self.home = home / "policy-rc.d", home / "smb.conf", home
        self.status = {"tzdata": "installed"}
        self.commands: list[str] = []
        self.during: Callable[[], object] = lambda: None

    def run(self, argv: Sequence[str], env: object = None, fds: Sequence[int] = ()) -> str:
        words = [word for word in argv if not word.startswith(("-", "DPkg::", "Dpkg::"))]
        self.commands.append(" ".join(words))
        if "-s" in argv:
            return SIMULATED
        if words == ["dpkg"]:  # --configure -a
            (self.home / "updates" / "0001").unlink()
            raise Refused("samba: dependency problems, leaving unconfigured")
        if words[0] == "dpkg":
            return f"/lib/systemd/system/{words[1]}d.service\n"
        if words[:2] == ["apt-get", "install"]:
            assert fds, "apt-get has the lock, too"
            self.status |= {"libtdb1": "installed", "samba": "unpacked"}
            self.conf.write_text("[printers]\n")
            self.during()
            self.status["samba"] = "installed"
        if words[:2] == ["apt-get", "purge"]:
            self.status = {name: state for name, state in self.status.items() if name not in words}
        return ""

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.policy, Packages.BEGUN, Packages.ADDED) if path.exists())

    def added(self) -> Any:
        return json.loads(Packages.ADDED.read_text())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    (tmp_path / "packaged.conf").write_text("[printers]\n")
    for name, value in (
        ("POLICY", host.policy),
        ("LOCK", tmp_path / "run" / "packages"),
        ("SMB_CONF", host.conf),
        ("PACKAGED", tmp_path / "packaged.conf"),
        ("UPDATES", tmp_path / "updates"),
        ("LONGEST", 0.3),
        ("run", host.run),
        ("_enabled", lambda units: [True] * len(units)),
        ("read_text", lambda path: dpkg(host) if path == Path("/var/lib/dpkg/status") else core.read_text(path)),
    ):
        monkeypatch.setattr(system, name, value)
    for name in ("ADDED", "BEGUN"):
        monkeypatch.setattr(Packages, name, tmp_path / f"{name}.json")
    return host


def dpkg(host: Host) -> str:
    return "".join(f"Package: {name}\nStatus: install ok {state}\n" for name, state in host.status.items())


def killed(host: Host) -> None:
    """An agent dies while its apt-get unpacks, which ends with it."""
    pid = os.fork()
    if not pid:
        try:
            host.during = lambda: os.kill(os.getpid(), signal.SIGKILL)
            Packages().set("samba", NONE, SAMBA, STEP)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    host.status |= {"libtdb1": "installed", "samba": "unpacked"}
    host.conf.write_text("[printers]\n")
    assert host.left() == ["BEGUN.json", "policy-rc.d"]


@pytest.fixture
def apt(host: Host) -> Iterator["subprocess.Popen[bytes]"]:
    """One that goes on, and has the lock of an agent that is no more."""
    killed(host)
    with system.LOCK.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = subprocess.Popen(["sleep", "60"], pass_fds=[file.fileno()])
    yield process
    process.kill()
    process.wait()


def test_an_installation_starts_nothing_and_leaves_what_it_brought_disabled(host: Host) -> None:
    host.during = lambda: host.commands.append(host.policy.read_text())
    Packages().set("samba", NONE, SAMBA, STEP)
    assert f"#!/bin/sh\n{system.MARK}\nexit 101\n" in host.commands
    assert host.commands[-1] == "systemctl disable libtdb1d.service sambad.service"
    assert host.left() == ["ADDED.json"] and host.added() == ["libtdb1", "samba"] and not host.conf.exists()
    Packages().set("samba", SAMBA, NONE, STEP)
    assert host.left() == [] and host.status == {"tzdata": "installed"}


def test_a_look_at_a_healthy_host_changes_nothing(host: Host) -> None:
    assert Packages().get("samba tzdata", {}) == {"installed": ["tzdata"]}
    assert not system.LOCK.exists() and host.left() == [] and host.commands == []


def test_a_policy_of_somebody_else_is_left_alone(host: Host) -> None:
    host.policy.write_text("#!/bin/sh\nexit 101\n")
    Packages().set("samba", NONE, SAMBA, STEP)
    Packages().get("samba", STEP)
    assert host.policy.read_text() == "#!/bin/sh\nexit 101\n"


def test_what_a_killed_agent_has_left_goes_with_the_next_look(host: Host) -> None:
    killed(host)
    host.status["nginx"] = "installed"  # by hand, meanwhile
    assert Packages().get("samba", {}) == NONE
    assert host.left() == ["ADDED.json"] and host.added() == ["libtdb1", "samba"] and not host.conf.exists()
    Packages().set("samba", NONE, SAMBA, STEP)
    assert host.commands[-1] == "systemctl disable sambad.service", "it was unpacked, and not configured before"
    Packages().set("samba", SAMBA, NONE, STEP)
    assert host.status == {"tzdata": "installed", "nginx": "installed"}


def test_who_purges_next_ends_what_a_killed_agent_has_begun(host: Host) -> None:
    killed(host)
    Packages().set("samba", SAMBA, NONE, STEP)
    assert host.left() == [] and host.status == {"tzdata": "installed"}


@pytest.mark.parametrize("next_", ["install", "purge"])
def test_a_dpkg_that_was_cut_short_is_mended_before_what_came_is_counted(host: Host, next_: str) -> None:
    killed(host)
    known, host.status = host.status, {"tzdata": "installed"}
    (host.home / "updates").mkdir()
    (host.home / "updates" / "0001").write_text("what dpkg has done")
    assert Packages().get("samba", {}) == NONE
    assert host.left() == ["BEGUN.json"], "nobody knows yet what came"
    host.status = known
    if next_ == "install":
        Packages().set("samba", NONE, SAMBA, STEP)
        assert host.added() == ["libtdb1", "samba"]
    Packages().set("samba", SAMBA, NONE, STEP)
    assert host.left() == [] and host.status == {"tzdata": "installed"}


def test_the_end_of_a_run_clears_what_a_killed_agent_has_left(host: Host, home: Path) -> None:
    taken("alice")
    killed(host)
    request = {"verb": "finish", "site": "office", "run": "run-alice", "token": "alice", "everything": False}
    assert main._answer_to(request) == {"ok": None}
    assert host.left() == ["ADDED.json"]


def test_a_look_leaves_what_an_apt_that_goes_on_needs(host: Host, apt: "subprocess.Popen[bytes]") -> None:
    assert Packages().get("samba", {}) == NONE
    assert host.left() == ["BEGUN.json", "policy-rc.d"]
    apt.kill()
    apt.wait()
    Packages().get("samba", {})
    assert host.left() == ["ADDED.json"]


@pytest.mark.usefixtures("apt")
def test_a_step_and_the_end_of_a_run_wait_for_an_apt_that_goes_on(host: Host, home: Path) -> None:
    taken("alice")
    request = {"verb": "finish", "site": "office", "run": "run-alice", "token": "alice", "everything": False}
    assert "apt-get is at work" in main._answer_to(request)["error"]["summary"]
    for change in (lambda: Packages().get("samba", STEP), lambda: Packages().set("samba", NONE, SAMBA, STEP)):
        with pytest.raises(Refused, match="apt-get is at work"):
            change()
    assert host.left() == ["BEGUN.json", "policy-rc.d"]


def test_a_step_goes_on_when_that_apt_has_ended(
    host: Host, apt: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "LONGEST", 30.0)
    monkeypatch.setattr(system.time, "sleep", lambda _: (apt.kill(), apt.wait()))
    assert Packages().get("samba", STEP) == NONE and host.left() == ["ADDED.json"]


def test_a_policy_that_can_not_be_removed_fails_no_look(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(host)

    def denied(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", denied)
    assert Packages().get("samba", {}) == NONE
