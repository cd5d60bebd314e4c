"""Durable files that are for the user alone, and where they are."""

import os
from pathlib import Path


def home() -> Path:
    """Where state is kept: $SMBPLAN_STATE, or the user's state folder."""
    from platformdirs import user_state_path

    return Path(os.environ.get("SMBPLAN_STATE") or user_state_path("smbplan"))


def make(folder: Path) -> None:
    """The folder, and what is missing above it."""
    for path in reversed([folder, *folder.parents]):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)


def write(path: Path, text: str) -> None:
    """The old file or the new one, never half of one."""
    make(path.parent)
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    file = os.open(folder, os.O_RDONLY)
    os.fsync(file)
    os.close(file)
