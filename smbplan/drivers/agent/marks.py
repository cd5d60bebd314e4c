"""Marks of folders in an unprivileged container, whose root may not set trusted.*: by path and inode."""

from __future__ import annotations

import json
import os
from typing import Any

from .core import STATE, read_text, write


class Marks:
    """Kept beside the inventory."""

    FILE = STATE / "marks.json"

    def get(self, path: str) -> str | None:
        entry = self._read().get(path)
        return entry["mark"] if entry and entry["inode"] == os.stat(path).st_ino else None

    def set(self, path: str, mark: str | None) -> None:
        known = self._read()
        if mark is None and path not in known:
            return
        known.pop(path, None)
        if mark:
            known[path] = {"mark": mark, "inode": os.stat(path).st_ino}
        if known:
            write(self.FILE, json.dumps(known, sort_keys=True))
        else:
            self.FILE.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(read_text(self.FILE) or "{}")
        return found


MARKS = Marks()
