"""Commands in a virtual machine by QEMU's guest agent, as the API passes them on. `…/agent/exec`"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
INPUT = 60000  # characters that a command may be given (65536), or a file in one request (61440)
PASSING = (0, 596, 597, 599)  # answers of a server that is restarted; the command goes on
PATIENCE = 60.0  # seconds without an answer: a machine may be busy, too
BUSY = 15.0  # seconds in which an agent may be too busy to begin anything
FIRST, LONGEST = 0.1, 0.5  # seconds before a look; the next is twice as long: no program starts and ends at once
SHARE = 3  # and so many times as long as a look takes: one is work for the machine, too


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


class Slow(ApiError):
    """A command that did not end in its time; it goes on in the machine."""


def ping(client: Client, path: str) -> bool:
    """Whether the agent answers. Raises ApiError where it never will."""
    try:
        client.post(f"{path}/agent/ping")
    except ApiError as error:
        if _is_silent(error):
            return False
        raise
    return True


def _is_silent(error: ApiError) -> bool:
    return _is_busy(error) or "is not running" in f"{error.summary} {error.detail}"


def _is_busy(error: ApiError) -> bool:
    """Of an agent that gives no answer in the time that Proxmox waits, while its machine runs."""
    words = f"{error.summary} {error.detail}"
    return "agent is not running" in words or "got timeout" in words


def execute(client: Client, path: str, argv: Sequence[str], given: str = "", timeout: float = 60.0) -> Done:
    """Run a command; `given` is its standard input, at most INPUT characters. Raises ApiError, Slow after its time."""
    more: dict[str, Any] = {"input-data": given} if given else {}
    pid = _begun(client, path, command=list(argv), **more)
    deadline, pause, heard = time.monotonic() + timeout, FIRST, time.monotonic()
    time.sleep(pause)
    while True:
        asked = time.monotonic()
        try:
            status = client.get(f"{path}/agent/exec-status", pid=pid)
            heard = time.monotonic()
        except ApiError as error:
            if not (error.status in PASSING or _is_busy(error)) or time.monotonic() > heard + PATIENCE:
                raise
            time.sleep(LONGEST)
            continue
        if int(status["exited"]):
            code = status.get("exitcode", status.get("signal", 1))
            return Done(int(code), status.get("out-data", ""), status.get("err-data", ""))
        if time.monotonic() > deadline:
            raise Slow(f"{argv[0]} in the VM did not end within {timeout:.0f} s", "", "look into the VM")
        pause = min(LONGEST, max(pause, SHARE * (heard - asked)))
        time.sleep(pause)
        pause *= 2


def _begun(client: Client, path: str, **command: Any) -> int:
    """The id of the process. An agent that Proxmox doesn't hear in its time was not asked, and may be busy."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            return int(client.post(f"{path}/agent/exec", **command)["pid"])
        except ApiError as error:
            if "agent is not running" not in f"{error.summary} {error.detail}" or time.monotonic() > deadline:
                raise
            time.sleep(LONGEST)


def host_key(client: Client, path: str) -> str:
    """The public key of the machine's SSH server; "" where the agent does not tell it."""
    try:
        words = str(client.get(f"{path}/agent/file-read", file=HOST_KEY)["content"]).split()
    except ApiError:
        return ""
    return " ".join(words[:2])
