"""Whose turn it is on a target, and what he has begun there, as the agent keeps it."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smbplan.drivers.agent import core, journal, lease, main, pmxcfs, turns
from smbplan.drivers.agent.inventory import Inventory
from smbplan.drivers.agent.journal import Journal
from smbplan.drivers.agent.lease import SILENT, Lease, Lost
from smbplan.drivers.agent.pmxcfs import Slot

DO = {"step": "file.x", "way": "do", "words": {"id": "file.x"}}
DEEP = "[" * 100_000
UNDO = {"step": "file.x", "way": "undo"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The agent's folders, in place of the host's."""
    for module in (core, lease, main, turns):
        monkeypatch.setattr(module, "LOCAL", tmp_path / "smbplan")
    for module in (core, lease, journal, main, turns):
        monkeypatch.setattr(module, "STATE", tmp_path / "smbplan")
    monkeypatch.setattr(Inventory.__init__, "__defaults__", (tmp_path / "smbplan" / "inventory.json",))
    monkeypatch.setattr(core.IMAGES, "_folder", tmp_path / "images" / "office" / "run")
    monkeypatch.setattr(core.IMAGES, "of", lambda *_: None)
    monkeypatch.setattr(lease, "LOCK", f"{tmp_path}/run/smbplan{{}}.lock")
    yield tmp_path / "smbplan"


def claim(token: str) -> dict[str, Any]:
    return {"token": token, "run": f"run-{token}", "site": "office", "owner": f"{token}@here", "since": 1.0}


def taken(token: str, *former: str, again: bool = False, sole: bool = False) -> dict[str, Any] | None:
    return Lease().take(claim(token), list(former), again, 0.0, sole)


def test_in_a_guest_that_was_off_a_lease_of_the_site_is_over_for_who_has_the_sites() -> None:
    assert taken("alice") is None
    assert taken("bob", sole=False) is not None and taken("bob", sole=True) is None
    with pytest.raises(Lost):
        Lease().check("alice")
    assert Lease().take({**claim("carol"), "site": "another"}, [], False, 0.0, sole=True) is not None
    with Lease().held("bob"):
        assert taken("carol", sole=True) is not None, "what is under way ends first"


def silent(home: Path) -> None:
    old = time.time() - SILENT - 1
    os.utime(home / "lease", (old, old))


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


def perform(token: str, *ops: dict[str, Any]) -> Any:
    request = {"verb": "perform", "site": "office", "run": f"run-{token}", "token": token, "ops": list(ops)}
    return main._answer_to(request)


def known() -> list[dict[str, Any]]:
    ((_, lines),) = [(row["run"], row["lines"]) for row in journal.runs("office")]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def begun(token: str) -> Journal:
    taken(token)
    found = Journal("office", f"run-{token}")
    found.begin({"run": f"run-{token}", "targets": []})
    return found


def test_a_step_is_written_down_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    begun("alice")
    seen: list[Any] = []

    def performed(request: Any) -> list[Any]:
        seen.append(known()[-1])
        return [{"ok": None}]

    monkeypatch.setattr(main, "_performed", performed)
    assert perform("alice", {"note": DO}) == {"ok": [{"ok": None}]}
    assert perform("alice", {"note": UNDO}) == {"ok": [{"ok": None}]}
    assert seen == [
        {"step": "file.x", "status": "doing", "words": {"id": "file.x"}},
        {"step": "file.x", "status": "undoing"},
    ]
    assert [line.get("status") for line in known()] == [None, "doing", "done", "undoing", "undone"]


@pytest.mark.parametrize(
    ("answer", "way", "last"),
    [
        ({"error": {}}, "do", "doing"),
        ({"error": {}, "untouched": True}, "do", "cancelled"),
        ({"error": {}, "untouched": True}, "undo", "undoing"),
        ({"ok": None}, "probe", "done"),
    ],
)
def test_what_is_unknown_stays_unknown(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], way: str, last: str
) -> None:
    begun("alice")
    monkeypatch.setattr(main, "_performed", lambda request: [answer])
    perform("alice", {"note": {**DO, "way": way}})
    assert known()[-1]["status"] == last


def test_who_has_lost_the_lease_does_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun("alice")
    silent(home)
    taken("bob")
    monkeypatch.setattr(main, "_performed", lambda request: pytest.fail("it was done"))
    assert perform("alice", {"note": DO})["lost"]["owner"] == "bob@here"
    assert len(known()) == 1


@pytest.mark.parametrize("way", ["do", "undo"])
def test_what_can_not_be_written_down_is_not_begun_but_undone(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    begun("alice")

    def full(self: Journal, lines: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Journal, "_append", full)
    monkeypatch.setattr(main, "_performed", lambda request: [{"ok": None}])
    (answer,) = perform("alice", {"note": {**DO, "way": way}})["ok"]
    assert ("untouched" in answer) == (way == "do")


def test_what_is_written_down_is_durable_when_it_is_done(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append(os.readlink(f"/proc/self/fd/{file}")), real(file))[1])
    taken("alice")
    calls.clear()
    written, folder = Journal("office", "run-alice"), home / "journal" / "office"
    written.begin({"run": "run-alice", "targets": []})
    assert calls == [str(folder / "run-alice"), str(folder), str(folder.parent)], "the file itself could be lost"
    calls.clear()
    written.doing([DO])
    assert calls == [str(folder / "run-alice")]


def test_a_run_that_is_dropped_takes_no_other_with_it(home: Path) -> None:
    for name in ("alice", "bob", "carol"):
        Journal("office", f"run-{name}").begin({"run": f"run-{name}", "targets": []})
    Journal("office", "run-alice").drop(False)
    assert [row["run"] for row in journal.runs("office")] == ["run-bob", "run-carol"]
    Journal("office", "run-bob").drop(True)
    assert journal.runs("office") == [] and not (home / "journal").exists()


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


def test_a_torn_line_hides_no_other(home: Path) -> None:
    written = begun("alice")
    written.doing([DO])
    path = home / "journal" / "office" / "run-alice"
    path.write_text(path.read_text()[:-10])
    written.doing([UNDO])
    assert [line.get("status") for line in known()] == [None, "undoing"]


def test_a_line_that_no_parser_takes_hides_no_other(home: Path) -> None:
    written = begun("alice")
    with (home / "journal" / "office" / "run-alice").open("a") as file:
        file.write(f"\n{DEEP}")
    written.doing([DO])
    assert [line.get("status") for line in known()] == [None, "doing"]


@pytest.mark.parametrize("text", ["{", "[]", '{"office": {}}', DEEP])
def test_a_damaged_inventory_is_refused(home: Path, text: str) -> None:
    home.mkdir()
    (home / "inventory.json").write_text(text)
    with pytest.raises(core.Refused, match="is damaged"):
        Inventory(home / "inventory.json")


def test_a_run_is_known_until_it_has_ended_and_then_forgotten(home: Path) -> None:
    written = begun("alice")
    assert [run["begun"] for run in journal.unfinished("office")] == [False]
    written.doing([DO])
    assert [run["begun"] for run in journal.unfinished("office")] == [True]
    written.end("applied")
    assert journal.unfinished("office") == [] and len(journal.runs("office")) == 1
    given = {"verb": "finish", "site": "office", "run": "run-alice", "token": "alice", "everything": False}
    assert main._answer_to(given) == {"ok": None}
    assert not home.exists(), "nothing of it stays"


def test_a_run_that_has_begun_nothing_leaves_nothing(home: Path) -> None:
    begun("alice")
    main._answer_to({"verb": "release", "site": "office", "run": "run-alice", "token": "alice"})
    assert not home.exists()
    written = begun("alice")
    written.doing([DO])
    main._answer_to({"verb": "release", "site": "office", "run": "run-alice", "token": "alice"})
    assert len(known()) == 2 and not (home / "lease").exists()


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


def test_a_bare_lease_leaves_what_is_written_down_alone(home: Path) -> None:
    begun("alice").doing([DO])
    other = {"site": "office", "token": "node", "lease": "office-ha-x", "bare": True, "run": "run-alice"}
    lock = {"former": [], "again": False, "wait": 0, "sole": False, "about": claim("alice")}
    assert main._answer_to({"verb": "lock", **other, **lock}) == {"ok": {"held": None, "unfinished": []}}
    assert main._answer_to({"verb": "finish", "everything": True, **other}) == {"ok": None}
    assert len(known()) == 2 and not (home / "lease-office-ha-x").exists()


def test_nobody_else_can_hold_up_a_run(tmp_path: Path) -> None:
    taken("alice")
    file = tmp_path / "run" / "smbplan.lock"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_only_root_may_read_what_is_written_down(home: Path) -> None:
    begun("alice").doing([DO])
    modes = {path.name: path.stat().st_mode & 0o777 for path in [home, *home.rglob("*")]}
    assert modes == {"smbplan": 0o755, "lease": 0o600, "journal": 0o700, "office": 0o700, "run-alice": 0o600}
    assert json.loads((home / "lease").read_text())["token"] == "alice"


def test_commands_that_an_answer_took_are_counted() -> None:
    """The hook stays in the process, as it does in an agent."""
    sys.addaudithook(main.Commands.audit)
    before = main.Commands.count
    subprocess.run(["true"], check=True)
    subprocess.run(["true"], check=True)
    assert main.Commands.count == before + 2
    assert main._answered({"verb": "nonsense"})["commands"] == 0
