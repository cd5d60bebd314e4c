"""Compare and set, marks, ACLs as text, and durable files: what the agent does without a host."""

import errno
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.simulated import Box

from smbplan.drivers.agent import acl, core, journal, main
from smbplan.drivers.agent.core import Refused, matches, move, seal, unseal


@pytest.mark.parametrize(
    ("state", "wanted", "expected"),
    [
        (None, None, True),
        (None, {"a": None}, False),
        ({"a": 1}, None, False),
        ({"a": 1}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": None}, True),
        ({"a": 1}, {"a": 1, "b": None}, True),
        ({"a": 0}, {"a": False}, True),
        ({"mark": "s/x"}, {"mark": None}, False),
        ({"mark": None}, {"mark": None}, True),
        ({"mark": "s/x", "a": 1}, {"a": 1}, True),
        (["x"], ["x"], True),
        ("x", {"a": None}, False),
    ],
)
def test_matches(state: Any, wanted: Any, expected: bool) -> None:
    assert matches(state, wanted) is expected


STATES = st.none() | st.dictionaries(st.sampled_from(["a", "b", "mark"]), st.sampled_from([1, 2, None]), max_size=3)


@given(STATES, STATES, STATES)
def test_a_move_sets_what_it_found_as_expected_and_nothing_else(now: Any, before: Any, after: Any) -> None:
    box = Box("thing")
    if now is not None:
        box.states["x"] = now
    known = matches(now, before) or matches(now, after)
    try:
        move(box, "x", before, after, {})
    except Refused as refused:
        assert not known
        words = "is there already" if before is None else "was changed by somebody else"
        assert words in refused.summary
        assert box.get("x", {}) == now
        return
    assert known
    assert matches(box.get("x", {}), after)
    move(box, "x", before, after, {})  # again, after a lost answer
    assert matches(box.get("x", {}), after)


def test_an_object_cut_short_by_ourselves_is_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box("thing")
    box.states["x"] = {"a": "half"}
    with pytest.raises(Refused):
        move(box, "x", {"a": 1}, {"a": 2}, {})
    monkeypatch.setattr(box, "torn", lambda name, state, after, options: state == {"a": "half"})
    move(box, "x", {"a": 1}, {"a": 2}, {})
    assert box.states["x"] == {"a": 2}


def test_what_is_as_good_as_absent_is_overwritten_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box("thing")
    box.states["x"] = {"a": "stock"}
    with pytest.raises(Refused, match="is there already"):
        move(box, "x", None, {"a": 1}, {})
    monkeypatch.setattr(box, "vacant", lambda state: state in (None, {"a": "stock"}))
    move(box, "x", None, {"a": 1}, {})
    assert box.states["x"] == {"a": 1}
    box.states["x"] = {"a": "stock"}
    move(box, "x", {"a": 1}, None, {})
    assert box.states["x"] == {"a": "stock"}, "undone before"


MARKS = st.from_regex(r"[a-z0-9-]{1,8}/[a-z.0-9_-]{1,12}", fullmatch=True)


@given(MARKS, st.text(max_size=8), st.text(max_size=8))
def test_a_mark_is_bound_to_its_thing(mark: str, thing: str, other: str) -> None:
    sealed = seal(mark, thing)
    assert unseal(sealed, thing) == mark
    assert "\n" not in sealed
    assert (unseal(sealed, other) is None) == (thing != other)


def test_a_mark_is_bound_to_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = seal("office/share.x", "x")
    monkeypatch.setattr(core, "machine", lambda: "a clone")
    assert unseal(sealed, "x") is None


@pytest.mark.parametrize("sealed", [None, "", "plain", "office/share.x", "office/share.x/0123456789", "/"])
def test_what_is_no_mark(sealed: str | None) -> None:
    assert unseal(sealed, "x") is None


@given(st.integers(0, 7))
def test_letters_and_bits(number: int) -> None:
    assert acl.bits(acl.letters(number)) == number
    assert len(acl.letters(number)) == 3


LETTERS = st.integers(0, 7).map(acl.letters)
NAMED = st.dictionaries(st.sampled_from(["user:root", "group:root", "user:4294", "group:4000"]), LETTERS, min_size=1)


@given(LETTERS, LETTERS, LETTERS, LETTERS, NAMED)
def test_an_acl_is_read_as_it_was_written(user: str, group: str, mask: str, other: str, named: dict[str, str]) -> None:
    plain = {"user:": user, "group:": group, "mask:": mask, "other:": other}
    entries = sorted((f"{key}:{letters}" for key, letters in {**plain, **named}.items()), key=acl._rank)
    stored: dict[tuple[str, str], bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "setxattr", lambda path, name, blob: stored.update({(path, name): blob}))
        patch.setattr(os, "getxattr", lambda path, name, follow_symlinks: stored[path, name])
        acl._set("/x", acl.ACCESS, entries)
        assert acl._entries("/x", acl.ACCESS, False) == entries
    assert acl._mode_bits(entries) == acl.bits(user) << 6 | acl.bits(mask) << 3 | acl.bits(other)


def test_the_mode_of_an_acl_without_a_mask_is_the_groups() -> None:
    assert acl._mode_bits(["user::rwx", "group::r-x", "other::---"]) == 0o750


def test_a_filesystem_without_acls_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "setxattr", unsupported)
    with pytest.raises(Refused, match="has no POSIX ACLs"):
        acl._set("/x", acl.ACCESS, ["user::rwx"])


def test_unknown_names_are_refused_and_numbers_stay_numbers() -> None:
    assert (acl.user_id("4242"), acl.user_name(4_294_000), acl.group_name(4_294_000)) == (4242, "4294000", "4294000")
    for find in (acl.user_id, acl.group_id):
        with pytest.raises(Refused, match="no-such-name"):
            find("no-such-name")


@given(st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_written_files_keep_their_bytes(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "new" / "file"
    core.write(path, text, 0o640)
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        core.write(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/etc/a"), ("nothing can be written: No space", "/etc/a")),
        (OSError(errno.EPERM, "Not permitted", "/etc/a"), ("PermissionError: [Errno 1] Not permitted: '/etc/a'", "")),
    ],
)
def test_a_full_disk_is_told_in_plain_words(
    error: OSError, words: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setitem(main.VERBS, "facts", fails)
    told = main._answer_to({"verb": "facts"})["error"]
    assert told["summary"].startswith(words[0]) and told["detail"] == words[1]


def test_a_file_of_others_keeps_what_it_has_besides_its_content(tmp_path: Path) -> None:
    file, link = tmp_path / "site.conf", tmp_path / "smb.conf"
    file.write_text("old")
    file.chmod(0o640)
    os.setxattr(file, "user.note", b"mine")
    link.symlink_to(file)
    core.rewrite(link, "new")
    assert link.is_symlink() and file.read_text() == "new"
    assert (file.stat().st_mode & 0o7777, os.getxattr(file, "user.note")) == (0o640, b"mine")
    core.rewrite(tmp_path / "other", "new")
    assert (tmp_path / "other").stat().st_mode & 0o7777 == 0o644


def test_commands_that_fail_or_are_missing_are_refused_with_their_words() -> None:
    assert core.run(["cat"], "text") == "text"
    with pytest.raises(Refused) as failed:
        core.run(["sh", "-c", "echo first >&2; echo last >&2; exit 3"])
    assert (failed.value.summary, failed.value.detail) == ("sh failed (3): last", "first\nlast")
    with pytest.raises(Refused, match="no-such-command is not installed"):
        core.run(["no-such-command"])


def test_a_node_waits_for_the_ctdbd_that_keeps_the_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(core, "is_node", lambda: True)
    monkeypatch.setattr(core, "_ctdbd_answers", lambda _: next(answers))
    monkeypatch.setattr(core.time, "sleep", lambda _: None)
    core.wait_for_ctdbd()
    monkeypatch.setattr(core, "_ctdbd_answers", lambda _: False)
    with pytest.raises(core.Untouched, match="ctdbd does not answer"):
        core.wait_for_ctdbd(-1.0)
    monkeypatch.setattr(core, "is_node", lambda: False)
    core.wait_for_ctdbd(-1.0)


def test_before_images_keep_the_first_and_go_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "STATE", tmp_path / "state")
    monkeypatch.setattr(core, "LOCAL", tmp_path / "state")
    images = core.Images()
    images.of("office", "run-1")
    images.keep("password:alice", lambda: "first")
    images.keep("password:alice", lambda: "second")
    assert images.recall("password:alice") == "first"
    (stored,) = (tmp_path / "state" / "runs" / "office" / "run-1").iterdir()
    assert stored.stat().st_mode & 0o777 == 0o600
    assert stored.parent.stat().st_mode & 0o777 == 0o700
    images.of("office", "run-2")
    images.forget(everything=False)
    assert stored.exists()
    images.forget(everything=True)
    assert not (tmp_path / "state").exists()
    with pytest.raises(Refused, match="before-image of password:alice is gone"):
        images.recall("password:alice")


def test_before_images_of_what_a_cluster_serves_are_found_by_any_of_its_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of its nodes themselves, which have databases of their own, by each alone."""
    monkeypatch.setattr(core, "STATE", tmp_path / "shared" / "files")
    monkeypatch.setattr(core, "LOCAL", tmp_path / "first")
    images, served = core.Images(), tmp_path / "shared" / "files" / "runs" / "office" / "run"
    images.of("office", "run")
    images.keep("password:alice", lambda: "hash")
    images.of("office", "run", core.LOCAL)
    images.keep("databases", lambda: "first's")
    monkeypatch.setattr(core, "LOCAL", tmp_path / "second")
    images.of("office", "run", core.LOCAL)
    assert not images.has("databases")
    images.of("office", "run")
    assert images.recall("password:alice") == "hash"
    assert {each.stat().st_mode & 0o777 for each in (served, *served.parents[:4])} == {0o700}
    images.forget(everything=False)
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize("link", [".smbplan", ".smbplan/files", ".smbplan/files/{}", ".smbplan/files/{}/office"])
@pytest.mark.parametrize("notes", ["runs", "journal"])
def test_notes_are_not_deleted_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, notes: str
) -> None:
    """A container's root writes on what its host's root tidies up."""
    state = tmp_path / "shared" / ".smbplan" / "files"
    for module in (core, journal):
        monkeypatch.setattr(module, "STATE", state)
    precious = tmp_path / "elsewhere" / (state / notes / "office").relative_to(tmp_path / "shared") / "precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    place = tmp_path / "shared" / link.format(notes)
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere" / link.format(notes))
    images = core.Images()
    images.of("office", "run")
    forget = images.forget if notes == "runs" else journal.Journal("office", "run").drop
    if notes == "runs" and link.endswith("office"):
        forget(True)  # the last one is no folder of images
    else:
        with pytest.raises(Refused, match="not deleted through a link"):
            forget(True)
    assert precious.exists()


def test_a_link_that_is_put_there_meanwhile_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "STATE", tmp_path / "shared" / ".smbplan" / "files")
    runs, mine = core.STATE / "runs", tmp_path / "mine"
    for folder in (runs, mine):
        (folder / "office").mkdir(parents=True)
    with core.pinned(runs) as pinned:
        runs.rename(tmp_path / "away")
        runs.symlink_to(mine)
        (pinned / "office").rmdir()
    assert (mine / "office").exists() and not (tmp_path / "away" / "office").exists()


def test_what_nobody_saw_when_it_was_planned_comes_back_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its before-image is made when it is changed, and is this run's own."""

    class Thing(core.Object):
        state: ClassVar[dict[str, Any]] = {"owner": "theirs", "mode": "0755"}

        def get(self, name: str, options: dict[str, Any]) -> Any:
            return dict(self.state)

        def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
            Thing.state = after

    unseen, wanted = {"owner": None, "mode": None}, {"owner": "ours", "mode": "2770"}
    monkeypatch.setattr(core.IMAGES, "_folder", tmp_path / "run")
    for _ in range(2):
        core.move(Thing(), "x", unseen, wanted, {})
        assert Thing.state == wanted
    core.move(Thing(), "x", wanted, unseen, {})
    assert Thing.state == {"owner": "theirs", "mode": "0755"}
    monkeypatch.setattr(core.IMAGES, "_folder", tmp_path / "another")
    core.move(Thing(), "x", unseen, wanted, {})
    monkeypatch.setattr(core.IMAGES, "_folder", tmp_path / "a third")
    core.move(Thing(), "x", wanted, unseen, {})
    assert Thing.state == wanted, "what another run has changed is not this one's to undo"
