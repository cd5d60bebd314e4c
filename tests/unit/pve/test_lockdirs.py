"""Folders that are locks, as pmxcfs keeps them."""

import os
import time
from pathlib import Path

import pytest

from smbplan.drivers.agent import pmxcfs
from smbplan.lab.pve.lockdirs import LockDirs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "priv" / "lock" / "smbplan-office"
    made.mkdir(parents=True)
    return made


def test_one_that_nobody_keeps_goes_when_somebody_asks(folder: Path) -> None:
    dirs = LockDirs(folder.parents[2], lifetime=0.05)
    dirs.look()
    os.utime(folder, (0, 0))
    dirs.look()
    assert folder.is_dir() and folder.stat().st_mtime > 0, "too early"
    time.sleep(0.06)
    dirs.look()
    assert folder.is_dir(), "nobody asks"
    os.utime(folder, (0, 0))
    dirs.look()
    assert not folder.exists()


def test_one_that_is_kept_stays(folder: Path) -> None:
    dirs = LockDirs(folder.parents[2], lifetime=0.05)
    for moment in range(1, 4):
        os.utime(folder, (moment, moment))
        dirs.look()
        time.sleep(0.03)
    os.utime(folder, (0, 0))
    dirs.look()
    assert folder.is_dir()


def test_a_slot_is_of_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pmxcfs, "PRIV", tmp_path / "priv")
    monkeypatch.setattr(pmxcfs, "SETTLES", 0.0)
    slot = pmxcfs.Slot("office")
    assert slot.take(False) and not pmxcfs.Slot("office").take(False) and pmxcfs.Slot("home").take(False)
    slot.refresh()
    assert time.time() - slot.heard < 5
    slot.free()
    assert pmxcfs.Slot("office").take(False)


def test_one_that_another_node_made_for_us_is_made_anew_when_it_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pmxcfs lets only the node that made it keep it."""
    monkeypatch.setattr(pmxcfs, "PRIV", tmp_path / "priv")
    slot, asked = pmxcfs.Slot("office"), list[object]()
    assert slot.take(False)

    def utime(path: Path, times: object = None) -> None:
        asked.append(times)
        if times is None:
            raise PermissionError
        if len(asked) > 4:
            path.rmdir()

    monkeypatch.setattr(os, "utime", utime)
    assert slot.take(True)
    assert asked == [None, (0, 0), None, (0, 0), None, (0, 0)]
