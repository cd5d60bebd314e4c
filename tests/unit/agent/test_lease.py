"""Whose turn it is on a target, as the agent keeps it."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.agent.owners import DEEP, DO, begun, claim, known, perform, silent, taken

from smbplan.drivers.agent import core, journal, lease, main, pmxcfs
from smbplan.drivers.agent.inventory import Inventory
from smbplan.drivers.agent.journal import Journal
from smbplan.drivers.agent.lease import Lease, Lost
from smbplan.drivers.agent.pmxcfs import Slot

pytestmark = pytest.mark.usefixtures("home")


def test_in_a_guest_that_was_off_a_lease_of_the_site_is_over_for_who_has_the_sites() -> None:
    assert taken("alice") is None
    assert taken("bob", sole=False) is not None and taken("bob", sole=True) is None
    with pytest.raises(Lost):
        Lease().check("alice")
    assert Lease().take({**claim("carol"), "site": "another"}, [], False, 0.0, sole=True) is not None
    with Lease().held("bob"):
        assert taken("carol", sole=True) is not None, "what is under way ends first"


def test_one_at_a_time_and_the_other_one_is_told_who_it_is() -> None:
    assert taken("alice") is None and taken("alice") is None
    told = taken("bob")
    assert told and (told["owner"], told["run"], told["since"]) == ("alice@here", "run-alice", 1.0)
    assert "token" not in told, "whoever has it may change things"
    Lease().give_up("bob")
    assert taken("bob") is not None, "it is not his to give up"
    Lease().give_up("alice")
    assert taken("bob") is None


def test_an_owner_that_is_silent_is_replaced_and_can_do_nothing_any_more(home: Path) -> None:
    taken("alice")
    silent(home)
    with Lease().held("alice"):
        pass  # he speaks again in time
    assert taken("bob") is not None
    silent(home)
    assert taken("bob") is None
    for use in (lambda: taken("alice", again=True), lambda: Lease().check("alice"), Lease().held("alice").__enter__):
        with pytest.raises(Lost) as caught:
            use()
        assert caught.value.lease and caught.value.lease["owner"] == "bob@here"


def ahead(path: Path, seconds: float = 86400.0) -> None:
    soon = time.time() + seconds
    os.utime(path, (soon, soon))


@pytest.mark.parametrize("look", [lambda: taken("bob"), lambda: Lease().told()])
def test_silence_counts_from_when_a_time_to_come_is_seen(home: Path, look: Callable[[], Any]) -> None:
    """The owner's last word was by a clock that was wrong; it has died since."""
    taken("alice")
    ahead(home / "lease")
    assert look()["silent"] < 1 and abs(time.time() - (home / "lease").stat().st_mtime) < 5
    silent(home)
    assert taken("bob") is None


def test_an_owner_that_lives_keeps_it_whatever_the_clock_was(home: Path) -> None:
    taken("alice")
    ahead(home / "lease")
    assert taken("bob") is not None
    silent(home)
    Lease().check("alice")
    assert taken("bob") is not None
    ahead(home / "lease", 3.0)
    assert taken("bob") is not None and (home / "lease").stat().st_mtime > time.time(), "nodes' clocks differ a little"


def test_of_a_wide_lease_from_the_time_to_come_pmxcfs_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pmxcfs, "PRIV", tmp_path / "priv")
    assert Lease("office", wide=True).take(claim("alice"), [], False, 0.0) is None
    folder = tmp_path / "priv" / "lock" / "smbplan-office"
    for gone in (False, True):
        ahead(folder)
        monkeypatch.setattr(Slot, "take", lambda self, ours, gone=gone: gone)
        assert (Lease("office", wide=True).take(claim("bob"), [], False, 0.0) is None) == gone


def test_an_owner_that_has_ended_for_sure_is_replaced_at_once() -> None:
    taken("alice")
    assert taken("bob", "alice") is None


def test_an_owner_whose_lease_has_ended_since_can_not_go_on() -> None:
    with pytest.raises(Lost):
        taken("alice", again=True)


def test_what_was_sent_over_an_earlier_connection_is_not_done_after_the_next_one() -> None:
    """An agent that stood still, and whose request is undone meanwhile."""
    assert taken("alice.one") is None and taken("alice.two", again=True) is None
    with pytest.raises(Lost):
        Lease().held("alice.one").__enter__()
    with Lease().held("alice.two"):
        pass
    assert taken("bob.one", "alice") is None


def test_nobody_takes_it_over_while_something_is_done(home: Path) -> None:
    taken("alice")
    inside, done = threading.Event(), threading.Event()

    def work() -> None:
        with Lease().held("alice"):
            inside.set()
            done.wait(5)

    worker = threading.Thread(target=work)
    worker.start()
    inside.wait(5)
    silent(home)
    assert taken("bob", "alice") is not None
    done.set()
    worker.join()


def test_what_is_at_work_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "WORKING", 0.01)
    taken("alice")
    with Lease().held("alice"):
        silent(home)
        time.sleep(0.2)
        assert time.time() - (home / "lease").stat().st_mtime < 10


@pytest.mark.parametrize("text", ["{", DEEP])
def test_a_damaged_lease_is_nobodys(home: Path, text: str) -> None:
    taken("alice")
    (home / "lease").write_text(text)
    assert taken("bob") is None


def test_while_one_is_at_work_no_other_one_says_which_gateways_there_are(home: Path) -> None:
    """An apply that had nothing to do wrote over what the other one had just written."""

    def told(**more: str) -> Any:
        main._answer_to(
            {"verb": "peers", "site": "office", "peers": {"vault": {"host": more.get("token", "")}}, **more}
        )
        return Inventory().site("office")["peers"]

    assert told() == {"vault": {"host": ""}}
    taken("alice")
    assert told(token="alice") == {"vault": {"host": "alice"}}
    assert told() == {"vault": {"host": "alice"}}


def test_what_all_nodes_do_at_once_is_done_under_the_lease_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a cluster; another one writes it down."""
    monkeypatch.setattr(main, "_performed", lambda request: [{"ok": None}])
    request = {"verb": "perform", "site": "office", "run": "run", "ops": [{"call": "reload"}], "lease": "office-ha-x"}
    Lease("office-ha-x").take(claim("alice"), [], False, 0.0)
    assert main._answer_to({**request, "token": "alice", "bare": True}) == {"ok": [{"ok": None}]}
    assert main._answer_to({**request, "token": "bob", "bare": True})["lost"]["owner"] == "alice@here"
    assert journal.runs("office") == []


def test_who_has_lost_the_lease_does_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun("alice")
    silent(home)
    taken("bob")
    monkeypatch.setattr(main, "_performed", lambda request: pytest.fail("it was done"))
    assert perform("alice", {"note": DO})["lost"]["owner"] == "bob@here"
    assert len(known()) == 1


def test_a_wide_lease_is_the_folder_that_all_nodes_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another node has made there counts, whatever stands in a file."""
    monkeypatch.setattr(pmxcfs, "PRIV", tmp_path / "priv")
    monkeypatch.setattr(pmxcfs, "SETTLES", 0.0)
    folder = tmp_path / "priv" / "lock" / "smbplan-office"
    wide = Lease("office", wide=True)
    assert wide.take(claim("alice"), [], False, 0.0) is None and folder.is_dir()
    wide.give_up("alice")
    assert not folder.exists()
    folder.mkdir()
    assert wide.take(claim("bob"), [], False, 0.0) is not None and not wide.told()


@pytest.mark.parametrize("verb", ["finish", "release", "ended", "beat", "peers", "note"])
def test_who_has_lost_the_lease_takes_nothing_from_the_other_one(home: Path, verb: str) -> None:
    """He wakes up when all of his steps are done, and another one has begun."""
    begun("alice").doing([DO])
    silent(home)
    begun("bob").doing([DO])
    core.IMAGES.of("office", "run-bob")
    core.IMAGES.keep("password:x", lambda: "former")
    request = {"verb": verb, "site": "office", "run": "run-alice", "token": "alice", "everything": True}
    answer = main._answer_to({**request, "outcome": "", "peers": {}, "about": claim("alice"), "notes": []})
    assert answer == {"ok": None} if verb == "release" else answer["lost"]["owner"] == "bob@here"
    assert len(list((home / "journal" / "office").iterdir())) == 2 and core.IMAGES.has("password:x")
    assert taken("bob", again=True) is None


def test_a_lease_is_given_up_when_nothing_can_be_written_down(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal, lines: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "_append", full)
    request = {
        "verb": "lock",
        "site": "office",
        "token": "alice",
        "former": [],
        "again": False,
        "wait": 0,
        "sole": False,
    }
    answer = main._answer_to({**request, "about": {"run": "run-alice"}})
    assert answer["error"]["summary"] == "nothing can be written: No space left on device"
    assert taken("bob") is None


def test_nobody_else_can_hold_up_a_run(tmp_path: Path) -> None:
    taken("alice")
    file = tmp_path / "run" / "smbplan.lock"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
