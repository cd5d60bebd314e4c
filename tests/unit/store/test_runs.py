"""Runs on disk: durable, private, one at a time, and readable after any crash."""

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unit.store.test_codec import MADE

from smbplan.engine.outcome import Entry
from smbplan.engine.step import Status
from smbplan.store import audit, files, runs
from smbplan.store.codec import BadPlan

ENTRIES = [Entry("a", Status.DOING), Entry("a", Status.DONE, "words", "more – words"), Entry("b", Status.CANCELLED)]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = os.umask(0o022)
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "deep" / "state"))
    yield tmp_path / "deep" / "state"
    os.umask(before)


def write(run: runs.Run, entries: list[Entry]) -> None:
    journal = runs.Journal(run)
    journal.write(entries)
    journal.close()


def test_a_run_remembers_its_plan_its_journal_and_its_end(state: Path) -> None:
    run = runs.start("office", MADE[0])
    write(run, ENTRIES[:2])
    write(run, ENTRIES[2:])
    assert run.entries() == ENTRIES
    assert len(run.steps()) == len(MADE[0]["steps"])
    assert (run.outcome(), runs.interrupted("office")) == (None, run)
    run.finish({"outcome": "applied"})
    assert (run.outcome(), runs.interrupted("office")) == ({"outcome": "applied"}, None)


def test_runs_are_listed_by_site_the_newest_first(state: Path) -> None:
    assert runs.runs() == []
    assert runs.runs("office") == []
    for name in ("20250101-000000-aaaa", "20260101-000000-aaaa"):
        (state / "office" / "runs" / name).mkdir(parents=True)
    (state / "home" / "runs" / "20251231-000000-aaaa").mkdir(parents=True)
    assert [(run.site, run.id[:4]) for run in runs.runs()] == [("office", "2026"), ("home", "2025"), ("office", "2025")]
    assert len(runs.runs("office")) == 2


def test_everything_is_private(state: Path) -> None:
    with runs.lock("office"):
        run = runs.start("office", MADE[0])
        write(run, ENTRIES)
        run.finish({})
        runs.remember_peers("office", {"x": {}})
        runs.start("unlocked", MADE[0])
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [state, *state.rglob("*")]}
    assert {path: oct(mode) for path, mode in modes.items() if path.is_dir() and mode != 0o700} == {}
    assert {path: oct(mode) for path, mode in modes.items() if path.is_file() and mode != 0o600} == {}
    assert len(modes) > 10
    assert not list(state.rglob("*.part"))


@pytest.mark.parametrize("tail", ['{"time": 1, "st', '{"time": 1, "step": "a"', "\x00\x00\x00", '{"step": 1}', "[]"])
def test_a_torn_last_line_is_no_entry_and_hides_none_that_follow(tail: str) -> None:
    run = runs.start("office", {})
    write(run, ENTRIES[:2])
    with (run.folder / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write(tail)
    assert run.entries() == ENTRIES[:2]
    write(run, ENTRIES[2:])
    assert run.entries() == ENTRIES


def full_rename(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("broken", ["plan.part", "journal.jsonl", "rename"])
def test_a_run_that_can_not_be_written_down_has_never_begun(state: Path, broken: str) -> None:
    real = os.fsync

    def full(file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith(broken):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", full)
        if broken == "rename":
            patched.setattr(Path, "rename", full_rename)
        with pytest.raises(OSError, match="No space left"):
            runs.start("office", {"steps": []})
    folder = state / "office" / "runs"
    assert [path.name[:5] for path in folder.iterdir()] == [".new-"]
    assert (runs.runs("office"), runs.interrupted("office"), runs.stranded("office")) == ([], None, None)
    run = runs.start("office", {"steps": []}, "", "ann@desk", "token", ["files"])
    assert list(folder.iterdir()) == [run.folder], "what was left is swept"
    assert (run.tokens(), run.unkept(), runs.interrupted("office")) == (("token",), {"files"}, run)


def test_a_folder_that_says_nothing_is_no_run_that_was_cut_short(state: Path) -> None:
    stranded = runs.start("office", {"steps": []}, "20250101-000000-aaaa")
    stranded.finish({"outcome": "stranded"})
    folder = state / "office" / "runs" / "20260101-000000-aaaa"
    folder.mkdir()
    (folder / "plan.part").write_text('{"st')
    assert (runs.interrupted("office"), runs.known("office", folder.name)) == (None, None)
    assert runs.stranded("office") == stranded
    assert runs.verify("office").runs == 1
    run = runs.start("office", {"steps": []}, folder.name)
    assert (run.plan(), runs.interrupted("office")) == ({"steps": []}, run)
    (folder / "plan.json").unlink()
    assert runs.interrupted("office") == run, "its journal says something"


def test_every_cut_of_a_journal_is_readable() -> None:
    run = runs.start("office", {})
    write(run, ENTRIES)
    path = run.folder / "journal.jsonl"
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        found = run.entries()
        assert found == ENTRIES[: len(found)]
        assert raw[:length].count(b"\n") <= len(found) + 1, "the first line is no step"


def test_a_short_write_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data)[:7]))
    run = runs.start("office", {})
    write(run, ENTRIES)
    assert run.entries() == ENTRIES


def test_entries_are_durable_when_written(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append(os.readlink(f"/proc/self/fd/{file}")), real(file))[1])
    run = runs.start("office", {})
    making = run.folder.with_name(f".new-{run.id}")
    assert {str(making), str(making / "plan.part"), str(making / "journal.jsonl")} <= set(calls)
    assert calls[-1] == str(run.folder.parent), "the name that it has at last"
    calls.clear()
    journal = runs.Journal(run)
    assert str(run.folder) in calls, "the journal itself could be lost"
    calls.clear()
    journal.write(ENTRIES)
    assert calls == [str(run.folder / "journal.jsonl")]
    journal.close()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"steps": [1]}', '{"steps": null}', "{}"])
def test_a_damaged_plan_of_a_run(text: str) -> None:
    run = runs.start("office", {})
    (run.folder / "plan.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadPlan, match=run.id):
        run.steps()


@pytest.mark.parametrize("text", ["", "{", "[]", "1"])
def test_a_damaged_outcome_is_none_and_damaged_peers_are_no_peers(text: str, state: Path) -> None:
    run = runs.start("office", {})
    (run.folder / "outcome.json").write_text(text, encoding="utf-8")
    (state / "office" / "peers.json").write_text(text, encoding="utf-8")
    assert run.outcome() is None and not run.ended and runs.interrupted("office") == run
    assert runs.peers("office") == {}


def test_what_earlier_runs_have_done_is_not_read_to_know_that_they_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan took a tenth of a second longer for each hundred applies before it."""
    cut, ended = runs.start("office", {}), runs.start("office", {})
    cut.finish({"outcome": "applied", "steps": []})
    ended.finish({"outcome": "applied", "steps": []})
    monkeypatch.setattr(runs.json, "loads", lambda text: pytest.fail("it was parsed"))
    assert ended.ended and runs.interrupted("office") is None
    monkeypatch.undo()
    (ended.folder / "outcome.json").write_text('{"outcome": "applied"}')  # by hand
    assert ended.ended
    (cut.folder / "outcome.json").unlink()
    assert not cut.ended


def test_peers_are_remembered() -> None:
    assert runs.peers("office") == {}
    runs.remember_peers("office", {"files": {"host": "pve1"}})
    assert runs.peers("office") == {"files": {"host": "pve1"}}


HOLD = """
import sys
from smbplan.store import files, runs
with runs.lock("office"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_run_of_a_site_at_a_time(state: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin and other.stdout
    assert other.stdout.readline() == "held\n"
    with pytest.raises(runs.Busy) as caught, runs.lock("office"):
        pass
    assert f"process {other.pid} since " in caught.value.holder
    with runs.lock("home"):
        pass
    other.stdin.close()
    assert other.wait(10) == 0
    other.stdout.close()
    with runs.lock("office"):
        assert f"process {os.getpid()} since" in (state / "office" / "lock").read_text()


def test_a_killed_holder_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        other.kill()
    with runs.lock("office"):
        pass


def test_the_users_state_folder_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMBPLAN_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert files.home() == Path("/somewhere/smbplan")


def test_journal_lines_are_json_with_a_time() -> None:
    run = runs.start("office", {})
    write(run, ENTRIES)
    lines = [json.loads(line) for line in (run.folder / "journal.jsonl").read_text().splitlines()]
    sealed = {"time", "operator", "hash"}
    assert [set(line) - sealed for line in lines] == [
        {"run", "plan", "previous", "token"},
        {"step", "status"},
        {"step", "status", "summary", "detail"},
        {"step", "status"},
    ]
    assert all(line.keys() >= sealed for line in lines)


def test_two_that_begin_at_once_leave_each_other_alone(state: Path) -> None:
    """One took what the other had begun to write for what a crash had left: a run without its plan was carried out."""
    names = [[f"2025010{day}-000000-{number:04x}" for number in range(20)] for day in (1, 2)]

    def begin(mine: list[str]) -> list[bool]:
        return [(runs.start("office", MADE[0], name).folder / "plan.json").exists() for name in mine]

    with ThreadPoolExecutor(2) as pool:
        assert all(map(all, pool.map(begin, names)))
    assert runs.verify("office", audit.Log(())).flaws == ()
