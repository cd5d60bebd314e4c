"""What a run says of itself, and of what it does, to the targets that it changes."""

import os
import pwd
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smbplan.drivers.errors import Answered, ChannelError, as_error
from smbplan.kinds.guest import CLUSTER

LOGIN = Path("/proc/self/loginuid")  # who has logged in, whatever he became since: pam_loginuid(8)
NOBODY = 2**32 - 1
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
    steps: int = 0  # that the run has to do; 0: unknown to who takes it over
    takes_over: bool = False  # what another process has begun
    partly: bool = False  # nodes of a cluster that are away may stay so
    sole: bool = False  # it has the lease of the site on its Proxmox cluster, without which nobody has one in a guest

    def about(self, guest: bool = False) -> dict[str, Any]:
        """What a target is told, and keeps; a guest, nothing of hosts."""
        found = {name: getattr(self, name) for name in ("site", "run", "owner", "since", "steps")}
        return {**found, "targets": [name for name in self.hosts if not guest or name == CLUSTER]}


def owner() -> str:
    """Who works here, for whom, and where. $USER and $LOGNAME are not asked: anybody may set them."""
    name, behind = _user(os.geteuid()), _behind()
    who = f"{name} for {behind}" if behind and behind != name else name
    return f"{who}@{socket.gethostname()} (process {os.getpid()})"


def _behind() -> str:
    """Who became the user of this process: by the kernel's word, or else by sudo's; "" where neither tells."""
    try:
        login = int(LOGIN.read_text())
    except (OSError, ValueError):
        login = NOBODY
    return os.environ.get("SUDO_USER", "") if login == NOBODY else _user(login)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def written_down(
    ops: Sequence[Mapping[str, Any]], note: Callable[..., object], do: Callable[[], list[Any]]
) -> list[Any]:
    """The answers of what is done in one place and written down in another, before and after. Raises ChannelError."""
    notes = [op["note"] for op in ops]
    try:
        note(notes=notes)
    except Answered as error:
        return [{"error": as_error(error), "untouched": True}] * len(notes)
    answers = do()
    with suppress(ChannelError):  # what is not written down is unknown to a recovery, which looks
        note(notes=notes, answers=answers)
    return answers
