"""Whatever somebody has written into the files of a run: it is read as far as it goes, or refused in words."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.hostile import JUNK

from smbplan.report import history
from smbplan.store import codec, runs
from smbplan.store.codec import BadPlan

LINES = JUNK | st.fixed_dictionaries(
    {"step": JUNK | st.just("a"), "status": JUNK | st.sampled_from(["doing", "done"])},
    optional={"time": JUNK, "operator": JUNK, "hash": JUNK, "previous": JUNK, "outcome": JUNK, "plan": JUNK},
)
FILES = st.binary(max_size=40) | st.lists(LINES, max_size=4).map(
    lambda lines: "".join(f"{json.dumps(line)}\n" for line in lines).encode()
)


@given(FILES, FILES, FILES)
def test_the_files_of_a_run(
    tmp_path_factory: pytest.TempPathFactory, journal: bytes, plan: bytes, outcome: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp() / "hostile" / "office" / "runs" / "20260101-000000-aaaa"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("journal.jsonl", journal), ("plan.json", plan), ("outcome.json", outcome)):
        (folder / name).write_bytes(data)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SMBPLAN_STATE", str(folder.parents[2]))
        patched.setenv("PATH", "/nowhere")
        (run,) = runs.runs("office")
        assert isinstance(run.entries(), list)
        assert runs.verify("office").site == "office"
        for read in (
            run.steps,
            lambda: history.text([history.entry(run)]),
            lambda: history.text_details(history.details(run)),
        ):
            _read_or_refused(read)
        runs.Journal(run, "ann@desk").close()
        assert run.journal.read_bytes().startswith(journal)


def _read_or_refused(read: Any) -> None:
    try:
        read()
    except BadPlan as error:
        assert error.summary and error.hint


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "line",
    [
        DEEP,
        '{"hash": "x", "previous": ["a"]}',
        f'{{"hash": "{"1" * 64}", "previous": ["a"]}}',
        f'{{"hash": "{"1" * 64}", "previous": "\\ud800", "plan": []}}',
        '{"hash": ["a"], "step": "a", "status": []}',
    ],
)
def test_a_line_of_a_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    run, other = runs.start("office", {"steps": []}), runs.start("office", {"steps": []})
    for each in (run, other):
        runs.Journal(each).close()
        with each.journal.open("a") as file:
            file.write(f"{line}\n")
    assert runs.verify("office").site == "office"
    assert history.text_details(history.details(run))
    run.finish({"outcome": "applied", "steps": []})
    assert run.entries() == []


def test_a_file_that_is_nested_too_deeply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path))
    run = runs.start("office", {"steps": []})
    for path in (run.folder / "outcome.json", run.folder / "plan.json", tmp_path / "office" / "peers.json"):
        path.write_text(DEEP)
    assert (run.outcome(), runs.interrupted("office"), runs.peers("office")) == (None, run, {})
    for read in (run.plan, run.steps, lambda: codec.read(run.folder / "plan.json")):
        with pytest.raises(BadPlan):
            read()


def test_a_journal_that_is_a_folder_is_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path))
    run = runs.start("office", {"steps": []})
    run.journal.unlink()
    run.journal.mkdir()
    assert run.entries() == []
