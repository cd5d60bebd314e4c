"""File systems on disks, here in files: what is empty, what may be formatted, and what never is."""

import os
import subprocess
from pathlib import Path

import pytest

from smbplan.drivers.agent import filesystem
from smbplan.drivers.agent.core import IMAGES, Refused, Untouched, move
from smbplan.drivers.agent.filesystem import UNNAMED, FileSystem

SIZE = 64 << 20
WANTED = {"type": "ext4", "uuid": "6a1f9f0e-6e0f-4d0b-9d62-2f6a3c7d5b11", "size": SIZE}
BLANK = {"type": "", "uuid": "", "size": SIZE}
KIND = FileSystem()


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, SIZE)
    monkeypatch.setattr(IMAGES, "_folder", tmp_path / "images")
    monkeypatch.setattr(filesystem, "_device", lambda serial: str(path))
    monkeypatch.setattr(filesystem, "_size", os.path.getsize)
    real = filesystem.run
    monkeypatch.setattr(filesystem, "run", lambda argv: "" if argv[0] == "udevadm" else real(argv))
    return path


def leftovers(disk: Path) -> None:
    """Of a volume that was deleted: lvcreate(8) wipes the first sectors only."""
    with disk.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(1 << 20))


def test_an_empty_disk_is_formatted_and_is_empty_again(disk: Path) -> None:
    assert KIND.get("x", {}) == BLANK
    move(KIND, "x", BLANK, WANTED, {})
    assert KIND.get("x", {}) == WANTED
    listed = subprocess.run(["debugfs", "-R", "ls /", str(disk)], capture_output=True, text=True, check=True)
    assert "lost+found" not in listed.stdout
    clean = subprocess.run(["e2fsck", "-p", "-f", str(disk)], capture_output=True, check=False)
    assert clean.returncode in (0, 1), "1: it has made lost+found anew"


def test_a_disk_that_came_after_the_plan_may_hold_what_its_storage_left_there(disk: Path) -> None:
    leftovers(disk)
    assert KIND.get("x", {})["type"] == UNNAMED
    with pytest.raises(Untouched, match="changed by somebody else"):
        move(KIND, "x", BLANK, WANTED, {})
    move(KIND, "x", None, WANTED, {})
    assert KIND.get("x", {}) == WANTED


@pytest.mark.parametrize("before", [None, BLANK])
def test_a_file_system_of_others_is_never_formatted(disk: Path, before: dict[str, object] | None) -> None:
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    content = disk.read_bytes()
    with pytest.raises(Untouched):
        move(KIND, "x", before, WANTED, {})
    assert disk.read_bytes() == content


def test_one_of_ours_that_came_back_only_grows(disk: Path) -> None:
    move(KIND, "x", BLANK, WANTED, {})
    os.truncate(disk, 2 * SIZE)
    move(KIND, "x", None, {**WANTED, "size": 2 * SIZE}, {})
    assert KIND.get("x", {}) == {**WANTED, "size": 2 * SIZE}


def test_one_of_ours_that_is_damaged_is_not_formatted(disk: Path) -> None:
    """The inventory knew it before; its superblock is gone, and its data is not."""
    move(KIND, "x", BLANK, WANTED, {})
    with disk.open("r+b") as file:
        file.seek(1024)
        file.write(os.urandom(1024))
    content = disk.read_bytes()
    with pytest.raises(Untouched, match="is there already"):
        move(KIND, "x", None, WANTED, {"known": True})
    assert disk.read_bytes() == content


def test_only_what_this_run_has_made_is_unmade(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move(KIND, "x", BLANK, WANTED, {})
    monkeypatch.setattr(IMAGES, "_folder", tmp_path / "another run")
    assert move(KIND, "x", None, WANTED, {}) == []
    assert move(KIND, "x", WANTED, None, {}) == []
    assert KIND.get("x", {}) == WANTED, "it came back with its disk"


def test_a_disk_that_appears_late_with_our_own_is_as_it_should_be(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move(KIND, "x", BLANK, WANTED, {})
    late = iter(["", str(disk), str(disk), str(disk), str(disk)])
    monkeypatch.setattr(filesystem, "_device", lambda serial: next(late))
    assert move(KIND, "x", None, WANTED, {}) == []


def test_a_format_that_was_cut_short_is_taken_back(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = filesystem.run

    def run(argv: list[str]) -> str:
        if argv[0] == "mkfs.ext4":
            leftovers(disk)
            raise Refused("mkfs.ext4 failed (-9)")
        return real(argv)

    monkeypatch.setattr(filesystem, "run", run)
    with pytest.raises(Refused, match="failed"):
        move(KIND, "x", None, WANTED, {})
    assert move(KIND, "x", WANTED, None, {}) == []


def test_the_way_out_of_what_is_foreign_leads_out(disk: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", str(disk)], check=True)
    subprocess.run(["wipefs", "-q", "-a", str(disk)], check=True)
    assert KIND.get("x", {})["type"] == UNNAMED
    with disk.open("r+b") as file:  # as blkdiscard -z does
        file.truncate(0)
        file.truncate(SIZE)
    assert KIND.get("x", {}) == BLANK
