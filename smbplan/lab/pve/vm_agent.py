"""The guest agent of a machine: one request at a time, and none gets the answer to another."""

import base64
import json
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smbplan.lab.pve import files
from smbplan.lab.pve.errors import ApiError
from smbplan.lab.pve.machine import AgentError

SYNC = 5.0  # a running agent answers in milliseconds, but the guest may be busy
SILENT = "QEMU guest agent is not running"


class Agent:
    """By its socket; the lock beside it is for all processes of the node."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, command: str, arguments: Mapping[str, Any] | None = None, timeout: float = 10.0) -> Any:
        """The answer's `return`. Raises AgentError."""
        end = time.monotonic() + timeout
        try:
            with files.file_lock(self.path.with_suffix(".qga-lock"), timeout), self._open(end) as channel:
                channel.send({"execute": command} | ({"arguments": dict(arguments)} if arguments else {}))
                if command == "guest-shutdown":
                    return {}  # it has no answer when it works
                said = channel.answer(end)
        except (OSError, ValueError):
            raise AgentError(f"VM command '{command}' failed - got timeout") from None
        except ApiError:  # of the lock
            raise AgentError(SILENT) from None
        if "error" in said:
            raise AgentError(said["error"].get("desc", "unknown"))
        return said["return"]

    @contextmanager
    def _open(self, end: float) -> Iterator["_Channel"]:
        with socket.socket(socket.AF_UNIX) as connection:
            channel = _Channel(connection)
            try:
                connection.settimeout(2)
                connection.connect(str(self.path))
                # 0xFF ends a request that was cut off; answers to that, and late ones, come before our number.
                number = secrets.randbelow(2**31)
                connection.sendall(b"\xff")
                channel.send({"execute": "guest-sync-delimited", "arguments": {"id": number}})
                until = min(end, time.monotonic() + SYNC)
                while channel.answer(until).get("return") != number:
                    pass
            except (OSError, ValueError):
                raise AgentError(SILENT) from None
            yield channel

    def run(self, script: str, timeout: float = 60.0) -> str:
        """What a shell in the guest prints. Raises AgentError."""
        words = {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True}
        pid = self.ask("guest-exec", words)["pid"]
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            done = self.ask("guest-exec-status", {"pid": pid})
            if done["exited"]:
                said = base64.b64decode(done.get("out-data", "")).decode()
                if done.get("exitcode"):
                    failed = base64.b64decode(done.get("err-data", "")).decode()
                    raise AgentError(f"`{script[:80]}` ended with {done['exitcode']}: {failed[-500:]}{said[-500:]}")
                return said
            time.sleep(0.05)
        raise AgentError(f"`{script[:80]}` did not end within {timeout:.0f} s")

    def write(self, place: str, text: str) -> None:
        """A file in the guest. Raises AgentError."""
        handle = self.ask("guest-file-open", {"path": place, "mode": "w"})
        self.ask("guest-file-write", {"handle": handle, "buf-b64": base64.b64encode(text.encode()).decode()})
        self.ask("guest-file-close", {"handle": handle})

    def read(self, place: str) -> str:
        """A small file's text. Raises AgentError."""
        handle = self.ask("guest-file-open", {"path": place})
        data = self.ask("guest-file-read", {"handle": handle, "count": 65536})["buf-b64"]
        self.ask("guest-file-close", {"handle": handle})
        return base64.b64decode(data).decode()

    def wait(self, timeout: float) -> None:
        """Return when it answers. Raises AgentError."""
        end = time.monotonic() + timeout
        while True:
            try:
                self.ask("guest-ping", timeout=2)
                return
            except AgentError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)


class _Channel:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.rest = b""

    def send(self, words: Mapping[str, Any]) -> None:
        self.connection.sendall(json.dumps(words).encode() + b"\n")

    def answer(self, end: float) -> dict[str, Any]:
        """The next line. Raises OSError and ValueError."""
        while b"\n" not in self.rest:
            self.connection.settimeout(max(0.01, end - time.monotonic()))
            data = self.connection.recv(65536)
            if not data:
                raise OSError("closed")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        said = json.loads(line.rpartition(b"\xff")[2] or b"{}")
        return said if isinstance(said, dict) else {}
