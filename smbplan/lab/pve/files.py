"""Files that several processes and nodes share: atomic writes, locks, and the section format of PVE."""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smbplan.lab.pve.errors import fail

STALE_LOCK = 120.0  # pmxcfs gives up a lock that was not refreshed for so long
LOCK_WAIT = 10.0


def read(path: Path) -> str:
    """The file's text, '' if there is none."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""


def write(path: Path, text: str, mode: int = 0o640) -> None:
    """Replace the file at once: readers see the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.tmp.{os.getpid()}.{time.monotonic_ns()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        part.rename(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def digest(text: str) -> str:
    """What PVE calls the digest of a configuration file."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@contextmanager
def file_lock(path: Path, timeout: float = LOCK_WAIT, *, shared: bool = False) -> Iterator[None]:
    """A lock that ends with its process; held by one thread of one process at a time, unless it is `shared`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path, timeout, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, timeout: float, kind: int) -> None:
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise fail(f"can't lock file '{path}' - got timeout") from None
            time.sleep(0.01)


@contextmanager
def cluster_lock(root: Path, name: str, timeout: float = LOCK_WAIT) -> Iterator[None]:
    """The cluster-wide lock `priv/lock/NAME` of pmxcfs: whoever makes the folder has it.

    Waiting among the emulator's own processes is done on a file lock, which can't be left behind.
    """
    place = root / "priv" / "lock" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(root / ".locks" / name, timeout):
        end = time.monotonic() + timeout
        while True:
            try:
                place.mkdir()
                break
            except FileExistsError:
                _drop_if_stale(place)
            if time.monotonic() > end:
                raise fail(f"cfs-lock '{name}' error: got lock request timeout")
            time.sleep(0.02)
        try:
            yield
        finally:
            with suppress(FileNotFoundError):
                place.rmdir()


def _drop_if_stale(place: Path) -> None:
    with suppress(OSError):
        if time.time() - place.stat().st_mtime > STALE_LOCK:
            place.rmdir()


Sections = dict[str, dict[str, str]]


def parse_sections(text: str) -> Sections:
    """`type: id` sections with indented `key value` lines (storage.cfg, jobs.cfg); `type` becomes a key."""
    sections: Sections = {}
    current: dict[str, str] | None = None
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] in " \t":
            if current is not None:
                key, _, value = line.strip().partition(" ")
                current[key] = value.strip() or "1"
        else:
            kind, _, name = line.partition(":")
            current = sections[name.strip()] = {"type": kind.strip()}
    return sections


def print_sections(sections: Sections) -> str:
    """The inverse of `parse_sections`."""
    parts = []
    for name, values in sections.items():
        lines = [f"{values['type']}: {name}"]
        lines += [f"\t{key} {value}" for key, value in values.items() if key != "type"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
