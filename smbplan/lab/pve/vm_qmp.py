"""QEMU's monitor (QMP): one JSON object a line, one client at a time."""

import json
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from smbplan.lab.pve.machine import MachineError

TIMEOUT = 30.0


class Monitor:
    """A connection; others wait until it is closed. Everything raises MachineError."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.events: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
            self._file = self._socket.makefile("rb")
            self._answer("QMP")
            self.ask("qmp_capabilities")
        except (OSError, MachineError) as error:
            self._socket.close()
            raise MachineError(f"unable to connect to the monitor '{path}': {error}") from None

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str, /, **arguments: Any) -> Any:
        """The answer's `return`."""
        words = {"execute": command} | ({"arguments": arguments} if arguments else {})
        try:
            self._socket.sendall(json.dumps(words).encode() + b"\n")
            return self._answer("return")
        except OSError as error:
            raise MachineError(f"the monitor does not answer to {command}: {error}") from None

    def human(self, line: str) -> str:
        """What the human monitor prints for a line."""
        return str(self.ask("human-monitor-command", **{"command-line": line}))

    def wait(self, event: str, device: str, timeout: float) -> None:
        """Return when the event for this device has come, or was there already."""
        end = time.monotonic() + timeout
        while not any(one["event"] == event and one.get("data", {}).get("device") == device for one in self.events):
            if time.monotonic() > end:
                raise MachineError(f"{event} of {device}: nothing within {timeout:.0f} s")
            self.ask("query-status")  # events come with it
            time.sleep(0.05)

    def _answer(self, key: str) -> Any:
        while line := self._file.readline():
            said = json.loads(line)
            if "event" in said:
                self.events.append(said)
            elif "error" in said:
                raise MachineError(said["error"]["desc"])
            elif key in said:
                return said[key]
        raise OSError("it closed the connection")


def connect(path: Path, patience: float) -> Monitor:
    """Wait for a process that is just starting."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with suppress(MachineError):
            return Monitor(path)
        time.sleep(0.02)
    return Monitor(path)
