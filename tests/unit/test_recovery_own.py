"""A run of this machine that has to be recovered: what is written here, and what the targets know better."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from unit.telling import NOTHING, RUN, Told, doing, fleet, header, known, step

from smbplan import app, recovery
from smbplan.drivers.endpoint import Endpoint
from smbplan.engine.encoding import step_to_json
from smbplan.engine.step import Status
from smbplan.errors import Refused
from smbplan.store import runs
from smbplan.store.codec import BadPlan


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path))


def test_the_journal_here_is_believed_of_who_can_not_be_asked() -> None:
    steps = (step("a"), step("b"), step("c", "vault"))
    run = runs.start("office", {"steps": [step_to_json(each) for each in steps]}, RUN)
    journal = runs.Journal(run)
    journal.write([recovery.Entry(each.id, Status.DOING) for each in steps])
    journal.close()
    with fleet(files=known(header(RUN), doing(steps[0], "done")), vault={"away": True}) as there:
        last = {entry.step: entry.status for entry in recovery.corrected(run, steps, there)}
    assert last == {"a": Status.DONE, "b": Status.CANCELLED, "c": Status.DOING}


def test_a_target_that_has_forgotten_the_run_knows_nothing_better() -> None:
    steps = (step("a"), step("b", "vault"))
    run = runs.start("office", {"steps": [step_to_json(each) for each in steps]}, RUN)
    journal = runs.Journal(run)
    journal.write([recovery.Entry("a", Status.STRANDED), recovery.Entry("b", Status.DONE)])
    journal.close()
    with fleet(files=NOTHING, vault=known(header(RUN), doing(steps[1]))) as there:
        last = {entry.step: entry.status for entry in recovery.corrected(run, steps, there)}
    assert last == {"a": Status.STRANDED, "b": Status.DOING}


def test_what_a_person_was_told_to_undo_is_not_done_because_its_target_was_away_meanwhile() -> None:
    steps = (step("a"), step("b"))
    run = runs.start("office", {"steps": [step_to_json(each) for each in steps]}, RUN)
    journal = runs.Journal(run)
    journal.write([recovery.Entry("a", Status.STRANDED), recovery.Entry("b", Status.FAILED)])
    journal.close()
    with fleet(files=known(header(RUN), *(doing(each, "done") for each in steps))) as there:
        last = {entry.step: entry.status for entry in recovery.corrected(run, steps, there)}
    assert last == {"a": Status.STRANDED, "b": Status.DONE}


def cut() -> runs.Run:
    """A run of this machine that was cut short in its step."""
    places = {"files": Endpoint("files").as_json()}
    run = runs.start("office", {"steps": [step_to_json(step("a"))], "endpoints": places}, RUN)
    journal = runs.Journal(run)
    journal.write([recovery.Entry("a", Status.DOING)])
    journal.close()
    return run


def swapped(name: str, old: str, new: str) -> Callable[[runs.Run], object]:
    return lambda run: (run.folder / name).write_text((run.folder / name).read_text().replace(old, new))


def no_connection(*_: Any) -> Any:
    raise AssertionError("a target was asked")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swapped("plan.json", "/a", "/etc/shadow"), "its plan was altered"),
        (swapped("journal.jsonl", '"doing"', '"done"'), "line 2 of its journal: this line was altered"),
        (swapped("journal.jsonl", "\n", '\n{"step": "a", "status": "done"}\n'), "line 2 .*: this line is not"),
        (swapped("journal.jsonl", '"hash"', '"rash"'), "its journal is gone"),
        (lambda run: run.journal.unlink(), "its journal is gone"),
    ],
)
def test_a_run_that_was_altered_is_not_recovered_by_what_is_here(
    change: Callable[[runs.Run], object], words: str
) -> None:
    run = cut()
    change(run)
    with pytest.raises(Refused, match=f"run {RUN} is not what was written: {words}") as caught:
        app.recover("office", lambda step, status: None, no_connection)
    assert "smbplan runs verify" in caught.value.troubles[0].hint
    assert "by what the targets have written down" in caught.value.troubles[0].hint


def test_a_run_whose_last_line_is_torn_is_recovered() -> None:
    class Idle(Told):
        answers: Mapping[str, Any] = {"lock": {"held": None, "unfinished": []}, **NOTHING}

    run = cut()
    run.journal.write_bytes(run.journal.read_bytes()[:-9])
    done = app.recover("office", lambda step, status: None, Idle)
    assert done and done.outcome.name == "rolled_back" and runs.interrupted("office") is None
    run.must_be_whole()


def test_what_a_crash_has_left_is_no_alteration() -> None:
    run = cut()
    with run.journal.open("a") as file:
        file.write('{"time": 1, "st')
    run.must_be_whole()
    run.finish({"outcome": "stranded"})
    (run.folder / "outcome.json").rename(run.folder / "outcome.new")
    run.must_be_whole()  # it died before it could rename
    run.finish({"outcome": "rolled_back"})
    run.must_be_whole()
    (run.folder / "outcome.json").write_text("{}")
    with pytest.raises(BadPlan, match="its outcome was altered"):
        run.must_be_whole()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_run_that_can_not_be_written_down_keeps_no_lease(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    asked: list[str] = []

    class Heard(Told):
        answers: Mapping[str, Any] = {"lock": {"held": None, "unfinished": []}}

        def _exchange(self, line: bytes, timeout: float) -> bytes:
            asked.append(json.loads(line)["verb"])
            return super()._exchange(line, timeout)

    def full(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(runs, "start", full)
    with pytest.raises(Refused if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        app._run("office", (step("a"),), {"files": Endpoint("files")}, {}, 1, lambda *_: None, Heard)
    assert asked[-1] == "release" and "do" not in asked
    if isinstance(caught.value, Refused):
        (trouble,) = caught.value.troubles
        assert "No space left on device" in trouble.summary and "make room" in trouble.hint
    assert runs.interrupted("office") is None
