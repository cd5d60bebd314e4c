"""Pipes to a process that may read nothing, or never stop talking: nothing takes longer than its deadline."""

import os
import selectors
import subprocess
import time
from contextlib import suppress

PART = 1 << 20


def send(stream: int, data: bytes, deadline: float) -> None:
    """What the other side says meanwhile waits: it answers what it has read. Raises OSError, as TimeoutError."""
    os.set_blocking(stream, False)
    rest = memoryview(data)
    with selectors.DefaultSelector() as ready:
        ready.register(stream, selectors.EVENT_WRITE)
        while rest:
            _wait(ready, deadline)
            rest = rest[os.write(stream, rest) :]


def receive(stream: int, deadline: float) -> bytes:
    """What comes next; nothing at the end. Raises OSError, as TimeoutError."""
    with selectors.DefaultSelector() as ready:
        ready.register(stream, selectors.EVENT_READ)
        _wait(ready, deadline)
        return os.read(stream, PART)


def _wait(ready: selectors.BaseSelector, deadline: float) -> None:
    """The clock counts also where a stream is ready each time."""
    left = deadline - time.monotonic()
    if left <= 0 or not ready.select(left):
        raise TimeoutError


def end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def close(process: "subprocess.Popen[bytes]") -> None:
    """All that lead to it; a broken pipe has nothing more to lose."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def rest(stream: int) -> bytes:
    """What an ended process has said; a child of it that goes on is not waited for."""
    os.set_blocking(stream, False)
    try:
        return os.read(stream, PART)
    except BlockingIOError:
        return b""
