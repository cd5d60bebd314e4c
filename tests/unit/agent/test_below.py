"""Folders that are made uniform, and put back, while their users go on: no path is followed, and no owner is set."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from smbplan.drivers.agent import acl, below, core, mapped, storage
from smbplan.drivers.agent.core import IMAGES, Refused, Untouched, image_file, move, seal
from smbplan.drivers.agent.storage import MARK, Directory
from smbplan.report import manual

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change what is others'")
DAVE = 12345
OPEN = {"special": "2", "acl": ["user::rwx", "group::rwx", "group:users:r-x", "mask::rwx", "other::---"]}
STATE: dict[str, Any] = {"owner": "root", "group": "users", **OPEN, "default": OPEN["acl"]}


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dave's files in a share, which differ from its root."""
    monkeypatch.setattr(IMAGES, "_folder", tmp_path / "runs" / "office" / "run")
    root = tmp_path / "share"
    (root / "sub").mkdir(parents=True)
    for name in ("a", "b", "sub/c"):
        (root / name).write_text(name)
        os.chown(root / name, DAVE, DAVE)
        os.chmod(root / name, 0o600)
    listed = [*OPEN["acl"][:3], "mask::r--", "other::r--"]
    acl.write(str(root / "b"), {"owner": str(DAVE), "group": "users", "special": "0", "acl": listed, "default": []})
    os.chmod(root / "sub", 0o1700)
    acl.write(str(root), STATE)
    return root


def rights(root: Path) -> Mapping[str, Any]:
    found = {str(path.relative_to(root)): path for path in [root, *root.rglob("*")]}
    return {name: (*os.lstat(path)[:1], *os.lstat(path)[4:6], acl.read(str(path))) for name, path in found.items()}


def settled(share: Path) -> None:
    below.settle(str(share), STATE)
    assert not list(below.deviating(str(share), STATE))


def typed(share: Path) -> None:
    """What is printed for it."""
    line = manual._below(str(share)).replace("/var/lib/smbplan/runs", str(IMAGES._folder.parent.parent))
    subprocess.run(["bash", "-ec", line.replace("python3", sys.executable)], check=True)


@pytest.mark.parametrize("back", [lambda share: below.restore(str(share)), typed], ids=["undo", "by hand"])
def test_all_of_it_comes_back(share: Path, back: Any) -> None:
    before = rights(share)
    settled(share)
    assert rights(share) != before
    back(share)
    assert rights(share) == before
    back(share)
    assert rights(share) == before


@pytest.mark.parametrize("back", [lambda share: below.restore(str(share)), typed], ids=["undo", "by hand"])
def test_a_link_in_place_of_a_file_leads_nowhere(share: Path, tmp_path: Path, back: Any) -> None:
    """Who may write in the share got /etc/shadow that way."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    before, settled_ = os.stat(secret), settled(share)
    assert settled_ is None
    (share / "a").unlink()
    (share / "a").symlink_to(secret)
    (share / "sub" / "c").unlink()
    back(share)
    after = os.stat(secret)
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert os.stat(share / "b").st_mode & 0o777 == 0o744 and not (share / "sub" / "c").exists()


def test_what_has_an_old_inode_and_another_owner_is_left_alone(share: Path) -> None:
    settled(share)
    os.chown(share / "a", 23456, -1)
    left = os.lstat(share / "a").st_mode
    below.restore(str(share))
    assert os.lstat(share / "a").st_mode == left


def test_what_comes_after_the_before_image_is_not_made_uniform(share: Path) -> None:
    settled(share)
    (share / "new").write_text("")
    (share / "new").chmod(0o600)
    below.settle(str(share), STATE)
    assert os.stat(share / "new").st_mode & 0o777 == 0o600


def test_an_undo_puts_it_back_however_many_files_differ_by_then(share: Path) -> None:
    """Their number was taken for the state: with as many new ones, nothing was put back."""
    mark = "office/directory.share"
    os.setxattr(share, MARK, seal(mark, str(share)).encode())
    options, undo = {"recursive": True}, {"recursive": True, "undo": True}
    kind, name = Directory(), str(share)
    before, files = kind.get(name, options), rights(share)
    assert before["deviating"] == 4
    after = {**before, "deviating": 0}
    move(kind, name, {**before, "empty": None}, after, options)
    for number in range(4):
        (share / f"new{number}").touch(0o600)
    move(kind, name, after, {**before, "empty": None}, undo)
    assert {name: found for name, found in rights(share).items() if not name.startswith("new")} == files
    acl.write(name, {**STATE, "special": "0"})
    with pytest.raises(Untouched, match="somebody else"):
        move(kind, name, after, {**before, "empty": None}, undo)


@pytest.mark.parametrize("cut_short", [False, True])
def test_what_was_uniform_before_comes_back_as_it_was(share: Path, cut_short: bool) -> None:
    """Made uniform once more, a file had lost its x bits by then; and an undo that had got to the root was over."""
    mark, name = "office/directory.share", str(share)
    os.setxattr(share, MARK, seal(mark, name).encode())
    below.settle(name, STATE)
    acl.write(f"{name}/a", {**acl.read(f"{name}/a"), "acl": ["user::rwx", *OPEN["acl"][1:]]})
    next(IMAGES._folder.iterdir()).unlink()
    options, undo, kind = {"recursive": True}, {"recursive": True, "undo": True}, Directory()
    before, files = {**kind.get(name, options), "empty": None}, rights(share)
    assert before["deviating"] == 0
    after = {**before, "acl": ["user::rwx", "group::rwx", "other::---"], "default": []}
    move(kind, name, before, after, options)
    assert rights(share) != files
    if cut_short:
        acl.write(name, STATE)
    move(kind, name, after, before, undo)
    assert rights(share) == files


def test_a_set_gid_bit_is_its_makers_and_not_another_groups(share: Path) -> None:
    os.chmod(share / "a", 0o6755)
    settled(share)
    info = os.stat(share / "a")
    assert info.st_gid != DAVE and info.st_mode & 0o6000 == 0o4000


def test_folders_may_be_nested_as_deeply_as_users_like(share: Path) -> None:
    here = os.open(share, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        above, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
        os.fchmod(here, 0o700)
        os.close(above)
    os.close(here)
    try:
        assert sum(1 for _ in below.deviating(str(share), STATE)) == 1504
    finally:
        subprocess.run(["rm", "-r", share / "d"], check=True)  # what is left of it is too deep for Python


def test_rights_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Refused, match="symbolic link"):
        acl.write(str(tmp_path / "link"), STATE)
    with pytest.raises(Refused, match="symbolic link"):
        mapped.let_in(str(tmp_path / "link"), {"users": [[100000, 165535]], "groups": [[100000, 165535]]})


def test_the_image_holds_only_what_is_changed(share: Path) -> None:
    (share / "fine").write_text("")
    acl.write(str(share / "fine"), {**STATE, "special": "0", "acl": ["user::rw-", *OPEN["acl"][1:]], "default": []})
    settled(share)
    kept = (IMAGES._folder / image_file(f"below {share}")).read_text().splitlines()
    assert {json.loads(row)["inode"] for row in kept} == {
        os.lstat(share / name).st_ino for name in ("a", "b", "sub", "sub/c", "fine") if name != "fine"
    }


def marked(path: Path, thing: Path) -> Path:
    path.mkdir()
    os.setxattr(path, MARK, seal("office/directory.a", str(thing)).encode())
    return path


def test_what_lies_in_the_way_of_a_deletion_and_is_not_ours_stays(tmp_path: Path) -> None:
    share = marked(tmp_path / "a", tmp_path / "a")
    other = tmp_path / "a.smbplan-deleted"
    other.mkdir()
    (other / "mine").write_text("")
    (share / "f").write_text("")
    for whose in (None, tmp_path / "b"):
        if whose:
            os.setxattr(other, MARK, seal("office/directory.b", str(whose)).encode())
        with pytest.raises(Untouched, match="in the way"):
            Directory().set(str(share), {}, None, {"delete_data": True})
    assert (other / "mine").exists() and (share / "f").exists()
    assert not Directory().torn(str(tmp_path / "a"), None, None, {})


def test_the_rest_of_a_deletion_goes_with_what_has_come_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.MARKS, "set", lambda name, sealed: None)
    share = marked(tmp_path / "a", tmp_path / "a")
    (marked(tmp_path / "a.smbplan-deleted", share) / "rest").write_text("")
    assert Directory().torn(str(share), None, None, {})
    Directory().set(str(share), {}, None, {"delete_data": True})
    assert not list(tmp_path.iterdir())


def test_the_owner_that_a_folder_is_to_have_is_set(share: Path) -> None:
    acl.write(str(share), {**STATE, "owner": str(DAVE)})
    assert os.stat(share).st_uid == DAVE and core.unseal(None, "x") is None
