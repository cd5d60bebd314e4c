"""Whoever alters what is written of runs is found out."""

import json
import os
import shutil
import syslog
from collections.abc import Callable
from pathlib import Path

import pytest

from smbplan.engine.outcome import Entry
from smbplan.engine.step import Status
from smbplan.report import history
from smbplan.store import audit, runs

RUNS = ("20260101-000000-aaaa", "20260102-000000-bbbb", "20260103-000000-cccc")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's log, as one file, and a journalctl that tells of it."""
    file, tool = tmp_path / "log", tmp_path / "bin" / "journalctl"
    file.touch()
    tool.parent.mkdir()
    asked = "-q -t smbplan -o json --output-fields=MESSAGE,_UID --no-pager"
    tool.write_text(f"#!/bin/sh\n[ \"$*\" = '{asked}' ] && cat {file}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(syslog, "syslog", lambda level, text: say(file, text))
    return file


def say(log: Path, text: str, uid: int | None = None) -> None:
    with log.open("a") as file:
        file.write(json.dumps({"MESSAGE": text, "_UID": str(os.getuid() if uid is None else uid)}) + "\n")


@pytest.fixture
def folders(log: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three runs of a site, each with two steps."""
    found = []
    for name in RUNS:
        monkeypatch.setattr(runs.time, "strftime", lambda *_, name=name: name[:15])
        monkeypatch.setattr(runs.secrets, "token_hex", lambda _, name=name: name[16:])
        run = runs.start("office", {"steps": [], "about": name}, operator="ann@desk")
        journal = runs.Journal(run, "ann@desk")
        journal.write([Entry("a", Status.DOING), Entry("a", Status.DONE)])
        journal.write([Entry("b", Status.FAILED, "disk full", "no space left")])
        journal.close()
        run.finish({"outcome": "partial", "about": name, "steps": []}, "ann@desk")
        found.append(run.folder)
    return found


def flaws() -> list[tuple[str, int, str]]:
    return [(each.run[-4:], each.line, each.text) for each in runs.verify("office").flaws]


def test_what_was_written_is_whole(folders: list[Path], log: Path) -> None:
    told = runs.verify("office")
    assert (told.runs, told.lines, told.flaws, told.warnings) == (3, 15, (), ())
    assert (told.logged, told.unlogged) == (6, 0), "how each begins, and how it ends"
    last = json.loads(log.read_text().splitlines()[-1])["MESSAGE"]
    assert last == f"audit office {RUNS[-1]} {told.head} {folders[0].parent}"
    assert {line["operator"] for line in lines(folders[0])} == {"ann@desk"}
    assert lines(folders[0])[0]["previous"] == audit.FIRST


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def rewritten(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = folder / "journal.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(True))))


ALTERED = audit.ALTERED
GONE = "the system's log knows a line of it that is not here"


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda text: [line.replace("disk full", "disk fine") for line in text], [("bbbb", 4, ALTERED)]),
        (
            lambda text: [line.replace("ann@desk", "bob@desk", 1) for line in text[:1]] + text[1:],
            [("bbbb", 1, ALTERED)],
        ),
        (lambda text: text[:2] + text[3:], [("bbbb", 3, ALTERED)]),
        (lambda text: [text[1], text[0], *text[2:]], [("bbbb", 1, "its beginning is gone")]),
        (lambda text: [*text[:2], "{torn\n", *text[2:]], []),
    ],
)
def test_a_line_that_is_altered_moved_or_gone(
    folders: list[Path], change: Callable[[list[str]], list[str]], found: list[tuple[str, int, str]]
) -> None:
    rewritten(folders[1], change)
    assert flaws()[: len(found)] == found and bool(flaws()) is bool(found)


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ('{"step": "c", "status": "done"}', audit.UNSEALED),
        ('{"ended": "applied", "token": "t", "unkept": "u", "hash": "x"}', audit.UNSEALED),
        ('{"step": "c", "status": "done", "hash": ["x"]}', audit.UNSEALED),
        (f'{{"step": "c", "status": "done", "token": "t", "hash": "{"1" * 64}"}}', ALTERED),
    ],
)
def test_a_line_that_was_put_in_is_a_flaw_and_nobody_acts_on_it(folders: list[Path], text: str, flaw: str) -> None:
    rewritten(folders[1], lambda old: [*old, f"{text}\n"])
    assert flaws() == [("bbbb", 6, flaw)]
    run = runs.Run("office", RUNS[1], folders[1])
    assert [entry.step for entry in run.entries()] == ["a", "a", "b"]
    assert (run.tokens(), run.unkept(), run.ending()) == ((), set(), "")
    assert "c" not in [line["step"] for line in history.details(run)["journal"]]


def test_a_line_that_was_altered_is_not_acted_on(folders: list[Path]) -> None:
    rewritten(folders[1], lambda text: [line.replace('"done"', '"failed"') for line in text])
    run = runs.Run("office", RUNS[1], folders[1])
    assert [(entry.step, entry.status) for entry in run.entries()] == [("a", "doing"), ("b", "failed")]


def test_what_a_journal_speaks_of(folders: list[Path]) -> None:
    for name, words in (("plan", "its plan was altered"), ("outcome", "its outcome was altered")):
        path = folders[0] / f"{name}.json"
        before = path.read_text()
        path.write_text(before.replace("aaaa", "zzzz"))
        assert flaws() == [("aaaa", 0, words)]
        path.write_text(before)
    assert flaws() == []


def test_a_run_that_is_gone(folders: list[Path]) -> None:
    for path in folders[1].iterdir():
        path.unlink()
    folders[1].rmdir()
    gone = "the system's log knows a line of it that is not here"
    assert flaws() == [("cccc", 1, "the run before it is gone, or was altered"), ("bbbb", 0, gone), ("bbbb", 0, gone)]


def test_an_end_that_is_cut_off_is_known_by_the_systems_log_alone(folders: list[Path], log: Path) -> None:
    rewritten(folders[2], lambda text: text[:3])
    (folders[2] / "outcome.json").unlink()
    assert flaws() == [("cccc", 0, "the system's log knows a line of it that is not here")]
    log.write_text("")
    assert flaws() == []
    assert (runs.verify("office").logged, runs.verify("office").unlogged) == (0, 3)


def test_a_forged_chain_does_not_match_the_systems_log(folders: list[Path]) -> None:
    """All of it written anew, with hashes that are right."""
    head = audit.FIRST
    for folder in folders:
        made = []
        for line in lines(folder):
            words = {name: value for name, value in line.items() if name != "hash"} | {"operator": "nobody"}
            words |= {"previous": head} if "previous" in words else {}
            made.append(audit.sealed(head, words))
            head = made[-1]["hash"]
        (folder / "journal.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in made))
    found = flaws()
    assert [each[2] for each in found] == ["the system's log knows a line of it that is not here"] * 6


def test_runs_of_a_version_that_sealed_nothing_count_for_nothing(folders: list[Path]) -> None:
    plain = '{"time": 1.0, "step": "a", "status": "done"}\n'
    old = folders[0].with_name("20250101-000000-aaaa")
    old.mkdir()
    (old / "journal.jsonl").write_text(plain)
    assert runs.verify("office").flaws == ()
    (folders[1] / "journal.jsonl").write_text(plain)
    assert ("bbbb", 0, "its journal is gone") in flaws()


def test_runs_of_that_site_that_are_kept_elsewhere_are_no_flaw(folders: list[Path], log: Path) -> None:
    say(log, f"audit office {RUNS[0]} {'1' * 64} /elsewhere/office/runs")
    say(log, "audit office")
    log.write_text(log.read_text() + '[]\n{"MESSAGE": null, "_UID": "0"}\n')
    told = runs.verify("office")
    assert (told.logged, told.flaws) == (6, ())


def test_what_others_write_into_the_systems_log_counts_for_nothing(folders: list[Path], log: Path) -> None:
    say(log, f"audit office {RUNS[0]} {'1' * 64} {folders[0].parent}", 54321)
    told = runs.verify("office")
    assert (told.logged, told.flaws) == (6, ())
    assert told.warnings == (audit.FOREIGN.format(1, "54321"),)
    assert runs.sites(audit.log()) == ["office"]
    say(log, f"audit home {RUNS[0]} {'1' * 64} {runs._runs('home')}", 54321)
    assert runs.sites(audit.log()) == ["office"]
    say(log, f"audit office {RUNS[0]} {'1' * 64} {folders[0].parent}", 0)
    assert flaws() == [("aaaa", 0, GONE)]


def test_a_site_whose_runs_are_all_gone_is_known_by_the_systems_log(folders: list[Path], log: Path) -> None:
    shutil.rmtree(folders[0].parents[1])
    assert runs.sites(audit.log()) == ["office"]
    assert set(flaws()) == {(name[-4:], 0, GONE) for name in RUNS}


def test_a_run_that_was_cut_short_is_known_by_the_systems_log(log: Path) -> None:
    run = runs.start("office", {"steps": []})
    shutil.rmtree(run.folder)
    assert flaws() == [(run.id[-4:], 0, GONE)]


@pytest.mark.parametrize("left", ["", '{"time": 1.0, "step": "a", "status": "done"}\n', None])
def test_the_oldest_run_has_no_journal_any_more(folders: list[Path], log: Path, left: str | None) -> None:
    log.write_text("")
    journal = folders[0] / "journal.jsonl"
    journal.unlink() if left is None else journal.write_text(left)
    assert ("bbbb", 1, "the run before it is gone, or was altered") in flaws()
    assert (("aaaa", 0, "its journal is gone") in flaws()) is not bool(left)


def test_a_run_that_was_renamed(folders: list[Path]) -> None:
    folders[1].rename(folders[1].with_name("20260102-000000-dddd"))
    assert flaws() == [("dddd", 1, "it is another run: its folder was renamed")]


def test_without_a_log_to_ask_that_is_said(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    told = runs.verify("office")
    assert (told.logged, told.unlogged, told.flaws) == (None, None, ())
    assert told.warnings == (audit.UNASKED.format("there is no journalctl"),)


@pytest.mark.parametrize(
    ("ends", "words"),
    [("echo no journal files; echo no access >&2; exit 1", "no access"), ("exit 3", "journalctl ends with 3")],
)
def test_a_log_that_can_not_be_asked_is_told(folders: list[Path], tmp_path: Path, ends: str, words: str) -> None:
    (tmp_path / "bin" / "journalctl").write_text(f"#!/bin/sh\n{ends}\n")
    told = runs.verify("office")
    assert (told.logged, told.warnings) == (None, (audit.UNASKED.format(words),))
    text = history.text_verdict(told)
    assert f"Warning: the system's log could not be asked: {words};" in text and "as they were written" not in text
    assert history.verdict(told)["logged"] is None and history.verdict(told)["warnings"]


def test_a_recovery_goes_on_in_the_same_chain(log: Path) -> None:
    run = runs.start("office", {"steps": []}, operator="ann@desk")
    journal = runs.Journal(run, "ann@desk")
    journal.write([Entry("a", Status.DOING)])
    journal.close()
    with (run.folder / "journal.jsonl").open("a") as file:
        file.write('{"time": 1, "st')
    run.finish({"outcome": "rolled_back"}, "bob@desk")
    assert runs.verify("office").flaws == ()
    assert [line.get("operator") for line in json_lines(run.folder)] == ["ann@desk", "ann@desk", "bob@desk"]


def json_lines(folder: Path) -> list[dict[str, str]]:
    found = []
    for line in (folder / "journal.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
