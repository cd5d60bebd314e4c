"""Whose turn it is to change this host: one run at a time holds the lease, and every effect needs it.

STATE/lease        {run, site, owner, since, token}; its file's time is when the owner was heard last

The token is the run's, and behind a dot that of one connection: what an owner has sent over a line that he has given up
must not be done after what he sends over the next.

An owner that is silent for long may lose it to somebody else; what he sends after that is refused by his token, which
is the serial of his turn. A lease outlasts connections, agents and a restart of the host.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, Iterator

from .core import LOCAL, STATE, Untouched, private, read_text, tidy, write
from .pmxcfs import Slot

SILENT = 90.0  # seconds without a word after which an owner may be replaced
AHEAD = 10.0  # seconds in the time to come that are no clock's fault: nodes that share a file are not quite at one
WORKING = 5.0  # seconds after which an agent at work says so
LOCK = "/run/smbplan/lock{}"  # where nobody else can hold it


class Lost(Exception):
    """The lease is somebody else's, or nobody's."""

    def __init__(self, lease: dict[str, Any] | None) -> None:
        super().__init__("the lease is lost")
        self.lease = lease


class Lease:
    """Of this host; with a `name` another one. `wide` is one that all nodes of a Proxmox cluster have in common."""

    def __init__(self, name: str = "", wide: bool = False) -> None:
        own = STATE if not name or name == f"ha-{STATE.name}" else LOCAL  # what nodes share, or this host's
        self._path = own / (f"lease-{name}" if name else "lease")
        self._mutex = LOCK.format(f"-{name}" if name else "")
        self._slot = Slot(name) if wide else None
        if self._slot:
            self._path = self._slot.path
        self.met: dict[str, Any] | None = None  # who had it while it was waited for

    def take(
        self, claim: dict[str, Any], former: list[str], again: bool, wait: float, sole: bool = False
    ) -> dict[str, Any] | None:
        """None: it is the claim's now. Otherwise who holds it, when so many seconds have passed.

        `former` are tokens whose owners have ended for sure; where the claim is `sole`, those of all runs of its site.
        With `again` it has to be the claim's already. Raises Lost.
        """
        deadline = time.monotonic() + wait
        while True:
            held = self._try(claim, former, again, sole)
            if held is None or time.monotonic() > deadline:
                return held
            self.met = held
            time.sleep(0.05)

    def _try(self, claim: dict[str, Any], former: list[str], again: bool, sole: bool) -> dict[str, Any] | None:
        with self._alone() as alone:
            lease = self._read()
            known = _run(lease["token"]) if lease else ""
            if again and known != _run(claim["token"]):
                raise Lost(lease)
            if not alone:
                return self._told(lease)  # an operation is under way
            ours = known in (_run(claim["token"]), *former)
            over = lease is None or ours or (sole and lease["site"] == claim["site"]) or self._silence() >= SILENT
            if not over:
                return self._told(lease)
            if self._slot and not self._slot.take(ours):
                return self._told(lease)
            if lease is None or lease["token"] != claim["token"]:
                private(self._path.parent)
                write(self._path, json.dumps(claim))
            self._touch()
            return None

    @contextlib.contextmanager
    def held(self, token: str) -> Iterator[None]:
        """Nobody takes it over meanwhile. Raises Lost."""
        with self._alone(blocking=True):
            self.check(token)
            done = threading.Event()
            worker = threading.Thread(target=self._at_work, args=[done], daemon=True)
            worker.start()
            try:
                yield
            finally:
                done.set()
                worker.join()

    def check(self, token: str) -> None:
        """Raises Lost; the owner has been heard."""
        lease = self._read()
        if (lease or {}).get("token") != token:
            raise Lost(lease)
        self._touch()

    def give_up(self, token: str) -> None:
        with self._alone(blocking=True):
            if (self._read() or {}).get("token") == token:
                self._path.unlink(missing_ok=True)
                if self._slot:
                    self._slot.free()
        tidy()

    def told(self) -> dict[str, Any] | None:
        """Who holds it, and for how many seconds he has been silent."""
        lease = self._read()
        return self._told(lease) if lease else None

    def _told(self, lease: dict[str, Any] | None) -> dict[str, Any]:
        known = {name: value for name, value in (lease or {}).items() if name != "token"}
        return {"owner": "somebody", "site": "", "run": "", "since": 0.0, **known, "silent": self._silence()}

    def _silence(self) -> float:
        """Seconds. One whose folder is gone, as nobody has kept it, has lost it.

        A time to come was set by a clock that was wrong: silence counts from when that is seen. pmxcfs counts by
        itself, and is asked.
        """
        try:
            silent = time.time() - (self._slot.heard if self._slot else self._path.stat().st_mtime)
            if silent > -AHEAD:
                return max(0.0, silent)
            if self._slot:
                return SILENT
            os.utime(self._path)
            return 0.0
        except OSError:
            return SILENT if self._slot else 0.0

    def _touch(self) -> None:
        """Raises Untouched on a node without quorum."""
        try:
            self._slot.refresh() if self._slot else os.utime(self._path)
        except OSError as error:
            raise Untouched(f"the lease can't be kept: {error.strerror}", str(self._path)) from None

    def _at_work(self, done: threading.Event) -> None:
        while not done.wait(WORKING):
            with contextlib.suppress(Untouched):
                self._touch()

    def _read(self) -> dict[str, Any] | None:
        try:
            lease = json.loads(read_text(self._path) or "null")
        except (ValueError, RecursionError, OSError):
            return None
        whole = isinstance(lease, dict) and {"token", "owner", "run", "site"} <= lease.keys()
        return lease if whole and isinstance(lease["token"], str) else None

    @contextlib.contextmanager
    def _alone(self, blocking: bool = False) -> Iterator[bool]:
        """A child that still works for a lost connection has it, too, so that no undo overtakes it."""
        private(Path(self._mutex).parent)
        with os.fdopen(os.open(self._mutex, os.O_RDWR | os.O_CREAT, 0o600)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def _run(token: str) -> str:
    """The part that is the run's."""
    return token.partition(".")[0]
