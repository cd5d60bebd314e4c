"""Long operations: a request answers with the task's id (UPID), and the outcome has to be asked for."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError, Lost, TaskFailed, Unreachable

FIRST, LONGEST = 0.1, 2.0  # seconds between two looks; each is half as long again as the one before
TIMEOUT = 600.0  # seconds; a template of a few hundred MB is unpacked in far less
AWAY = 90.0  # seconds without an answer to a look, after which nobody looks any more
ABORT = 30.0  # seconds for a task that was told to stop
TAIL = 12  # lines of the log that an error quotes


@dataclass(frozen=True, slots=True)
class Upid:
    """UPID:node:pid:pstart:starttime:type:id:user:"""

    text: str

    @property
    def node(self) -> str:
        return self.text.split(":")[1]

    @property
    def kind(self) -> str:
        return self.text.split(":")[5]

    @property
    def user(self) -> str:
        """With the token's name, for one that a token started."""
        return self.text.split(":")[7]

    @property
    def path(self) -> str:
        return f"nodes/{self.node}/tasks/{self.text}"

    @classmethod
    def of(cls, answer: object) -> "Upid | None":
        """The task in an answer; None for a request that was done at once."""
        return cls(answer) if isinstance(answer, str) and answer.startswith("UPID:") else None


def wait(
    client: Client,
    answer: object,
    timeout: float = TIMEOUT,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """The warnings of the task that an answer started, when it has ended well.

    Raises TaskFailed with the end of its log. A task that takes longer than `timeout` seconds is aborted first.
    """
    upid = Upid.of(answer)
    if upid is None:
        return []
    ended = _ended(client, upid, timeout, clock, sleep)
    if ended is None:
        client.delete(upid.path)
        ended = _ended(client, upid, ABORT, clock, sleep)
        words = "was aborted" if ended is not None else "does not stop"
        raise TaskFailed(
            f"task {upid.kind} on {upid.node} took longer than {timeout:.0f} s and {words}",
            _tail(client, upid),
            f"look at the node's task list for {upid.text}",
        )
    if ended == "OK":
        return []
    if ended.startswith("WARNINGS"):  # a success
        return [line for line in _log(client, upid) if line.startswith("WARN")] or [ended]
    raise TaskFailed(f"task {upid.kind} on {upid.node} failed: {ended}", _tail(client, upid), "")


def _ended(
    client: Client, upid: Upid, timeout: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> str | None:
    """Its exit status; None when it still runs after so many seconds."""
    deadline, pause, seen = clock() + timeout, FIRST, clock()
    while True:
        try:
            status = client.get(f"{upid.path}/status")
            seen = clock()
        except (Unreachable, Lost):  # it goes on without us, and pveproxy may only be starting anew
            if clock() - seen > AWAY:
                raise
            status = {"status": "unknown"}
        if status["status"] == "stopped":
            return str(status.get("exitstatus", "ended without a status"))
        if clock() >= deadline:
            return None
        sleep(min(pause, max(0.0, deadline - clock())))
        pause = min(LONGEST, pause * 1.5)


def _log(client: Client, upid: Upid) -> list[str]:
    try:
        return [str(line["t"]) for line in client.get(f"{upid.path}/log", limit=5000)]
    except ApiError:
        return []  # the outcome is known, and says more


def _tail(client: Client, upid: Upid) -> str:
    return "\n".join(_log(client, upid)[-TAIL:])
