"""Paths of this machine as people write them."""

from errno import ENOENT
from pathlib import Path


def expanded(path: str) -> Path:
    """With the home folder for which `~` or `~user` stands. Raises OSError where none is known."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise FileNotFoundError(ENOENT, f"no home folder is known for {path.partition('/')[0]}", path) from None
