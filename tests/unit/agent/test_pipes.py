"""A guest's root may put a pipe in place of a note on what nodes share: its host's agent does not wait for it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smbplan.drivers.agent import core, journal, lease
from smbplan.drivers.agent.core import IMAGES, Refused, Untouched, image_file, read_text
from smbplan.drivers.agent.journal import Journal

NOTE = {"step": "a", "way": "do", "words": {}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (core, journal, lease):
        monkeypatch.setattr(module, "STATE", tmp_path)
    monkeypatch.setattr(core, "LOCAL", tmp_path)
    monkeypatch.setattr(IMAGES, "_folder", tmp_path / "runs" / "office" / "run")
    return tmp_path


def at_once(work: Callable[[], Any]) -> Any:
    """What it returns or raises, within a few seconds."""
    found: list[Any] = []

    def done() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=done, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive(), "it waits"
    return found[0]


def pipe(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


def test_what_is_read_is_a_plain_file(home: Path) -> None:
    assert isinstance(at_once(lambda: read_text(pipe(home / "identity"))), OSError)
    for other in (home, Path("/dev/zero")):
        assert isinstance(at_once(lambda other=other: read_text(other)), OSError)
    assert read_text(home / "nothing") is None
    (home / "file").write_bytes(b"a\xff")
    assert read_text(home / "file") == "a�" and read_text(home / "file", exact=True) == "a\udcff"


def test_a_before_image_is_gone_then_and_else_comes_back_as_it_was(home: Path) -> None:
    IMAGES.keep("file", lambda: "a\udcff\r\n")
    assert IMAGES.recall("file") == "a\udcff\r\n"
    pipe(IMAGES._folder / image_file("other"))
    assert isinstance(at_once(lambda: IMAGES.recall("other")), Refused)


def test_a_step_that_can_not_be_written_down_is_not_begun(home: Path) -> None:
    written = Journal("office", "run")
    pipe(home / "journal" / "office" / "run")
    assert isinstance(at_once(lambda: written.doing([NOTE])), Untouched)
    assert isinstance(at_once(lambda: journal.runs("office")), OSError)


def test_nobody_has_a_lease_that_is_none(home: Path) -> None:
    pipe(home / "lease")
    found = lease.Lease()
    assert found._path == home / "lease" and at_once(found._read) is None
