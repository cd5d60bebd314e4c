"""What a run says of itself to the targets that it is going to change."""

import getpass
import os
import socket
from dataclasses import dataclass
from typing import Any

from smbplan.kinds.guest import CLUSTER

BEAT = 20.0  # seconds between two signs of life to a target that is changed


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that wants to change targets. `former` are tokens of its owners that have ended for sure."""

    site: str
    run: str
    owner: str
    since: float  # seconds since 1970
    token: str
    targets: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()  # of the targets, those that are there before the run and after it
    former: tuple[str, ...] = ()

    def about(self, guest: bool = False) -> dict[str, Any]:
        """What a target is told, and keeps; a guest, nothing of hosts."""
        found = {name: getattr(self, name) for name in ("site", "run", "owner", "since")}
        return {**found, "targets": [name for name in self.hosts if not guest or name == CLUSTER]}


def owner() -> str:
    """Who works here, and where."""
    return f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()})"
