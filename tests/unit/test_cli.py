"""The command line without any host: exit codes, one document on stdout, and no prompt off a terminal."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from smbplan.cli import main as entry
from smbplan.cli.options import GUARDRAILS
from smbplan.drivers.channel import Channel
from smbplan.drivers.endpoint import Endpoint
from smbplan.engine.plan import Plan
from smbplan.errors import Refused, Trouble
from smbplan.store import runs, seal

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "examples/quickstart")
COMMANDS = (
    *("init", "validate", "plan", "apply", "drift", "destroy", "recover"),
    *("runs", "import", "graph", "schema", "doctor", "image", "lab"),
)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))


def smbplan(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """As a person's shell starts it, off a terminal."""
    return subprocess.run(
        [sys.executable, "-c", "from smbplan.cli.main import run; run()", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        check=False,
    )


def broken(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text("version: 1\nsite: x\ngatewais: {}\nshares:\n  a: {gateway: nowhere}\n")
    return path


def leaves(command: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    children = getattr(command, "commands", {})
    found = [item for name, child in children.items() for item in leaves(child, (*path, name))]
    return found if children else [(path, command)]


def test_every_command_is_there_and_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    top = typer.main.get_command(entry.app)
    assert set(COMMANDS) <= set(top.commands)  # type: ignore[attr-defined]
    for path, _ in leaves(top):
        assert entry.main([*path, "--help"]) == 0
        assert f"Example: smbplan {' '.join(path)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nope",),
        ("plan", "--nope"),
        ("apply", "--yes", "--parallelism", "0"),
        ("apply", "--yes", "--parallelism", "many"),
        ("plan", "--format", "xml"),
        ("plan", "a", "b"),
        ("runs", "nope"),
        ("plan", "--allow", "path-mov"),
        ("graph", "--format", "svg"),
    ],
)
def test_wrong_usage_exits_with_64(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(words) == 64
    told = capsys.readouterr()
    assert not told.out
    assert told.err


def test_wrong_usage_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["apply", "--format=json", "--parallelism", "0"]) == 64
    told = capsys.readouterr()
    assert json.loads(told.out)["errors"]
    assert not told.err


def test_a_guardrail_with_a_typo_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["plan", "--allow", "path-mov"]) == 64
    assert "did you mean path-move?" in capsys.readouterr().err


def test_all_guardrails_are_known() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "smbplan").rglob("*.py"))
    assert set(re.findall(r"--allow ([a-z]+-[a-z-]+)", sources)) - {"many-"} <= set(GUARDRAILS)


@pytest.mark.parametrize("command", ["apply", "destroy"])
def test_without_a_terminal_nothing_prompts(command: str) -> None:
    done = smbplan(command, QUICKSTART)
    assert done.returncode == 64
    assert "--yes" in done.stderr
    assert not done.stdout


def test_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["validate", QUICKSTART]) == 0
    assert "Site quickstart is valid" in capsys.readouterr().out
    path = broken(tmp_path)
    assert entry.main(["validate", str(path)]) == 1
    told = capsys.readouterr()
    assert not told.out
    assert re.search(rf"^Error: {re.escape(str(path))}:3:1: ", told.err, re.MULTILINE)


def test_errors_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("validate", "plan", "graph", "doctor", "drift", "recover"):
        assert entry.main([command, str(broken(tmp_path)), "--format", "json"]) == 1
        told = capsys.readouterr()
        assert not told.err
        first = json.loads(told.out)["errors"][0]
        assert first["line"] == 3
        assert first["file"].endswith("site.yaml")


def test_missing_folder_is_no_traceback() -> None:
    done = smbplan("plan", "/nonexistent")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: /nonexistent: ")
    assert "Traceback" not in done.stderr


def test_unreachable_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "site.yaml").write_text(
        "version: 1\nsite: x\ngateways: {g: {host: 127.0.0.1, ssh: {port: 1}}}\n", encoding="utf-8"
    )
    assert entry.main(["plan", str(tmp_path), "--format", "json"]) == 1
    assert "SSH" in json.loads(capsys.readouterr().out)["errors"][0]["summary"]
    assert entry.main(["doctor", str(tmp_path), "--format", "json"]) == 1
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [item["state"] for item in checks if item["place"] == "g"] == ["missing"]


def test_a_bug_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("smbplan.app.validate", lambda path: {}["oops"])
    assert entry.main(["validate"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Error: this is a bug in smbplan: KeyError: 'oops'")
    assert "Traceback" not in told
    monkeypatch.setenv("SMBPLAN_DEBUG", "1")
    assert entry.main(["validate"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("smbplan.app.validate", interrupted)
    assert entry.main(["validate"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_init_writes_what_is_valid_and_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "office"
    assert entry.main(["init", str(folder)]) == 0
    assert entry.main(["validate", str(folder)]) == 0
    text = (folder / "site.yaml").read_text(encoding="utf-8")
    assert entry.main(["init", str(folder)]) == 1
    assert (folder / "site.yaml").read_text(encoding="utf-8") == text


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("http://json-schema.org/")


@pytest.mark.parametrize(("form", "start"), [("dot", 'digraph "quickstart"'), ("mermaid", "flowchart LR")])
def test_graph(form: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["graph", QUICKSTART, "--format", form]) == 0
    assert capsys.readouterr().out.startswith(start)


def test_graph_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["graph", QUICKSTART, "--format", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    known = {node["id"] for node in data["nodes"]}
    assert all({edge["from"], edge["to"]} <= known for edge in data["edges"])


def test_a_saved_plan_takes_no_options_and_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "a.plan"
    saved.write_text('{"format_version": "1.0", "site": "x", "steps": [], "endpoints": {}, "seal": "wrong"}')
    assert entry.main(["apply", str(saved), "--adopt"]) == 64
    assert "--adopt" in capsys.readouterr().err
    assert entry.main(["apply", str(saved)]) == 1
    assert "made elsewhere: there is no key here" in capsys.readouterr().err
    seal.sealed({"site": "x"})
    assert entry.main(["apply", str(saved)]) == 1
    assert "altered" in capsys.readouterr().err
    misnamed = saved.rename(tmp_path / "plan.yaml")
    assert entry.main(["apply", str(misnamed)]) == 1
    assert "altered" in capsys.readouterr().err


def test_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["runs"]) == 0
    assert "No runs yet." in capsys.readouterr().out
    _run("20250101-120000-aaaa", {"outcome": "applied", "steps": [{"id": "a", "address": "a", "status": "done"}]})
    _run("20250102-120000-bbbb", None)
    _run("20250103-120000-cccc", None, "torn")
    assert entry.main(["runs", "--format", "json"]) == 0
    entries = json.loads(capsys.readouterr().out)["runs"]
    assert [item["outcome"] for item in entries] == ["damaged", "cut_short", "applied"]
    with runs.lock("office"):
        assert entry.main(["runs", "--site", "office"]) == 0
        assert "running" in capsys.readouterr().out
    assert entries[2]["time"] == "2025-01-01T12:00:00Z"
    assert entries[2]["counts"] == {"done": 1}
    assert entry.main(["runs", "show", "20250101"]) == 0
    assert "done" in capsys.readouterr().out
    assert entry.main(["runs", "show", "2025"]) == 1
    assert "several" in capsys.readouterr().err
    assert entry.main(["runs", "show", "20250103"]) == 1


def test_runs_are_verified(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert entry.main(["runs", "verify"]) == 0
    told = capsys.readouterr().out
    assert "No runs yet." in told and "Warning: the system's log could not be asked: there is no journalctl" in told
    run = runs.start("office", {"steps": [], "changes": [CHANGE]})
    run.finish({"outcome": "applied", "steps": [{"id": "a", "address": "a", "status": "done"}]}, "ann@desk")
    assert entry.main(["runs", "verify"]) == 0
    told = capsys.readouterr().out
    assert "Site office: 1 run, 2 lines, in accord with each other;" in told and "there is no journalctl" in told
    assert entry.main(["runs", "show", run.id]) == 0
    told = capsys.readouterr().out
    assert "update samba.share.a" in told and "comment  old     new" in told
    journal = run.folder / "journal.jsonl"
    journal.write_text(journal.read_text().replace("ann@desk", "bob@desk"))
    assert entry.main(["runs", "verify", "--site", "office", "--format", "json"]) == 1
    (site,) = json.loads(capsys.readouterr().out)["sites"]
    assert (site["whole"], site["logged"], site["flaws"][0]["line"]) == (False, None, 2)
    assert entry.main(["runs", "verify"]) == 1
    assert "this line was altered, or one before it is gone" in capsys.readouterr().out


CHANGE = {
    "address": "samba.share.a",
    "action": "update",
    "fields": [{"path": "comment", "before": "old", "after": "new"}],
}


def _run(name: str, outcome: object, plan: str = '{"steps": []}') -> None:
    folder = Path(os.environ["SMBPLAN_STATE"]) / "office/runs" / name
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(plan, encoding="utf-8")
    if outcome:
        (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")


def test_nothing_to_recover(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["recover", "--site", "office", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] is None


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = (
        f"{sys.executable} -c 'from smbplan.cli.main import run; run()' schema | head -c 10; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n0\n") or done.stdout.endswith("0\n")
    assert not done.stderr


def test_a_terminal_that_knows_no_unicode() -> None:
    done = smbplan("doctor", QUICKSTART, PYTHONIOENCODING="ascii")
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("smbplan ")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from smbplan.cli.main import main; main(['--help']);"
        "heavy = {'rich.console', 'pydantic', 'networkx', 'jinja2', 'deepdiff', 'ruamel.yaml'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [["drift"], ["plan", "--detailed-exitcode"]])
def test_what_no_apply_can_change_is_a_difference(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from smbplan import app

    made = Plan("s", (), (), 3, (), (), ("files1 and files2 are on pve1",), ("files1 and files2 are on pve1",))
    monkeypatch.setattr(app, "plan", lambda site, options: app.Planned(made, {}))
    assert entry.main([*words, QUICKSTART]) == 2
    monkeypatch.setattr(app, "plan", lambda site, options: app.Planned(replace(made, misplaced=()), {}))
    assert entry.main([*words, QUICKSTART]) == 0


@pytest.mark.parametrize("error", [Refused(Trouble("somebody else changes it")), KeyboardInterrupt()])
def test_no_connection_of_a_plan_is_left_when_it_is_not_applied(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smbplan import app

    closed = []

    class Kept(Channel):
        def close(self) -> None:
            closed.append(self.endpoint.name)

    def applied(*_: object) -> None:
        raise error

    made = Plan("s", (), (), 0, (), (), (), ())
    kept = {"files": Kept(Endpoint("files"))}
    monkeypatch.setattr(app, "plan", lambda site, options, keep: app.Planned(made, {}, kept=kept))
    monkeypatch.setattr(app, "apply", applied)
    assert entry.main(["apply", "--yes", QUICKSTART]) in (1, 130)
    assert closed == ["files"]


@pytest.mark.parametrize(("thought", "closed"), [(1.0, 0), (3600.0, 1)])
def test_who_thinks_for_long_before_he_applies_gets_new_connections(thought: float, closed: int) -> None:
    """A line that had died meanwhile refused the apply; and an agent had a registry open that is another one by now."""
    from smbplan import app

    done = []

    class Kept(Channel):
        def close(self) -> None:
            done.append(self.endpoint.name)

    made, now = Plan("s", (), (), 0, (), (), (), ()), time.clock_gettime(time.CLOCK_BOOTTIME)
    planned = app.Planned(made, {}, kept={"files": Kept(Endpoint("files"))}, made=now - thought)
    app.apply(planned)
    assert len(done) == closed + 1, "in the end all of them are closed"
