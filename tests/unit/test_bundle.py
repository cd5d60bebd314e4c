"""What came of compiling the agent is kept on its target: whole, or not at all."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from smbplan.drivers import bundle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's agent keeps anything")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundle, "LOADER", bundle.LOADER.replace('"/run/smbplan"', repr(str(tmp_path / "kept"))))
    monkeypatch.setattr(bundle, "bundle", bundle.bundle.__wrapped__)
    return tmp_path / "kept"


def started(room: int = resource.RLIM_INFINITY) -> bool:
    """Whether an agent starts whose files may have so many bytes."""
    done = subprocess.run(
        [sys.executable, "-Iu", "-c", bundle.BOOT],
        input=bundle.bundle(),
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    return b'"ready"' in done.stdout


def test_where_there_is_no_room_nothing_of_it_stays(folder: Path) -> None:
    """Every connection left another piece, until there was no room for anybody."""
    assert started(room=50_000) and not list(folder.iterdir())
    assert started() and len(list(folder.iterdir())) == 1


def test_one_that_is_damaged_is_made_anew(folder: Path) -> None:
    assert started()
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    for data in (b"", whole[: len(whole) // 2], bytes(len(whole)), whole[:1000] + bytes(len(whole) - 1000)):
        kept.write_bytes(data)
        assert started() and kept.read_bytes() == whole


def test_what_others_may_write_is_not_run(folder: Path) -> None:
    assert started()
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    for place, mode in ((folder, 0o777), (kept, 0o666)):
        kept.write_bytes(b"whatever")
        before = place.stat().st_mode
        place.chmod(mode)
        assert started()
        place.chmod(before)
    assert started() and kept.read_bytes() == whole


def test_it_is_the_same_from_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two operators dropped what the other one had kept: their file systems list the modules in another order."""
    here, listed = bundle.bundle(), Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: reversed([*listed(self, pattern)]))
    assert bundle.bundle.__wrapped__() == here
