"""Who may write above a folder swaps it for a link while it is made, marked or deleted: root follows nothing."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from smbplan.drivers.agent import acl, below, mapped, paths, storage
from smbplan.drivers.agent.core import IMAGES, Refused, seal
from smbplan.drivers.agent.storage import MARK, Directory

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may set marks")
OPEN = ["user::rwx", "group::rwx", "other::rwx"]
AFTER = {"mark": "office/directory.a", "owner": "root", "group": "users", "special": "0", "acl": OPEN, "default": []}


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below one that others may write in."""
    monkeypatch.setattr(storage.MARKS, "set", lambda name, sealed: None)
    monkeypatch.setattr(IMAGES, "_folder", tmp_path / "images")
    (tmp_path / "outer" / "x").mkdir(parents=True)
    victim = tmp_path / "victim" / "inner"
    victim.mkdir(parents=True)
    (victim / "secret").write_text("")
    return tmp_path / "outer" / "x" / "inner"


def swapped(share: Path) -> None:
    share.parent.rename(share.parent.with_name("old"))
    share.parent.symlink_to(share.parents[2] / "victim")


def seen(share: Path) -> Mapping[str, Any]:
    victim = share.parents[2] / "victim"
    found = {str(path): os.lstat(path) for path in [victim, *victim.rglob("*")]}
    return {name: (info.st_mode, info.st_uid, info.st_gid, os.listxattr(name)) for name, info in found.items()}


@pytest.mark.parametrize("when", ["_create", "_set_mark", "_configure"])
def test_while_it_is_made(share: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    before, kind = seen(share), Directory()
    real = getattr(kind, when)

    def done(*given: Any) -> None:
        real(*given)
        swapped(share)

    monkeypatch.setattr(kind, when, done)
    with pytest.raises((Refused, OSError)):
        kind.set(str(share), None, AFTER, {})
    assert seen(share) == before


@pytest.mark.parametrize(
    "work",
    [
        lambda share: acl.write(share, AFTER),
        lambda share: mapped.let_in(share, {"users": [[100000, 165535]], "groups": [[100000, 165535]]}),
        lambda share: below.settle(share, AFTER),
        lambda share: Directory()._set_mark(share, "x"),
        lambda share: Directory._make_parents(f"{share}/a/b"),
        lambda share: storage._delete_aside(share, storage._delete_tree),
        lambda share: Directory()._create(f"{share}/a"),
    ],
)
def test_whatever_is_done_with_it(share: Path, work: Callable[[str], object]) -> None:
    before = seen(share)
    share.mkdir()
    swapped(share)
    with pytest.raises((Refused, OSError)):
        work(str(share))
    assert seen(share) == before


def test_without_that_all_of_it_works(share: Path) -> None:
    kind, name = Directory(), str(share / "deep" / "er")
    kind.set(name, None, AFTER, {})
    assert kind.get(name, {}) == {**AFTER, "empty": True}
    assert os.getxattr(name, MARK).decode() == seal(AFTER["mark"], name)
    kind.set(name, AFTER, None, {"delete_data": True})
    assert not share.exists()


def test_another_path_is_that_of_the_thing_itself(share: Path) -> None:
    share.mkdir()
    with paths.opened(str(share)) as there:
        swapped(share)
        os.chmod(there, 0o711)
    assert os.stat(share.parent.with_name("old") / "inner").st_mode & 0o777 == 0o711
