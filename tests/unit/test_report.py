"""Reports. Golden files stand in tests/golden; SMBPLAN_GOLDEN=write writes them anew, to be reviewed in the diff."""

import io
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from smbplan.drivers.agent import core, ctdb_image
from smbplan.engine import plan as planning
from smbplan.engine.kind import Action, Change, Hazard, Kind, Removal
from smbplan.engine.outcome import Outcome, Problem, Warned
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Key, Live, Location, Record, Resource
from smbplan.engine.step import Call, Move, Nature, Status, Step
from smbplan.errors import Trouble
from smbplan.kinds import expand, kinds
from smbplan.report import graph, manual, markdown, progress, terminal, text, words
from smbplan.spec.load import load

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"


def golden(name: str, found: str) -> None:
    path = GOLDEN / name
    if os.environ.get("SMBPLAN_GOLDEN") == "write":
        path.write_text(found + "\n", encoding="utf-8")
    assert found + "\n" == path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def created() -> Plan:
    """The quickstart on two empty gateways that have Samba installed."""
    site = load(ROOT / "examples/quickstart").site
    live = {name: Live(facts={"samba": True}) for name in site.gateways}
    return planning.build(site.site, expand(site), live, kinds())


def change(kind: str, before: object, after: object, action: Action = Action.UPDATE, **more: object) -> Change:
    address = f"{kind}.books"
    item = Resource(address, kind, "vault", Key(kinds()[kind].object, "books"), {}, unit="share.books")
    resource = None if action is Action.DELETE else item
    record = Record(address, kind, item.key, unit="share.books")
    return replace(Change(address, kind, "vault", action, before, after, before, resource, record), **more)


def made(*changes: Change, **more: object) -> Plan:
    empty = Plan("office", changes, (), 40, (), (), ())
    return replace(empty, **more)


ACL = {"mark": "m", "owner": "root", "acl": ["user::rwx", "group::---"], "default": []}
UPDATES = made(
    change("directory", ACL, {**ACL, "owner": "alice", "acl": ["user::rwx", "user:bob:r-x", "group::---"]}),
    change(
        "file",
        {"mark": "m", "content": "a\nb\nc\n", "mode": "0644"},
        {"mark": "m", "content": "a\nB\n", "mode": "0755"},
    ),
    change(
        "samba.share",
        {"mark": "m", "params": {"comment": "Old", "read only": "no"}, "source": "registry"},
        {"mark": "m", "params": {"comment": "New", "valid users": "alice"}, "source": "registry"},
    ),
    change("samba.user", {"password": "differs-hash"}, {"password": "current"}),
    change("posix.user", {"mark": None, "uid": 1}, {"mark": "m", "uid": 1}),
    change("service", {"active": True}, {"active": True}),
    change("zfs.dataset", {"quota": 2**30}, {"quota": 3 * 2**29}, Action.ADOPT),
    change(
        "btrfs.subvolume",
        ACL,
        None,
        Action.DELETE,
        removal=Removal(None, Nature.IRREVERSIBLE, "deleted data can't be brought back"),
    ),
    change(
        "posix.group",
        {"gid": 7},
        {"gid": 7},
        Action.DELETE,
        removal=Removal({"gid": 7}, Nature.PARKED, parked=True),
        reasons=("stays, for its files",),
    ),
    warnings=("samba.share.books: not proved for @staff",),
    lifted=(Hazard("samba.share.books", "its data path would move", "", "path-move"),),
)
REFUSED = made(
    change("samba.user", None, {"password": "current", "disabled": False}, Action.CREATE),
    refused=(
        Hazard("samba.share.books", "it is open", "close it", "acl-widening", Location("office/site.yaml", 7, 3)),
        Hazard("", "30 of 40 resources would be updated", "--allow many-updates", "many-updates"),
    ),
)


def test_creation(created: Plan) -> None:
    golden("plan_quickstart_create.txt", text.plan(created, kinds()))
    golden("plan_quickstart_create.md", markdown.plan(created, kinds()))


def test_updates() -> None:
    golden("plan_updates.txt", text.plan(UPDATES, kinds()))
    golden("plan_updates.md", markdown.plan(UPDATES, kinds()))
    golden("drift_updates.txt", text.plan(UPDATES, kinds(), view="drift"))


def test_refused() -> None:
    golden("plan_refused.txt", text.plan(REFUSED, kinds()))
    assert "office/site.yaml:7" in text.plan(REFUSED, kinds())


@pytest.mark.parametrize("view", ["plan", "drift", "destroy"])
def test_nothing_to_do_is_one_line(view: text.View) -> None:
    assert "\n" not in text.plan(made(), kinds(), view=view)


def test_summary_has_all_counts() -> None:
    assert text.summary(UPDATES) == "Plan: 6 to update, 2 to delete, 1 to adopt, 40 unchanged."
    assert text.summary(made()) == "No differences: the live state is as defined."


def test_colour_only_on_request() -> None:
    assert "\x1b" not in text.plan(UPDATES, kinds())
    assert "\x1b[33m" in text.plan(UPDATES, kinds(), colour=True)


def test_secrets_are_named_and_not_shown() -> None:
    for report in (text.plan(UPDATES, kinds()), markdown.plan(UPDATES, kinds())):
        assert "differs-hash" not in report
        assert "password: changes (sensitive)" in report


NASTY = "a\x1b]0;owned\x07\x9b31m\u202e\r"


def nasty() -> Plan:
    before = {"mark": "m", "params": {"comment": NASTY, NASTY: "x"}, "source": "registry"}
    file = change("file", {"content": f"x\n{NASTY}\n"}, {"content": "y\n"})
    return made(change("samba.share", before, {**before, "params": {}}), file, warnings=(NASTY,))


def test_what_a_target_told_steers_no_terminal() -> None:
    for report in (
        text.plan(nasty(), kinds()),
        markdown.plan(nasty(), kinds()),
        terminal.errors([Trouble(NASTY, NASTY, f"{NASTY}\n{NASTY}", file=NASTY)]),
    ):
        assert not set(report) & set("\x1b\x07\x9b\u202e\r")
        assert "\\x1b" in report


def test_markdown_breaks_out_of_nothing() -> None:
    wild = "```</details><script>@all|`x`"
    plan = made(
        change("file", {"content": "a\nb\n"}, {"content": f"{wild}\n\n"}),
        warnings=(wild,),
        refused=(Hazard("a`b|c", wild, wild),),
    )
    report = markdown.plan(plan, kinds())
    outside = report[: report.index("<details>")]
    assert "<script>" not in outside
    assert "@all" not in outside
    assert "````diff" in report  # a longer fence than the one inside


def test_long_texts_are_cut() -> None:
    content = "".join(f"line {number}\n" for number in range(100))
    report = text.plan(made(change("file", {"content": ""}, {"content": content})), kinds())
    assert "… and 92 more lines" in report
    assert len(report.splitlines()) < 20


def test_values() -> None:
    assert words.value(2**40, "quota") == "1 TiB"
    assert words.value(0, "quota") == "none"
    assert words.value(True) == "yes"
    assert words.value([]) == "(empty)"
    assert words.value("") == '""'
    assert len(words.value("x" * 1000)) == words.LONG


def test_errors() -> None:
    found = terminal.errors(
        [
            Trouble("bad", "do this", "said\nso", file="a.yaml", line=3, column=5),
            Trouble("files: gone", address="gateway.files"),
            Trouble("lost", address="samba.share.x"),
        ]
    )
    golden("errors.txt", found)


def step(name: str, nature: Nature = Nature.REVERSIBLE, undo: bool = True) -> Step:
    move = Move(name, Key("directory", f"/srv/{name}"), None, {}, None)
    return Step(name, name, "vault", f"create {name}", move, move.reversed(None) if undo else None, nature)


def outcome(**statuses: Status) -> Outcome:
    return Outcome(dict(statuses))


STEPS = (step("a"), step("b", Nature.KEPT, undo=False), step("c"), step("d", Nature.PARKED))


def test_applied() -> None:
    ended = outcome(a=Status.DONE, b=Status.DONE, c=Status.DONE, d=Status.DONE)
    golden("applied.txt", text.applied("20250101-000000-abcd", STEPS, ended))


def test_partial() -> None:
    ended = outcome(a=Status.UNDONE, b=Status.DONE, c=Status.FAILED, d=Status.CANCELLED)
    ended.problems.append(Problem("c", "c", "mkdir failed", "mkdir: no\nspace", "make room"))
    ended.warnings.append(Warned("b", "a tag was refused"))
    golden("partial.txt", text.applied("20250101-000000-abcd", STEPS, ended))
    golden("partial.md", markdown.applied("20250101-000000-abcd", STEPS, ended))


def test_stranded() -> None:
    ended = outcome(a=Status.STRANDED, b=Status.KEPT, c=Status.FAILED, d=Status.CANCELLED)
    ended.problems.append(Problem("a", "a", "busy", "", ""))
    ended.stranded.append(STEPS[0])
    found = text.applied("20250101-000000-abcd", STEPS, ended)
    assert "    vault# rmdir /srv/a" in found
    golden("stranded.txt", found)


def test_graphs(created: Plan) -> None:
    site = load(ROOT / "examples/quickstart").site
    nodes = graph.of_resources(expand(site), kinds())
    golden("graph_quickstart.dot", graph.dot(site.site, nodes))
    golden("graph_quickstart.mmd", graph.mermaid(nodes))
    golden("steps_quickstart.mmd", graph.mermaid(graph.of_steps(created.steps)))
    data = graph.document(site.site, nodes)
    assert {"from": "directory.books", "to": "samba.share.books"} in data["edges"]


def test_graph_labels_are_quoted() -> None:
    node = graph.Node('a"b', "share", 'x"]; evil\\', "g", "", ())
    assert r'"a\"b" [label="share\nx\"]; evil\\"];' in graph.dot("s", [node])
    assert '"share<br/>x#34;]#59; evil\\"' in graph.mermaid([node])


def test_progress_is_plain_off_a_terminal_and_never_raises() -> None:
    stream = io.StringIO()
    with progress.progress(stream, STEPS, colour=False) as shown:
        shown.watch(STEPS[0], Status.DOING)
        shown.watch(STEPS[0], Status.DONE)
        shown.watch(replace(STEPS[2], title=NASTY), Status.FAILED)
        stream_text = stream.getvalue()
        stream.close()
        shown.watch(STEPS[1], Status.DONE)
    assert stream_text.startswith("vault: done: create a\nvault: failed: a\\x1b")


def test_progress_is_live_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with progress.progress(stream, STEPS, colour=False) as shown:
        assert isinstance(shown, progress.Live)
        shown.watch(STEPS[0], Status.DOING)
        shown.watch(STEPS[0], Status.DONE)
        shown.watch(replace(STEPS[1], do=Call("reload")), Status.UNDONE)
    assert "✓ vault: create a" in stream.getvalue()
    assert "↶ vault: create b (undone)" in stream.getvalue()


def test_timings() -> None:
    row = {"connections": 1, "round_trips": 2, "commands": 3, "calls": 4, "operations": 0, "sent": 9, "received": 8}
    row |= {"seconds": 0.5}
    head, line = text.timings({"files": row}).splitlines()
    assert head.split()[0] == "gateway"
    assert line.split() == ["files", "1", "2", "3", "4", "0", "9", "8", "0.5"]


def typed(key: Key, before: dict[str, object]) -> str:
    """The commands that undo what has made this."""
    undo, do = Move("a", key, before, None), Move("a", key, None, before)
    return "\n".join(manual.commands([Step("a", "a", "files", "", do, undo)]))


def test_who_leaves_a_domain_by_hand_leaves_nothing_in_it() -> None:
    member = {"name": "FILES", "aliases": ["shares.corp.test", "files.other.test"], "registered": True}
    lines = typed(Key("member", "CORP.TEST"), member)
    unregistered = [line.split()[5] for line in lines.splitlines() if "ads dns unregister" in line]
    assert unregistered == ["files.corp.test", "shares.corp.test"]
    assert lines.index("unregister") < lines.index("net ads leave") < lines.index("/etc/krb5.keytab")
    assert "unregister" not in typed(Key("member", "CORP.TEST"), {**member, "registered": False})


def test_who_joins_by_hand_puts_the_account_and_the_names_where_they_were() -> None:
    state = {"name": "FILES", "aliases": ["shares.corp.test"], "registered": True}
    move = Move(
        "a", Key("member", "CORP.TEST"), None, state, options={"ou": "OU=Files,OU=Servers", "floating": ["::1"]}
    )
    lines = [line.partition("  #")[0] for line in manual.commands([Step("a", "a", "files", "", move, move)])]
    assert lines == [
        "files# net ads join --no-dns-updates createcomputer=Servers/Files -U USER",
        "files# net ads dns register files.corp.test ::1 -U USER",
        "files# net ads dns register shares.corp.test ::1 -U USER",
    ]


def test_a_mark_on_what_a_cluster_serves_is_bound_to_the_cluster() -> None:
    move = Move("a", Key("share", "s"), None, {"params": {"path": "/srv"}, "mark": "m"})
    step = Step("a", "a", "files", "", move, move)
    (alone,), (served,) = manual.commands([step]), manual.commands([step], {"files": "/mnt/shared/.smbplan/files"})
    assert '"$(cat /etc/machine-id)"' in alone
    assert served == alone.replace("/etc/machine-id", "/mnt/shared/.smbplan/files/identity")


def test_a_password_that_a_cluster_serves_is_set_from_what_its_nodes_share() -> None:
    state = {"password": "other", "disabled": False, "changed": 1}
    move = Move("a", Key("password", "alice"), {**state, "password": "current"}, state)
    step, home = Step("a", "a", "files", "", move, move), "/mnt/shared/.smbplan/files"
    assert " /var/lib/smbplan/runs/*/*/" in "\n".join(manual.commands([step])).replace("'", " ")
    assert f" {home}/runs/*/*/" in "\n".join(manual.commands([step], {"files": home})).replace("'", " ")


def test_who_takes_a_cluster_apart_by_hand_leaves_the_files_of_its_package_as_they_were() -> None:
    lines = typed(Key("ctdb", "files"), {"nodes": {"n1": {"number": 0, "address": "198.18.0.11"}}})
    assert "n1# for file in ctdb.conf ctdb.tunables script.options; do install -m 644 " in lines
    assert "/var/lib/ctdb/{scripts,*/*}" in lines


def test_who_brings_a_cluster_back_by_hand_has_its_nodes_as_they_were(tmp_path: Path) -> None:
    """With its databases, and what tells it from others: the printed commands had an editor, and empty databases."""
    nodes = {f"n{number}": {"number": number, "address": f"198.18.0.1{number}"} for number in (1, 2)}
    move = Move("a", Key("ctdb", "files"), None, {"nodes": nodes})
    lines = manual.commands([Step("a", "a", "@ha:files", "", move, move)])
    assert [line.partition("#")[0] for line in lines] == ["n1", "n2", "n1", "n2", "n1"]
    unpack = lines[0].partition("# ")[2].partition("; systemctl")[0]
    secret = tmp_path / "folder" / "secret.tdb.0"
    core.private(secret.parent)
    secret.write_text("hash")
    text = ctdb_image.packed([secret.parent, secret, tmp_path / "none"])
    kept = tmp_path / "runs" / "site" / "run" / core.image_file(ctdb_image.NAME)
    kept.parent.mkdir(parents=True)
    kept.write_text(text)
    secret.unlink()
    secret.parent.rmdir()
    script = unpack.replace("/var/lib/smbplan/runs", str(tmp_path / "runs"))
    subprocess.run(["bash", "-ec", script], check=True)
    assert (secret.read_text(), secret.parent.stat().st_mode & 0o777) == ("hash", 0o700)


@pytest.mark.parametrize("kind", [kind for kind in kinds().by_name.values() if kind.object in manual.RENDER])
def test_what_nobody_could_see_is_told_by_its_host(kind: Kind) -> None:
    """Of a step whose state before was open when it was planned, as that of what lies in a machine not made yet."""
    mounted = {"mounted": "m"} if kind.name == "directory" else {}
    item = Resource("a.b", kind.name, "files", Key(kind.object, "/srv/it's"), mounted)
    blank = kind.blank(item)
    if blank is None:
        return
    move = Move("a.b", item.key, {**blank, "mark": "m"}, blank)
    step = Step("a.b", "a.b", "files", "", move, move)
    for line in manual.commands([step]):
        words = shlex.split(line.partition("# ")[2].partition("  # ")[0])
        if "python3" in words:
            compile(words[words.index("-c") + 1], "typed", "exec")
            assert words[-2] == "/srv/it's" and words[-1].startswith("/var/lib/smbplan/runs/*/*/")
        assert "None" not in line
