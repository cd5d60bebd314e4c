"""What a run says of itself to the targets that it is going to change."""

import getpass
import os
import socket
from dataclasses import dataclass
from typing import Any

BEAT = 20.0  # seconds between two signs of life to a target that is changed


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that wants to change targets. `former` are tokens of its owners that have ended for sure."""

    site: str
    run: str
    owner: str
    since: float  # seconds since 1970
    token: str
    targets: tuple[str, ...] = ()  # that it locks when it begins
    former: tuple[str, ...] = ()

    def about(self, alone: bool = False) -> dict[str, Any]:
        """What a target is told; one that is `alone`, as a guest is, nothing of others."""
        found = {name: getattr(self, name) for name in ("site", "run", "owner", "since")}
        return {**found, "targets": [] if alone else list(self.targets)}


def owner() -> str:
    """Who works here, and where."""
    return f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()})"
