"""Two people, two machines, one site: who works, who waits, and who puts back what the other one has left."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab import lxc, snapshot
from lab.faults import differences, nodes
from lab.site import Site

from smbplan import app
from smbplan.drivers import fleet
from smbplan.drivers.agent.lease import SILENT
from smbplan.errors import Refused
from smbplan.lab import Lab
from smbplan.stale import STALE

pytestmark = pytest.mark.lab
NODES = ("pve1", "pve2")
LEASES = "/var/lib/smbplan/lease"
PROXMOX = "/etc/pve/priv"
# As two people become root by sudo, wherever these tests are run.
SUDO = "from pathlib import Path; from smbplan.drivers import turn; turn.LOGIN = Path('/dev/null')"
PROGRAM = f"{SUDO}; from smbplan.cli.main import run; run()"
Started = subprocess.Popen[str]


class Controller:
    """A machine from which smbplan is used: its own state, the site's definitions."""

    def __init__(self, site: Site, home: Path) -> None:
        self.site, self.home = site, home
        self.environment = {**os.environ, "SMBPLAN_STATE": str(home), "SUDO_USER": home.name}

    def start(self, verb: str, *words: str) -> Started:
        yes = ("--yes",) if verb in ("apply", "destroy") else ()
        argv = [sys.executable, "-c", PROGRAM, verb, str(self.site.folder), *yes, *words]
        return subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,
        )

    def says(self, verb: str, *words: str) -> tuple[int, str]:
        process = self.start(verb, *words)
        out, err = process.communicate()
        return process.returncode, out + err

    def recovers(self, *words: str) -> str:
        """With what outcome."""
        process = self.start("recover", "--format", "json", *words)
        out, err = process.communicate()
        assert process.returncode == 0, out + err
        return str(json.loads(out)["outcome"])

    def started(self, lines: int, *words: str) -> Started:
        """An apply whose journal has come to so many lines, halted there."""
        before = set(self.home.glob("*/runs/*"))
        process = self.start("apply", *words)
        for _ in range(20_000):
            found = [path / "journal.jsonl" for path in set(self.home.glob("*/runs/*")) - before]
            if found and found[0].exists() and found[0].read_text().count("\n") >= lines:
                process.send_signal(signal.SIGSTOP)
                return process
            time.sleep(0.005)
            if process.poll() is not None:
                break
        raise AssertionError(process.communicate())

    def killed(self, lines: int, *words: str) -> None:
        process = self.started(lines, *words)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def alice(site: Site, tmp_path: Path) -> Controller:
    return Controller(site, tmp_path / "alice")


@pytest.fixture
def bob(site: Site, tmp_path: Path) -> Controller:
    return Controller(site, tmp_path / "bob")


@pytest.fixture
def resumed() -> Iterator[Callable[[Started], tuple[int, str]]]:
    """What one that was halted says in the end."""

    def wait(process: Started) -> tuple[int, str]:
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate()
        return process.returncode, out + err

    yield wait


@pytest.fixture
def containers(machines: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """examples/lxc on three nodes of Proxmox VE."""
    lab = Lab(f"{machines.name}-pve")
    lab.down()
    lab.up(nodes=3, pve=True)
    yield lxc.prepared(lab, tmp_path, monkeypatch)
    lab.down()


def silent(site: Site, seconds: float = SILENT + 5, path: str = LEASES, machines: tuple[str, ...] = NODES) -> None:
    """As if nothing had been heard for so long."""
    for node in machines:
        site.shell(node, f"sleep 0.3; touch -d '{seconds:.0f} seconds ago' {path} 2>/dev/null || true")


def test_of_two_one_works_and_the_other_one_is_told_who_where_and_since_when(
    site: Site, alice: Controller, bob: Controller, resumed: Callable[[Started], tuple[int, str]]
) -> None:
    first = alice.started(60)
    for verb in ("apply", "plan", "recover"):
        code, said = bob.says(verb)
        assert code == 1, said
        assert "is being changed by root for alice@" in said and f"(process {first.pid})" in said, said
        assert f"since {time.strftime('%Y-%m-%d')}" in said and "run 20" in said, said
    code, said = resumed(first)
    assert code == 0, said
    assert site.differences() == []
    assert bob.says("apply")[0] == 0
    assert site.shell("pve1", f"ls {LEASES} /var/lib/smbplan/journal 2>/dev/null || true") == "", "nothing of it stays"


def test_of_two_that_begin_together_one_works(site: Site, alice: Controller, bob: Controller) -> None:
    """Whoever wins; the other one changes nothing, or comes when all is done."""
    for _ in range(3):
        both = [each.start("apply") for each in (alice, bob)]
        said = [process.communicate() for process in both]
        codes = [process.returncode for process in both]
        assert 0 in codes and set(codes) <= {0, 1}, said
        for code, words in zip(codes, said, strict=True):
            assert code == 0 or "is being changed by" in words[1] or "stale" in words[1], words
        assert site.differences() == []
        assert alice.says("destroy")[0] == 0


def test_who_planned_before_another_one_has_applied_changes_nothing(site: Site, alice: Controller) -> None:
    """All of its steps would be done already; and if it failed then, it would take the other one's work back."""
    planned = site.plan()
    assert alice.says("apply")[0] == 0
    with pytest.raises(Refused) as refused:
        app.apply(planned)
    assert {trouble.summary for trouble in refused.value.troubles} == {STALE}
    assert site.differences() == []
    assert site.shell("pve1", f"ls {LEASES} /var/lib/smbplan/journal 2>/dev/null || true") == ""


def test_whoever_waits_for_another_one_is_told_whom_it_has_met(
    site: Site, alice: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "MEETING", 60.0)
    planned, first = site.plan(), alice.started(100)
    going_on = threading.Timer(1.0, first.send_signal, [signal.SIGCONT])
    going_on.start()
    with pytest.raises(Refused) as refused:
        app.apply(planned)
    going_on.join()
    assert first.wait() == 0
    assert f"{STALE} by root for alice@" in refused.value.troubles[0].summary
    assert site.differences() == []


@pytest.mark.parametrize("lines", [30, 100])
def test_what_one_has_left_another_one_puts_back(site: Site, alice: Controller, bob: Controller, lines: int) -> None:
    before = nodes(site, NODES)
    alice.killed(lines)
    code, said = bob.says("recover")
    assert code == 1 and "is being changed by root for alice@" in said, "it may go on"
    silent(site, 70)
    code, said = bob.says("apply")
    assert code == 1 and "nothing was heard of it for 7" in said and "try again in" in said, said
    silent(site)
    for verb in ("plan", "apply"):
        code, said = bob.says(verb)
        assert code == 1 and "was cut short: root for alice@" in said and "smbplan recover" in said, said
    assert bob.recovers() == "rolled_back"
    assert differences(before, nodes(site, NODES)) == []
    assert bob.says("recover")[1].startswith("Nothing to recover")

    assert bob.says("apply")[0] == 0
    done = nodes(site, NODES)
    alice.recovers()
    assert differences(done, nodes(site, NODES)) == [], "what bob has made is not alice's to put back"
    assert alice.says("plan", "--detailed-exitcode")[0] == 0


def test_what_one_has_done_wholly_another_one_keeps(site: Site, alice: Controller, bob: Controller) -> None:
    """It died when all was done, before it could say so."""
    dies = "from smbplan.drivers.fleet import Fleet; Fleet.ended = lambda *_: os._exit(9)"
    script = f"import os; {dies}; from smbplan.cli.main import run; run()"
    argv = [sys.executable, "-c", script, "apply", str(site.folder), "--yes"]
    died = subprocess.run(argv, env=alice.environment, capture_output=True, text=True, check=False)
    assert died.returncode == 9, died
    silent(site)
    assert bob.says("plan")[0] == 1
    assert bob.recovers() == "applied"
    assert bob.says("plan", "--detailed-exitcode")[0] == 0


def test_who_comes_back_from_sleep_changes_nothing_any_more(
    site: Site, alice: Controller, bob: Controller, resumed: Callable[[Started], tuple[int, str]]
) -> None:
    before = nodes(site, NODES)
    sleeper = alice.started(60)
    silent(site)
    assert bob.recovers() == "rolled_back"
    assert differences(before, nodes(site, NODES)) == []
    assert bob.says("apply")[0] == 0
    done = nodes(site, NODES)
    code, said = resumed(sleeper)
    assert code == 4 and "this run was taken over" in said, said
    assert differences(done, nodes(site, NODES)) == []
    assert alice.says("plan", "--detailed-exitcode")[0] == 0, "nor is anything left to recover"


def test_while_another_one_works_who_comes_back_from_sleep_is_told_who(
    site: Site, alice: Controller, bob: Controller, resumed: Callable[[Started], tuple[int, str]]
) -> None:
    sleeper = alice.started(60)
    silent(site)
    assert bob.says("recover")[0] == 0
    worker = bob.started(60)
    code, said = resumed(sleeper)
    assert code == 4 and "this run was taken over by root for bob@" in said, said
    code, said = resumed(worker)
    assert code == 0, said
    assert site.differences() == []


def test_a_target_that_is_gone_is_left_out_on_request(site: Site, alice: Controller, bob: Controller) -> None:
    before = nodes(site, NODES)
    alice.killed(100)
    silent(site)
    site.shell("pve2", "systemctl stop ssh; pkill sshd || true")
    try:
        code, said = bob.says("recover")
        assert code == 1 and "--forget" in said, said
        name = said.partition("--forget ")[2].split()[0]
        assert bob.recovers("--forget", name) == "rolled_back"
        assert snapshot.differences(before["pve1"], snapshot.take(site.lab, "pve1")) == []
    finally:
        site.shell("pve2", "systemctl start ssh")


def test_on_proxmox_one_lock_is_the_clusters(
    containers: Site, tmp_path: Path, resumed: Callable[[Started], tuple[int, str]]
) -> None:
    site, alice, bob = containers, Controller(containers, tmp_path / "alice"), Controller(containers, tmp_path / "bob")
    before = nodes(site, lxc.NODES.values())
    first = alice.started(12)
    lock = f"{PROXMOX}/lock/smbplan-{site.folder.name}"
    assert site.shell("pve3", f"stat -c %F {lock}").strip() == "directory", "every node sees it"
    code, said = bob.says("apply")
    assert code == 1 and f"site {site.folder.name} is being changed by root for alice@" in said, said
    old = site.shell("pve1", f"stat -c %Y {lock}")
    first.send_signal(signal.SIGCONT)
    kept = lambda: int(site.shell("pve1", f"stat -c %Y {lock} 2>/dev/null || echo 0")) > int(old)  # noqa: E731
    assert any(kept() or time.sleep(0.5) for _ in range(60)), "it is kept fresh"
    first.send_signal(signal.SIGKILL)
    first.communicate()

    site.shell("pve1", f"rmdir {lock}")  # what pmxcfs does when nobody has kept it for two minutes
    silent(site, path=f"{PROXMOX}/smbplan-{site.folder.name}", machines=("pve1",))
    for guest in site.shell("pve1", "ls /etc/pve/nodes/*/lxc/ | grep -o '^[0-9]*' || true").split():
        for node in lxc.NODES.values():
            script = f"lxc-attach -n {guest} -- touch -d '100 seconds ago' {LEASES}"
            site.shell(node, f"{script} 2>/dev/null || true")
    silent(site, machines=tuple(lxc.NODES.values()))
    code, said = bob.says("apply")
    assert code == 1 and "was cut short: root for alice@" in said, said
    assert bob.recovers() == "rolled_back"
    assert differences(before, nodes(site, lxc.NODES.values())) == []
    assert site.shell("pve1", f"ls {PROXMOX} {PROXMOX}/lock | grep smbplan || true") == ""
