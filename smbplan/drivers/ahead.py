"""Connections that are made before anybody knows for sure that they are needed."""

import atexit
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from smbplan.drivers import pipes

_WAITING: dict[tuple[str, ...], tuple["subprocess.Popen[bytes]", int]] = {}


def started(command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Raises FileNotFoundError."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us: the target finishes what it does
    )


def begin(commands: Iterable[Sequence[str]], line: Callable[[], bytes]) -> None:
    """The line is what each is given first. What nobody takes ends with this process."""
    for command in {*map(tuple, commands)}:
        with suppress(OSError):  # who needs it tries again, and tells
            _WAITING[command] = started(command), 0
    atexit.register(_drop)
    for command, (process, _) in _WAITING.items():  # while they connect
        _WAITING[command] = process, _given(process, line())


def _given(process: "subprocess.Popen[bytes]", line: bytes) -> int:
    """How many bytes its pipe takes: nobody waits until it reads them."""
    assert process.stdin is not None
    pipe = process.stdin.fileno()
    with suppress(OSError, AttributeError):  # where a pipe can't be larger, it takes less
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, len(line))
    os.set_blocking(pipe, False)
    try:
        return os.write(pipe, line)
    except OSError:
        return 0  # it has ended, which shows when it is taken


def taken(command: Sequence[str]) -> "tuple[subprocess.Popen[bytes], int] | None":
    """The connection that this command has made meanwhile, and what it was given; nobody else gets it."""
    return _WAITING.pop(tuple(command), None)


def _drop() -> None:
    while _WAITING:
        _, (process, _) = _WAITING.popitem()
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # a ProxyCommand, too, which would hold this process up
        pipes.close(process)
        process.wait()
