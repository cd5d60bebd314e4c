"""Long operations: a process of their own each, a UPID, a log, and lists of them below `local`/tasks."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from smbplan.lab.pve import files
from smbplan.lab.pve.errors import ApiError, bad_params
from smbplan.lab.pve.site import Site

_UPID = re.compile(
    r"UPID:([a-zA-Z0-9][a-zA-Z0-9\-]*):([0-9A-F]{8}):([0-9A-F]{8,9}):([0-9A-F]{8}):([^:\s]+):([^:\s]*):([^:\s]+):"
)
_ABORT_WAIT = 5.0


class Interrupted(Exception):
    """The task was told to end."""


class Log:
    """The open log of a task; calling it writes a line."""

    def __init__(self, path: Path):
        self.file = path.open("a", encoding="utf-8", buffering=1)
        self.warnings = 0

    def __call__(self, line: str) -> None:
        self.file.write(line.rstrip("\n") + "\n")

    def warn(self, line: str) -> None:
        """A warning: the task ends as `WARNINGS: n`."""
        self.warnings += 1
        self(f"WARN: {line}")


@dataclass(frozen=True)
class Upid:
    """The parts of a UPID."""

    text: str
    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    user: str

    def info(self) -> dict[str, Any]:
        """What all listings show of a task."""
        return {
            "upid": self.text,
            "node": self.node,
            "pid": self.pid,
            "pstart": self.pstart,
            "starttime": self.starttime,
            "type": self.type,
            "id": self.id,
            "user": self.user,
        }


def parse(text: str) -> Upid:
    """400 for what is no UPID."""
    match = _UPID.fullmatch(text)
    if not match:
        raise bad_params({"upid": "unable to parse worker upid"})
    node, pid, pstart, start, kind, ident, user = match.groups()
    return Upid(text, node, int(pid, 16), int(pstart, 16), int(start, 16), kind, unquote(ident), user)


def folder(site: Site) -> Path:
    """Where the node keeps its tasks."""
    return site.local / "tasks"


def log_path(site: Site, upid: Upid) -> Path:
    """The task's log, by the last digit of its start as in the real folder."""
    return folder(site) / f"{upid.starttime:X}"[-1] / upid.text


def find(site: Site, text: str) -> Upid:
    """400 unless the task is known here."""
    upid = parse(text)
    if not log_path(site, upid).exists():
        raise bad_params({"upid": "no such task"})
    return upid


def _start_of(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def running(upid: Upid) -> bool:
    """Whether its process lives."""
    return _start_of(upid.pid) == upid.pstart


def exit_status(site: Site, upid: Upid) -> str:
    """How the task ended, from the last line of its log."""
    last = (log_lines(site, upid) or [""])[-1]
    match = re.fullmatch(r"TASK (?:(OK)|ERROR: (.+)|(WARNINGS: \d+))", last)
    return next((group for group in match.groups() if group), "") if match else "unexpected status"


def log_lines(site: Site, upid: Upid) -> list[str]:
    """The log so far."""
    return files.read(log_path(site, upid)).splitlines()


def spawn(
    site: Site, kind: str, ident: str, user: str, work: Callable[[Log], None], after: Callable[[], object] | None = None
) -> str:
    """Run `work` in a process that outlives this one; its UPID at once. An exception is the task's error.

    `after` runs when the outcome is in the log.
    """
    receive, send = os.pipe()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _child(site, kind, ident, user, work, after, send)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        text = pipe.read().decode()
    threading.Thread(target=_reap, args=(pid,), daemon=True).start()
    if not text:
        raise ApiError(596, "Broken pipe", bare=True)
    return text


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _child(
    site: Site,
    kind: str,
    ident: str,
    user: str,
    work: Callable[[Log], None],
    after: Callable[[], object] | None,
    send: int,
) -> None:
    """The task's process. It must not hold the server's sockets or locks, so it closes all it inherited."""
    code = 1
    try:
        os.setsid()
        os.dup2(send, 3)
        os.closerange(4, 4096)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)
        pid, now = os.getpid(), int(time.time())
        start = f"{_start_of(pid) or 0:08X}"
        upid = parse(f"UPID:{site.node}:{pid:08X}:{start}:{now:08X}:{kind}:{quote(ident, safe='.-_')}:{user}:")
        path = log_path(site, upid)
        path.parent.mkdir(parents=True, exist_ok=True)
        log = Log(path)
        with _index_lock(site):
            _append(folder(site) / "active", f"{upid.text}\n")
        os.write(3, upid.text.encode())
        os.close(3)
        _run(site, upid, log, work)
        if after:
            after()
        code = 0
    finally:
        os._exit(code)


def _interrupt(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise Interrupted("received interrupt")


def _run(site: Site, upid: Upid, log: Log, work: Callable[[Log], None]) -> None:
    try:
        work(log)
        outcome = f"WARNINGS: {log.warnings}" if log.warnings else "OK"
        log(f"TASK {outcome}")
    except ApiError as error:
        outcome = error.message.strip().replace("\n", " ")
        log(f"TASK ERROR: {outcome}")
    except BaseException as error:
        outcome = (str(error) or type(error).__name__).strip().replace("\n", " ")
        log(f"TASK ERROR: {outcome}")
    _finish(site, upid, outcome)


def _index_lock(site: Site) -> Any:
    return files.file_lock(folder(site) / ".lock")


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def _finish(site: Site, upid: Upid, outcome: str) -> None:
    with _index_lock(site):
        _append(folder(site) / "index", f"{upid.text} {int(time.time()):08X} {outcome}\n")
        active = folder(site) / "active"
        lines = [line for line in files.read(active).splitlines() if line != upid.text]
        files.write(active, "".join(f"{line}\n" for line in lines))


def active(site: Site) -> Iterator[Upid]:
    """Tasks that run. What died without a word is moved to the archive."""
    for line in files.read(folder(site) / "active").splitlines():
        upid = parse(line)
        if running(upid):
            yield upid
        elif not _archived(site, upid):
            _finish(site, upid, exit_status(site, upid))


def _archived(site: Site, upid: Upid) -> bool:
    return upid.text in files.read(folder(site) / "index")


def archive(site: Site) -> list[dict[str, Any]]:
    """Tasks that ended, the last first; `status` is how."""
    found = []
    for line in reversed(files.read(folder(site) / "index").splitlines()):
        text, end, status = line.split(" ", 2)
        found.append({**parse(text).info(), "endtime": int(end, 16), "status": status})
    return found


def abort(site: Site, upid: Upid) -> None:
    """End a running task and wait until it did."""
    end = time.monotonic() + _ABORT_WAIT
    number = signal.SIGTERM
    while running(upid):
        with suppress(ProcessLookupError):
            if number == signal.SIGTERM:
                # Only the task itself first: it cleans up, which killed helpers would make fail.
                os.kill(upid.pid, number)
            else:
                os.killpg(upid.pid, number)
        pause = time.monotonic() + (_ABORT_WAIT if number == signal.SIGTERM else 1)
        while running(upid) and time.monotonic() < pause:
            time.sleep(0.02)
        if time.monotonic() > end:
            number = signal.SIGKILL
    list(active(site))


def wait(site: Site, text: str) -> str:
    """For commands on the node: the outcome, when there is one."""
    upid = parse(text)
    while running(upid):
        time.sleep(0.02)
    return exit_status(site, upid)
