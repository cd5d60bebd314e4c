"""What a run has begun on a target, as the agent keeps it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from unit.agent.owners import DEEP, DO, begun, claim, known, perform, taken

from smbplan.drivers.agent import core, journal, main
from smbplan.drivers.agent.inventory import Inventory
from smbplan.drivers.agent.journal import Journal

UNDO = {"step": "file.x", "way": "undo"}
pytestmark = pytest.mark.usefixtures("home")


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


def test_a_bare_lease_leaves_what_is_written_down_alone(home: Path) -> None:
    begun("alice").doing([DO])
    other = {"site": "office", "token": "node", "lease": "office-ha-x", "bare": True, "run": "run-alice"}
    lock = {"former": [], "again": False, "wait": 0, "sole": False, "about": claim("alice")}
    assert main._answer_to({"verb": "lock", **other, **lock}) == {"ok": {"held": None, "met": None, "unfinished": []}}
    assert main._answer_to({"verb": "finish", "everything": True, **other}) == {"ok": None}
    assert len(known()) == 2 and not (home / "lease-office-ha-x").exists()


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
