"""What may come of asking a target.

ChannelError          the connection can't be made, or was lost
├── Unreachable       it can't be made: nothing has happened on the target
├── Answered          the target says why not
├── Absent, Asleep    there is no guest, or it doesn't run
├── Held              it is somebody else's turn to change it
└── TakenOver         it was our turn, and is somebody else's now: nothing has happened on the target
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from smbplan.drivers.agent.lease import SILENT
from smbplan.engine.resource import STRANGE

TALKS = 60.0  # seconds of silence after which somebody may be gone


class ChannelError(Exception):
    """Where, what, and how to go on."""

    def __init__(self, summary: str, detail: str = "", hint: str = "") -> None:
        super().__init__(summary)
        self.summary, self.detail, self.hint = summary, detail, hint


class Answered(ChannelError):
    """The host itself says why not."""


class Unreachable(ChannelError):
    """No connection was made, so nothing was changed."""


class Absent(ChannelError):
    """The gateway has no guest yet."""


class Asleep(ChannelError):
    """The gateway's guest doesn't run."""


class Held(ChannelError):
    """Somebody else changes the target."""

    def __init__(self, what: str, lease: Mapping[str, Any]) -> None:
        super().__init__(f"{what} is being changed by {who(lease)}", "", _way_out(lease))


class TakenOver(ChannelError):
    """Whose turn it was is told by his lease."""

    def __init__(self, what: str, lease: Mapping[str, Any]) -> None:
        by = f"by {who(lease)}" if lease else "and has ended since"
        super().__init__(f"{what}: this run was taken over {by}", "", "smbplan plan shows how things are now")


def as_error(error: ChannelError) -> dict[str, str]:
    return {"summary": error.summary, "detail": error.detail, "hint": error.hint}


def who(lease: Mapping[str, Any]) -> str:
    """Who, where and since when."""
    since, words = seconds(lease.get("since")), str(lease.get("owner") or "somebody")
    if since:
        words += time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(since))
    return f"{words} (run {lease['run']} of site {lease.get('site')})" if lease.get("run") else words


def is_silent(lease: Mapping[str, Any]) -> bool:
    """Whether its owner may be replaced."""
    return seconds(lease.get("silent")) >= SILENT


def _way_out(lease: Mapping[str, Any]) -> str:
    silent = seconds(lease.get("silent"))
    if silent < TALKS:
        return "wait until that run ends"
    left = max(1.0, SILENT - silent)
    return f"nothing was heard of it for {silent:.0f} s: if its controller is gone, try again in {left:.0f} s"


def seconds(told: Any) -> float:
    """Whatever a target tells."""
    return float(told) if isinstance(told, int | float) and 0 <= told < 2**33 else 0.0


def strange(who: str, error: Exception) -> ChannelError:
    """For an answer that can't be understood."""
    words = f"what {who} answers can't be understood"
    return ChannelError(
        words, f"{type(error).__name__}: {error}"[:400], "is it what it should be, and of a known version?"
    )


@contextmanager
def understanding(who: str) -> Iterator[None]:
    """Of what somebody answers. Raises ChannelError where that can't be."""
    try:
        yield
    except STRANGE as error:
        raise strange(who, error) from None


def word(told: Any) -> str:
    """Whatever a target has put where a text should be, as one that can be shown."""
    return "" if told is None else str(told)
