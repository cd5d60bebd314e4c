"""Paths below which others may write: whatever they put there meanwhile, no link is followed."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from .core import Refused


def plain(path: str) -> None:
    """Raises Refused for a path that leads through a symbolic link or a file."""
    here = ""
    for part in Path(path).parts[1:]:
        here += f"/{part}"
        try:
            mode = os.lstat(here).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return
        if stat.S_ISLNK(mode):
            raise Refused(f"{path} leads through the symbolic link {here}", "", f"use {Path(here).resolve()} instead")
        if not stat.S_ISDIR(mode):
            raise Refused(f"{here} is not a directory")


@contextmanager
def opened(path: str) -> Iterator[str]:
    """Another path of what it names now, wherever it leads to by then. Raises Refused for a link, and OSError."""
    file = os.open("/", os.O_PATH)
    try:
        for part in Path(path).parts[1:]:
            above, file = file, os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=file)
            os.close(above)
            if stat.S_ISLNK(os.fstat(file).st_mode):
                raise Refused(f"{path} leads through a symbolic link by now", "", "see who has made it")
        yield f"/proc/self/fd/{file}"
    finally:
        os.close(file)


@contextmanager
def inside(path: str) -> Iterator[str]:
    """The same for what need not be there yet: its folder is held. Raises Refused and OSError."""
    folder, name = os.path.split(path)
    with opened(folder) as there:
        yield f"{there}/{name}"
