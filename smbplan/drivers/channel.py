"""A persistent connection to the agent on one target: over SSH, or to a child process on this machine."""

import json
import secrets
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from smbplan.drivers import ahead, pipes
from smbplan.drivers.bundle import bundle
from smbplan.drivers.endpoint import CONNECT_TIMEOUT, Endpoint
from smbplan.drivers.errors import Answered, ChannelError, Held, TakenOver, Unreachable, strange, word
from smbplan.drivers.turn import BEAT, Claim
from smbplan.engine.resource import STRANGE

T = TypeVar("T")
START_TIMEOUT = CONNECT_TIMEOUT + 20.0  # seconds, until the agent is there and has started
REQUEST_TIMEOUT = 900.0  # seconds; an installation of packages may take minutes
LONGEST = 2**28  # bytes of an answer; 10,000 shares are some 10 MB


@dataclass(slots=True)
class Counts:
    """What a run cost. Bytes are those of requests and answers, without the transport's own.

    `commands` are the programs that the agent has started on the target, `calls` the requests to Proxmox VE's API.
    """

    connections: int = 0
    round_trips: int = 0
    commands: int = 0
    calls: int = 0
    operations: int = 0
    sent: int = 0
    received: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Channel:
    """One conversation: a request line, an answer line; of several threads, one after the other."""

    endpoint: Endpoint
    counts: Counts = field(default_factory=Counts)
    locked: str = ""  # the token of the run that has locked it
    met: Mapping[str, Any] | None = None  # whom it waited for then
    _process: "subprocess.Popen[bytes] | None" = None
    _buffer: bytes = b""
    _nonce: str = field(default_factory=lambda: secrets.token_hex(4))  # this connection; see drivers.agent.lease
    _turn: threading.RLock = field(default_factory=threading.RLock)

    def open(self) -> None:
        """Raises Unreachable. A connection that has ended since, as a restarted guest's has, is made anew."""
        if self._process is not None and not self._ended():
            return
        self.close()
        self._nonce = secrets.token_hex(4)
        command = self.endpoint.command()
        try:
            self._process, given = ahead.taken(command) or (ahead.started(command), 0)
        except FileNotFoundError as error:
            raise Unreachable(f"{error.filename} is not installed here", "", "apt-get install openssh-client") from None
        self.counts.connections += 1
        self.counts.sent += given
        try:
            ready = json.loads(self._exchange(bundle()[given:], START_TIMEOUT))
            refused = "error" in ready
        except (ChannelError, *STRANGE, OSError) as error:
            raise self._explained(str(error)) from None
        if refused:
            self.close()
            raise Unreachable(
                f"{self.endpoint.name}: the user on the target is not root",
                "",
                "set ssh.user: root, or ssh.sudo: true for a user who may sudo without a password",
            )

    def connect(self) -> None:
        """Raises Unreachable."""
        with self._turn:
            self.open()

    def request(self, verb: str, timeout: float = REQUEST_TIMEOUT, **arguments: Any) -> Any:
        """The target's answer. Raises ChannelError when the connection is lost, or the target refuses."""
        with self._turn:
            return self._requested(verb, timeout, arguments)

    def _requested(self, verb: str, timeout: float, arguments: Mapping[str, Any]) -> Any:
        self.open()
        if "token" in arguments:
            if verb not in ("lock", "release") and not self.locked:
                raise Unreachable(f"lost the connection to {self.endpoint.name}", "", "it has to be locked anew")
            arguments = {**arguments, "token": f"{arguments['token']}.{self._nonce}"}
        start = time.monotonic()
        try:
            answer = json.loads(self._exchange(json.dumps({"verb": verb, **arguments}).encode() + b"\n", timeout))
        except (OSError, *STRANGE) as error:
            self.close()
            raise ChannelError(f"lost the connection to {self.endpoint.name}", str(error)) from None
        except ChannelError:
            self.close()
            raise
        self.counts.round_trips += 1
        self.counts.seconds += time.monotonic() - start
        try:
            return understood(self.endpoint.name, answer, self.counts)
        except STRANGE as error:
            raise strange(self.endpoint.name, error) from None

    def release(self, claim: Claim, **where: Any) -> None:
        """Give up what was locked, or may have been. Raises ChannelError."""
        self.locked = ""
        self.request("release", site=claim.site, run=claim.run, token=claim.token, **where)

    def lock(self, claim: Claim, wait: float = 0.0, again: bool = False, **where: Any) -> list[Any]:
        """It is this run's turn until it ends; what other runs of the site have begun here.

        `again`: it was so before, over another connection. `where` names another lease, and another journal, than the
        host's own. Raises ChannelError, Held and TakenOver.
        """
        with self._turn:
            self.open()
        if self.locked == claim.token:
            return []
        given = {
            "site": claim.site,
            "about": claim.about(guest=bool(self.endpoint.guest)),
            "token": claim.token,
            **where,
        }
        given |= {"wait": wait, "again": again, "former": list(claim.former)}
        answer = self.request("lock", **given, sole=claim.sole and bool(self.endpoint.guest))
        try:
            held, unfinished = answer["held"], list(answer["unfinished"])
            self.met = dict(answer.get("met") or {}) or None
            if held is not None:
                raise Held(f"site {claim.site}" if where.get("wide") else self.endpoint.name, dict(held))
        except STRANGE as error:
            raise strange(self.endpoint.name, error) from None
        self.locked = claim.token
        return unfinished

    def beat(self, **where: Any) -> None:
        """A sign of life of whoever has locked it. One at work gives them itself. Raises ChannelError and TakenOver."""
        if self.locked and self._turn.acquire(blocking=False):
            try:
                self.request("beat", BEAT, token=self.locked, **where)
            finally:
                self._turn.release()

    @property
    def ended(self) -> bool:
        """Whether a connection that was made is gone; not while somebody waits for its answer."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            return self._process is not None and self._ended()
        finally:
            self._turn.release()

    def _ended(self) -> bool:
        """Whether the other side is gone. Between requests it says nothing: what can be read is its end."""
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout.fileno(), selectors.EVENT_READ)
            return self._process.poll() is not None or bool(ready.select(0))

    def close(self) -> None:
        process, self._process, self._buffer, self.locked = self._process, None, b"", ""
        if process is None:
            return
        pipes.end(process)  # first, so that who waits for an answer does so no longer
        pipes.close(process)

    def _exchange(self, line: bytes, timeout: float) -> bytes:
        """Raises ChannelError or OSError."""
        assert self._process is not None and self._process.stdin is not None
        deadline = time.monotonic() + timeout
        try:
            pipes.send(self._process.stdin.fileno(), line, deadline)
            self.counts.sent += len(line)
            return self._line(deadline)
        except TimeoutError:
            raise self._late(timeout) from None

    def _late(self, timeout: float) -> ChannelError:
        return ChannelError(f"{self.endpoint.name} did not answer within {timeout:.0f} s")

    def _line(self, deadline: float) -> bytes:
        """Raises ChannelError or OSError."""
        assert self._process is not None and self._process.stdout is not None
        stream, chunks, size = self._process.stdout, [self._buffer], len(self._buffer)
        while b"\n" not in chunks[-1]:
            data = pipes.receive(stream.fileno(), deadline)
            if not data:
                raise ChannelError(f"lost the connection to {self.endpoint.name}")
            size += len(data)
            self._must_be_short(size)
            self.counts.received += len(data)
            chunks.append(data)
        line, _, self._buffer = b"".join(chunks).partition(b"\n")
        return line

    def _must_be_short(self, size: int) -> None:
        """Raises ChannelError for an answer that would fill this machine's memory."""
        if size > LONGEST:
            raise ChannelError(f"the answer of {self.endpoint.name} is longer than {LONGEST} bytes")

    def _explained(self, reason: str) -> Unreachable:
        """What ssh, sudo or the shell said, in plain words with the way out."""
        process, words = self._process, ""
        if process is not None and process.stderr is not None:
            pipes.end(process)
            words = pipes.rest(process.stderr.fileno()).decode("utf-8", "replace").strip()
        self.close()
        for sign, summary, hint in EXPLANATIONS:
            if sign in words:
                return Unreachable(f"{self.endpoint.name}: {summary}", words, hint)
        last = words.splitlines()[-1] if words else reason
        return Unreachable(f"{self.endpoint.name}: {last}", words, "try the same with ssh by hand")


EXPLANATIONS: Sequence[tuple[str, str, str]] = (
    (
        "IDENTIFICATION HAS CHANGED",
        "the host key has changed",
        "if the host was reinstalled, remove its old key with ssh-keygen -R; else somebody is in between",
    ),
    ("Host key verification failed", "the host key is not known", "log in once with ssh, or add it to known_hosts"),
    (
        "Permission denied",
        "SSH authentication failed",
        "check ssh.user and ssh.identity, and the target's authorized_keys",
    ),
    ("Could not resolve", "the host name is not known", "check the host, or write an address"),
    ("Connection refused", "nothing answers on the SSH port", "start sshd there, or set ssh.port"),
    ("timed out", "no answer from the host", "check that it is up and that its address is right"),
    ("No route to host", "there is no route to the host", "check the address and this machine's network"),
    ("Network is unreachable", "the network is unreachable", "check the address and this machine's network"),
    ("a password is required", "sudo asks for a password", "allow sudo without one (NOPASSWD), or use ssh.user: root"),
    ("not in the sudoers", "the user may not use sudo", "allow it in /etc/sudoers, or use ssh.user: root"),
    ("python3: command not found", "Python is missing there", "apt-get install python3 on the target"),
    ("python3: not found", "Python is missing there", "apt-get install python3 on the target"),
)


def understood(name: str, answer: Any, counts: Counts) -> Any:
    """What an agent's answer holds. Raises ChannelError, and what is in STRANGE."""
    counts.commands += int(answer.get("commands", 0))
    if "lost" in answer:
        raise TakenOver(name, dict(answer["lost"]))
    if "error" in answer:
        words = answer["error"]
        raise Answered(f"{name}: {word(words['summary'])}", word(words["detail"]), word(words["hint"]))
    return answer["ok"]


def timed(ask: Callable[[], T]) -> tuple[T, float]:
    """An answer, and this machine's time in the midst of it, for comparing clocks."""
    began = time.time()
    answer = ask()
    return answer, (began + time.time()) / 2
