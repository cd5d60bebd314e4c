"""The agent in a virtual machine, reached by QEMU's guest agent: no network and no key is needed.

smbplan's own agent runs there in the background with two pipes, in a folder that only root can enter. A request is a
command that fills the one and reads the other. An agent that is not asked for a while ends by itself.
"""

import secrets
import shlex
import time
from dataclasses import dataclass

from smbplan.drivers.bundle import BOOT, bundle
from smbplan.drivers.channel import Channel
from smbplan.drivers.errors import ChannelError, Unreachable
from smbplan.drivers.pve import qga
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError

IDLE = 180  # seconds without a request after which the agent in the machine ends
PART = 2**20  # characters of an answer in one piece
GONE = 75  # exit code of a request to an agent that has ended, EX_TEMPFAIL of sysexits(3)
START = f"""
set -e; umask 077; cd "$(mktemp -d /run/smbplan.XXXXXX)"; mkfifo in out
SMBPLAN_IDLE={IDLE} setsid python3 -Iu -c {shlex.quote(BOOT)} 0<>in 1<>out 2>/dev/null & echo $! >pid
cat "$@" - >in; head -n 1 <out; pwd
"""
# The parts of a large request, in files, come before what stands on standard input. An answer ends with its line; every
# program that is not started is felt in a busy machine.
LIVES = f'cd "$1" 2>/dev/null && read -r pid <pid && kill -0 "$pid" 2>/dev/null || exit {GONE}'
ASK = f"""
{LIVES}; shift
cat "$@" - >in; [ $# = 0 ] || rm -f "$@"; head -n 1 <out >answer; exec head -c {PART} answer
"""
MORE = f'tail -c +"$2" "$1/answer" | head -c {PART}'
END = 'echo quit >"$1/in"'  # when it has done what it does


@dataclass(slots=True)
class Inside(Channel):
    """The channel to the agent in a machine. See drivers.channel.Channel."""

    client: Client | None = None
    path: str = ""  # of the machine in the API
    _folder: str = ""

    def open(self) -> None:
        """Raises Unreachable."""
        if self._folder:
            return
        try:
            done = self._run("/run", START, bundle().decode(), 60.0)
        except ApiError as error:
            raise Unreachable(f"{self.endpoint.name}: {error.summary}", error.detail, error.hint) from None
        lines = done.out.splitlines()
        if done.code or len(lines) != 2 or "ready" not in lines[0]:
            words = (done.err or done.out).strip()
            raise Unreachable(
                f"{self.endpoint.name}: the agent did not start in the VM", words, "is python3 installed there?"
            )
        self.counts.connections += 1
        self._folder = lines[1]

    def _exchange(self, line: bytes, timeout: float) -> bytes:
        try:
            return self._asked(line.decode(), timeout)
        except ApiError as error:
            raise ChannelError(
                f"lost the VM of {self.endpoint.name}: {error.summary}", error.detail, error.hint
            ) from None

    def _asked(self, line: str, timeout: float) -> bytes:
        folder, deadline = self._folder, time.monotonic() + timeout
        done = self._delivered(folder, line, timeout)
        if done.code == GONE:  # it was not asked: the machine was restarted, or nobody had asked it for long
            self._folder = ""
            self.open()
            folder = self._folder
            done = self._delivered(folder, line, timeout)
        answer = done.out
        if done.code or not answer:
            raise ChannelError(f"{self.endpoint.name}: no answer from the agent in the VM", done.err.strip())
        while not answer.endswith("\n"):
            self._must_be_short(len(answer))
            if time.monotonic() > deadline:
                raise self._late(timeout)
            more = qga.execute(self._client, self.path, ["/bin/sh", "-c", MORE, "sh", folder, str(len(answer) + 1)])
            if not more.out:
                raise ChannelError(f"{self.endpoint.name}: the answer of the agent in the VM is cut short")
            answer += more.out
        self.counts.received += len(answer)
        return answer.encode()

    def _delivered(self, folder: str, line: str, timeout: float) -> qga.Done:
        if len(line) > qga.INPUT:  # its parts can't be written where no agent is
            lives = qga.execute(self._client, self.path, ["/bin/sh", "-c", LIVES, "sh", folder])
            if lives.code == GONE:
                return lives
        return self._run(folder, ASK, line, timeout, folder)

    def _run(self, parts_in: str, script: str, given: str, timeout: float, *words: str) -> qga.Done:
        """A script with standard input of any length: what is too long is written into files first.

        Whoever may enter that folder can read them: a request holds secrets.
        """
        *parts, last = [given[at : at + qga.INPUT] for at in range(0, len(given), qga.INPUT)]
        names = [f"{parts_in}/smbplan-part.{time.time_ns()}.{number}" for number in range(len(parts))]
        for name, part in zip(names, parts, strict=True):
            self._client.post(f"{self.path}/agent/file-write", file=name, content=part)
        self.counts.sent += len(given)
        return qga.execute(self._client, self.path, ["/bin/sh", "-c", script, "sh", *words, *names], last, timeout)

    @property
    def _client(self) -> Client:
        assert self.client is not None
        return self.client

    def close(self) -> None:
        folder, self._folder, self.locked, self._nonce = self._folder, "", "", secrets.token_hex(4)
        if folder:
            try:
                qga.execute(self._client, self.path, ["/bin/sh", "-c", END, "sh", folder], timeout=10.0)
            except ApiError:
                return  # it ends by itself

    def _ended(self) -> bool:
        return not self._folder
