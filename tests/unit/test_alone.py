"""What a person does to a site besides applying it: written down like a run, and never in the way of one."""

import errno
import json
import os
import signal
from pathlib import Path

import pytest
from unit.store.test_codec import MADE

from smbplan.alone import Deed, alone, must_be_recovered, written
from smbplan.engine.step import Status
from smbplan.errors import CutShort, Refused, Trouble
from smbplan.report import history
from smbplan.store import audit, runs

DEED = Deed("ha move", "192.0.2.61", {"node": ("files1", "files2")})


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))


def test_it_is_known_who_did_what_from_what_to_what_and_when() -> None:
    with written("office", DEED):
        (run,) = runs.runs("office")
        assert [entry.status for entry in run.entries()] == [Status.DOING]
    one = history.details(run)
    assert (one["outcome"], one["counts"]) == ("applied", {"done": 1})
    assert one["changes"] == [DEED.change]
    assert "@" in one["operators"][0] and one["journal"][0]["time"]
    text = history.text_details(one)
    assert "ha move 192.0.2.61" in text and "files1" in text and "files2" in text
    assert runs.verify("office").flaws == ()


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (Refused(Trouble("it did not move", "look")), "it did not move"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("odd"), "odd"),
    ],
)
def test_what_fails_is_told_with_its_reason(error: BaseException, summary: str) -> None:
    with pytest.raises(type(error)), written("office", DEED):
        raise error
    (run,) = runs.runs("office")
    one = history.details(run)
    assert (one["outcome"], one["counts"]) == ("failed", {"failed": 1})
    assert one["errors"][0]["summary"] == summary
    assert run.entries()[-1].summary == summary


def test_one_that_was_cut_short_keeps_nobody_from_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs.Run, "finish", lambda *_, **__: None)
    with written("office", DEED):
        pass
    (run,) = runs.runs("office")
    assert run.outcome() is None
    must_be_recovered("office")
    assert history.entry(run)["outcome"] == "cut_short"


def test_a_stranded_run_before_it_can_still_be_recovered() -> None:
    stranded = runs.start("office", MADE[0], "20250101-000000-aaaa")
    stranded.finish({"outcome": "stranded", "steps": []})
    with written("office", DEED):
        pass
    assert runs.stranded("office") == stranded


def test_a_run_that_goes_on_or_was_cut_short_comes_first() -> None:
    runs.start("office", MADE[0])
    with pytest.raises(Refused, match="was cut short"):
        must_be_recovered("office")
    with alone("office"), pytest.raises(Refused, match="is being changed by"), alone("office"):
        pass


def test_what_was_kept_for_going_back_is_known_to_be_gone() -> None:
    run = runs.start("office", MADE[0])
    run.finish({"outcome": "applied", "steps": []}, "alice@box", forgotten=["files", "vault"], everything=True)
    cleanup = history.details(run)["cleanup"]
    assert (cleanup["operator"], cleanup["targets"]) == ("alice@box", ["files", "vault"])
    assert cleanup["earlier_runs"] is True
    text = history.text_details(history.details(run))
    assert "dropped what this run and earlier ones kept for going back: files, vault" in text
    assert json.dumps(cleanup)


@pytest.mark.parametrize("name", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_closed_terminal_leaves_nothing_half_done(name: signal.Signals) -> None:
    """A node that a trial had stopped stayed so; and what puts it back is not cut short, either."""
    back, before = [], signal.getsignal(name)
    with pytest.raises(KeyboardInterrupt), written("office", DEED):
        try:
            os.kill(os.getpid(), name)
        finally:
            os.kill(os.getpid(), name)
            back.append("back")
    assert back and signal.getsignal(name) is before
    (run,) = runs.runs("office")
    assert history.details(run)["outcome"] == "failed"


def test_on_a_full_disk_it_is_said_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was called a bug, and hid what had gone wrong."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    done = []
    with monkeypatch.context() as patched, pytest.raises(Refused, match=r"can't be written down .*No space.*") as no:
        patched.setattr(os, "fsync", full)
        with written("office", DEED):
            done.append("moved")
    assert not done and "nothing was changed" in no.value.troubles[0].hint
    cut = pytest.raises(CutShort, match=r"is done, but .*No space")
    with monkeypatch.context() as patched, cut, written("office", DEED):
        patched.setattr(os, "fsync", full)
    refused = pytest.raises(Refused, match="it did not move")
    with monkeypatch.context() as patched, refused, written("office", DEED):
        patched.setattr(os, "fsync", full)
        raise Refused(Trouble("it did not move"))
    assert {history.entry(run)["outcome"] for run in runs.runs("office")} == {"cut_short"}
    assert runs.verify("office", audit.Log(())).flaws == ()
    must_be_recovered("office")
