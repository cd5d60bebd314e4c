"""Folders in /etc/pve/priv/lock as pmxcfs keeps them.

Who sets the time 0 asks for one to be removed, which is done when its time has not been changed for 120 s.
pmxcfs: cfs-plug-memdb.c, memdb_lock_expired
"""

import os
import time
from contextlib import suppress
from pathlib import Path

LIFETIME = 120.0  # seconds
LOOKS = 0.2  # seconds between two looks; pmxcfs is asked itself


class LockDirs:
    def __init__(self, root: Path, lifetime: float = LIFETIME) -> None:
        self._folder, self._lifetime = root / "priv" / "lock", lifetime
        self._seen: dict[Path, tuple[float, float]] = {}  # its time, and when that was seen first

    def look(self) -> None:
        now = time.monotonic()
        there = [path for path in self._folder.glob("*") if path.is_dir()]
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        for path in there:
            with suppress(OSError):
                self._judge(path, path.stat().st_mtime, now)

    def _judge(self, path: Path, told: float, now: float) -> None:
        known, since = self._seen.get(path, (0.0, now))
        if told == 0 and known and now - since >= self._lifetime:
            path.rmdir()
        elif told == 0:
            os.utime(path, (known or time.time(),) * 2)
            self._seen[path] = path.stat().st_mtime, since
        elif told != known:
            self._seen[path] = told, now

    def run(self) -> None:
        """For a thread."""
        while True:
            self.look()
            time.sleep(LOOKS)
