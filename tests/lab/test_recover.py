"""A run that is killed in the middle, or stopped by Ctrl-C, and what the next command says and does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab import snapshot
from lab.site import Site

from smbplan import app
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.turn import owner
from smbplan.store import runs

pytestmark = pytest.mark.lab


class Died(BaseException):
    """The controller has."""


def die(*_: object, **__: object) -> None:
    raise Died


def smbplan(site: Site, *words: str, **options: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "smbplan", *words]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def started(site: Site, lines: int, *words: str) -> subprocess.Popen[str]:
    """An apply whose journal has come to so many lines."""
    before = {run.id for run in runs.runs("quickstart")}
    process = smbplan(site, "apply", str(site.folder), "--yes", "--format", "json", *words, start_new_session=True)
    for _ in range(2000):
        fresh = [run.folder / "journal.jsonl" for run in runs.runs("quickstart") if run.id not in before]
        if fresh and fresh[0].exists() and fresh[0].read_text().count("\n") >= lines:
            return process
        time.sleep(0.005)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("lines", [1, 30, 60, 100])
def test_a_killed_run_is_recovered(site: Site, lines: int) -> None:
    before = {node: snapshot.take(site.lab, node) for node in ("pve1", "pve2")}
    process = started(site, lines)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    cut = runs.interrupted("quickstart")
    if cut is None:  # it was faster than we
        assert lines > 100
        return
    refused = smbplan(site, "plan", str(site.folder))
    assert "smbplan recover" in refused.communicate()[1] and refused.returncode == 1
    recovered = smbplan(site, "recover", str(site.folder), "--format", "json")
    said = json.loads(recovered.communicate()[0])
    assert recovered.returncode in (0, 3) and said["outcome"] == "rolled_back", said
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node
    again = smbplan(site, "recover", str(site.folder))
    assert again.communicate()[0] is not None and again.returncode == 0


def test_a_run_that_was_killed_when_all_was_done_stays(site: Site) -> None:
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Died):
        patched.setattr(runs.Run, "finish", die)
        site.applied()
    recovered = smbplan(site, "recover", str(site.folder), "--format", "json")
    assert json.loads(recovered.communicate()[0])["outcome"] == "applied" and recovered.returncode == 0
    assert site.differences() == []


@pytest.mark.parametrize(("owner", "name"), [(Fleet, "ended"), (Fleet, "finish"), (runs.Run, "finish")])
def test_a_run_that_died_when_it_was_ending_ends_as_it_was_to_end(site: Site, owner: type, name: str) -> None:
    """One share has failed, the others are served; before its targets know, when they do, and when they forget."""
    planned = site.plan()
    site.shell("pve1", "touch /srv/welcome")  # where a folder is to be
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Died):
        patched.setattr(owner, name, die)
        app.apply(planned)
    served = {node: site.shell(node, "net conf listshares") for node in ("pve1", "pve2")}
    assert "projects" in served["pve1"] and "books" in served["pve2"] and "welcome" not in served["pve1"]
    recovered = smbplan(site, "recover", str(site.folder), "--format", "json")
    said = json.loads(recovered.communicate()[0])
    assert recovered.returncode == 0 and said["outcome"] == "partial", said
    assert {node: site.shell(node, "net conf listshares") for node in served} == served
    site.shell("pve1", "rm /srv/welcome")
    assert site.applied() and site.differences() == []


def test_ctrl_c_turns_the_run_back(site: Site) -> None:
    before = snapshot.take(site.lab, "pve1")
    process = started(site, 30)
    process.send_signal(signal.SIGINT)
    said = json.loads(process.communicate()[0])
    assert process.returncode == 3 and said["outcome"] == "rolled_back", said
    assert snapshot.differences(before, snapshot.take(site.lab, "pve1")) == []
    assert runs.interrupted("quickstart") is None


def test_a_second_apply_is_told_who_is_at_work(site: Site) -> None:
    first = started(site, 2)
    first.send_signal(signal.SIGSTOP)
    second = smbplan(site, "apply", str(site.folder), "--yes")
    who = f"is being changed by {owner().rpartition(' (')[0]} (process {first.pid}) since "
    assert who in second.communicate()[1] and second.returncode == 1
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0


def test_a_saved_plan_is_applied_as_it_is_and_a_stale_or_altered_one_refused(site: Site, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    assert smbplan(site, "plan", str(site.folder), "--out", str(saved)).wait() == 0
    text = saved.read_text()
    assert "Geheim" not in text
    saved.write_text(text.replace("/srv/welcome", "/srv/elsewhere", 1))
    altered = smbplan(site, "apply", str(saved))
    assert "was altered" in altered.communicate()[1] and altered.returncode == 1
    saved.write_text(text)
    elsewhere = smbplan(site, "apply", str(saved), env={**os.environ, "SMBPLAN_STATE": str(tmp_path / "elsewhere")})
    assert "was made elsewhere" in elsewhere.communicate()[1] and elsewhere.returncode == 1
    done = smbplan(site, "apply", str(saved), "--format", "json")
    assert json.loads(done.communicate()[0])["outcome"] == "applied" and done.returncode == 0
    assert site.differences() == []
    stale = smbplan(site, "apply", str(saved))
    assert "stale" in stale.communicate()[1] and stale.returncode == 1


def test_a_link_that_came_after_the_plan_makes_it_stale(site: Site, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    assert smbplan(site, "plan", str(site.folder), "--out", str(saved)).wait() == 0
    before = snapshot.take(site.lab, "pve2")
    site.shell("pve1", "mkdir /opt/evil; ln -s /opt/evil /srv/welcome")
    refused = smbplan(site, "apply", str(saved))
    assert "symbolic link" in refused.communicate()[1] and refused.returncode == 1
    assert snapshot.differences(before, snapshot.take(site.lab, "pve2")) == []
