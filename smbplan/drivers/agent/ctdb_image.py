"""A node of a cluster as it is, packed: with that it comes back, when a cluster has been taken apart.

A person who has to bring it back unpacks the same, see report.clusters.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from .core import IMAGES

NAME = "a node of CTDB"


def keep(files: Iterable[Path], folders: Iterable[Path]) -> None:
    """Those that are there, with their owners and modes; of the folders only these."""
    IMAGES.keep(NAME, lambda: packed([*folders, *files]))


def packed(paths: Iterable[Path]) -> str:
    """Base64 of a tar file that was compressed with gzip."""
    import tarfile  # of which nothing else here needs to know

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for path in paths:
            if path.exists() or path.is_symlink():
                tar.add(path, recursive=False)
    return base64.encodebytes(file.getvalue()).decode()


def unpack(folder: Path) -> None:
    """What is packed of this folder, if anything is."""
    if not IMAGES.has(NAME):
        return
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(IMAGES.recall(NAME)))) as tar:
        for member in tar:
            if member.isfile() and Path("/", member.name).parent == folder:
                tar.extract(member, "/")
