"""The emptying of recycle bins, as it runs on a gateway."""

import os
import subprocess
import time
from pathlib import Path

from smbplan import templates

DAY = 86400


def binned(folder: Path, days: float) -> Path:
    """A file that somebody deleted from a share, or from his home folder in it, so many days ago."""
    path = folder / ".recycle/ann/deep/file"
    path.parent.mkdir(parents=True)
    path.write_text("x")
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


def emptied(share: Path, days: int = 10) -> None:
    script = templates.render("recycle.sh.j2")
    subprocess.run(["sh", "-c", script, "recycle", str(share), str(days)], check=True)


def test_what_was_binned_long_ago_goes_from_the_share_and_from_the_homes_in_it(tmp_path: Path) -> None:
    share = tmp_path / "share"
    old, new = binned(share, 20), binned(share / "bob", 5)
    homes = binned(share / "a b", 20)
    (tmp_path / "link").symlink_to(share)  # the path of a share may be one
    emptied(tmp_path / "link")
    assert [path.exists() for path in (old, homes, new)] == [False, False, True]
    assert (share / ".recycle/ann").is_dir() and not old.parent.exists()


def test_bins_behind_links_are_left(tmp_path: Path) -> None:
    """A user's link in his share had the bin of another share emptied by this one's days."""
    share, other = tmp_path / "share", tmp_path / "other"
    kept = binned(other, 20)
    share.mkdir()
    (share / "x").symlink_to(other)
    (share / "bob").mkdir()
    (share / "bob/.recycle").symlink_to(other / ".recycle")
    emptied(share)
    assert kept.exists()
