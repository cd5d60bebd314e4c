"""Connections that are made before anybody knows for sure that they are needed."""

import atexit
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress

_WAITING: dict[tuple[str, ...], "subprocess.Popen[bytes]"] = {}


def started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Raises FileNotFoundError."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us: the target finishes what it does
    )


def begin(commands: Iterable[Sequence[str]]) -> None:
    """Nothing is sent over them, and what nobody takes ends with this process."""
    for command in {*map(tuple, commands)}:
        with suppress(OSError):  # who needs it tries again, and tells
            _WAITING[command] = started(command)
    atexit.register(_drop)


def taken(command: Sequence[str]) -> "subprocess.Popen[bytes] | None":
    """The connection that this command has made meanwhile; nobody else gets it."""
    return _WAITING.pop(tuple(command), None)


def _drop() -> None:
    while _WAITING:
        _, process = _WAITING.popitem()
        process.kill()
        process.communicate()
