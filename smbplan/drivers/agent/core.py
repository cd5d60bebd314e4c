"""What all objects share: refusals, commands, durable files, and the identity of this host."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
SMB_CONF = "/etc/samba/smb.conf"
LOCAL = Path("/var/lib/smbplan")  # root only
# The inventory; root only. What the nodes of a cluster have in common is kept where all of them see it.
STATE = Path(os.environ.get("SMBPLAN_HOME") or LOCAL)
IDENTITY = STATE / "identity"  # of a cluster


def tidy() -> None:
    """The folder goes with the last note in it; on what nodes share, the one around it, too."""
    for folder in (LOCAL, STATE, *([STATE.parent] if STATE != LOCAL else [])):
        with contextlib.suppress(OSError):
            folder.rmdir()


def private(folder: Path) -> None:
    """Make a folder, and what is missing above it, for root alone: it may be on what SMB users see.

    Below the one of this host lies what containers mount, which their root, who is nobody here, has to pass.
    """
    for each in reversed([folder, *folder.parents]):
        each.mkdir(mode=0o755 if each == LOCAL else 0o700, exist_ok=True)


@contextlib.contextmanager
def pinned(folder: Path) -> Iterator[Path]:
    """Another path of a folder of notes, for deleting what is in it.

    What nodes share may be a guest's root's, who must not lead the host's root elsewhere: no link is followed, nor one
    that is put there meanwhile. Raises Refused and FileNotFoundError.
    """
    top = folder if LOCAL in folder.parents else STATE.parents[1]
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in folder.relative_to(top).parts:
            above, here = here, os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(above)
        yield Path(f"/proc/self/fd/{here}")
    except NotADirectoryError:
        raise Refused("notes are not deleted through a link", str(folder), "see who has made it") from None
    finally:
        os.close(here)


class Refused(Exception):
    """Why an operation was not done, in words for a person."""

    def __init__(self, summary: str, detail: str = "", hint: str = "") -> None:
        super().__init__(summary)
        self.summary, self.detail, self.hint = summary, detail, hint


class Untouched(Refused):
    """Refused before anything was done."""


class Object:
    """A type of managed object. `None` is the state of one that does not exist."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def prepare(self, names: Sequence[str]) -> None:
        """Told before many are read one after the other; `settle` follows."""

    def settle(self) -> None:
        """Nothing that was prepared counts any more."""

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> list[str] | None:
        """Bring it from `before`, which it is in, to `after`. What a person should know although it went well."""
        raise NotImplementedError

    def vacant(self, state: Any) -> bool:
        """Whether a state is as good as none: nothing that anybody has chosen."""
        return state is None

    uncounted: tuple[str, ...] = ()  # fields that others change meanwhile, at which an undo does not look

    def torn(self, name: str, state: Any, after: Any, options: dict[str, Any]) -> bool:
        """Whether a `set` of ours was cut short, so that the object is in neither state and another `set` mends it."""
        return False

    def unrestored(self, name: str, after: Any) -> bool:
        """Whether an undo has more to put back than the state tells."""
        return False


def matches(state: Any, wanted: Any) -> bool:
    """Whether a state is the wanted one; fields that `wanted` leaves open (None) match anything, but for the mark."""
    if isinstance(wanted, dict) and isinstance(state, dict):
        checked = {name: value for name, value in wanted.items() if value is not None or name == "mark"}
        return all(state.get(name) == value for name, value in checked.items())
    return bool(state == wanted)


def move(kind: Object, name: str, before: Any, after: Any, options: dict[str, Any]) -> list[str]:
    """Compare and set; the warnings. Raises Untouched when the object is in neither state: somebody else changed it."""
    try:
        now = kind.get(name, options)
    except Refused as refused:
        raise Untouched(refused.summary, refused.detail, refused.hint) from None
    image = f"{type(kind).__name__} {name}"
    if is_open(after) and IMAGES.has(image):  # an undo of what nobody could see when it was planned
        after = json.loads(IMAGES.recall(image))
    torn, undo = kind.torn(name, now, after, options), bool(options.get("undo"))

    def agrees(wanted: Any) -> bool:
        if wanted is None:
            return kind.vacant(now)
        return matches(now, {**wanted, **dict.fromkeys(kind.uncounted)} if undo and kind.uncounted else wanted)

    there = agrees(after) and not torn
    if there and not (undo and kind.unrestored(name, after)):
        return []
    if not (there or torn or agrees(before)):
        if before is None:
            raise Untouched(
                f"{name} is there already, and was not known when the plan was made",
                f"it is {json.dumps(now, sort_keys=True)[:400]}",
                "make a new plan; if the guest's template brings it, choose another name, or write external: true "
                "at a user or group that is to be used as it is",
            )
        raise Untouched(
            f"{name} was changed by somebody else since the plan was made",
            f"it is now {json.dumps(now, sort_keys=True)[:400]}",
            "look at it, then make a new plan",
        )
    if is_open(before):
        IMAGES.keep(image, lambda: json.dumps(now))
    return kind.set(name, now, after, options) or []


def is_open(state: Any) -> bool:
    """Of a state that leaves everything open, as that of what lies behind a mount that is not there yet."""
    return isinstance(state, dict) and bool(state) and all(value is None for value in state.values())


def run(
    argv: Sequence[str], stdin: str | None = None, env: dict[str, str] | None = None, fds: Sequence[int] = ()
) -> str:
    """The standard output of a command, which inherits `fds`. Raises Refused when it fails or is missing."""
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root", **(env or {})},
            check=False,
            pass_fds=fds,
        )
    except FileNotFoundError:
        raise Refused(f"{argv[0]} is not installed", "", "smbplan doctor says what is missing") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise Refused(f"{argv[0]} failed ({done.returncode}): {words.splitlines()[-1] if words else ''}", words)
    return done.stdout


def write(path: Path, text: str, mode: int = 0o600, like: Path | None = None) -> None:
    """Durable and atomic: the old file or the new one, never half of one; with what `like` has besides content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.smbplan-{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))  # a file of others keeps its bytes
            file.flush()
            os.fchmod(file.fileno(), mode)
            if like:
                _resemble(file.fileno(), like)
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def rewrite(path: Path, text: str) -> None:
    """A file that may be somebody else's: a link stays one, and owner, mode, ACL and attributes stay."""
    real = Path(os.path.realpath(path))
    write(real, text, 0o644, real if real.exists() else None)


def _resemble(file: int, other: Path) -> None:
    known = other.stat()
    os.fchown(file, known.st_uid, known.st_gid)
    os.fchmod(file, known.st_mode & 0o7777)
    for name in os.listxattr(other):  # an ACL is one of them
        with contextlib.suppress(OSError):  # what only the kernel sets
            os.setxattr(file, name, os.getxattr(other, name))


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def remembered(find: Callable[..., T]) -> Callable[..., T]:
    """What a thousand folders ask for is looked up once for all that are read, and anew for each that is changed."""

    @functools.wraps(find)
    def found(*words: Any) -> T:
        key = (find, *words)
        if key not in MEMORY:
            MEMORY[key] = find(*words)
        answer: T = MEMORY[key]
        return answer

    return found


MEMORY: dict[Any, Any] = {}


@remembered
def machine() -> str:
    """What tells this host, or cluster, from a clone of it."""
    if "SMBPLAN_HOME" in os.environ:
        return (read_text(IDENTITY) or "").strip()
    try:
        return Path("/etc/machine-id").read_text().strip()
    except OSError:
        return os.uname().nodename


def seal(mark: str, thing: str) -> str:
    """A mark as it is stored: bound to this host and to the thing that carries it."""
    bound = hashlib.sha256(f"{machine()}\0{thing}\0{mark}".encode()).hexdigest()[:10]
    return f"{mark}/{bound}"


def unseal(sealed: str | None, thing: str) -> str | None:
    """The mark, or None for one that was made for another host or thing: a copy is not ours."""
    if not sealed or "/" not in sealed:
        return None
    mark = sealed.rsplit("/", 1)[0]
    return mark if seal(mark, thing) == sealed else None


def samba_settings() -> Any:
    """Samba's own view of its configuration; its built-in defaults while there is none. Raises ImportError.

    A node of a cluster has none either while no ctdbd answers, which keeps its registry.
    """
    from samba.samba3 import param

    settings = param.get_context()
    alone = is_node() and not _ctdbd_answers(int(time.monotonic()))
    settings.load(SMB_CONF if os.path.exists(SMB_CONF) and not alone else os.devnull)
    return settings


def is_node() -> bool:
    """Whether Samba here is one of several that serve as one."""
    return re.search(r"^\s*clustering\s*=\s*yes", read_text(Path(SMB_CONF)) or "", re.M) is not None


@functools.lru_cache(maxsize=1)
def _ctdbd_answers(second: int) -> bool:
    """Asked once a second, and not for each of a thousand users."""
    return subprocess.run(["ctdb", "runstate", "RUNNING"], capture_output=True, check=False).returncode == 0


def wait_for_ctdbd(longest: float = 60.0) -> None:
    """Alone, a node would read and write databases of its own, which nobody serves. Raises Untouched."""
    deadline = time.monotonic() + longest
    while is_node() and not _ctdbd_answers(int(time.monotonic())):
        if time.monotonic() > deadline:
            raise Untouched("ctdbd does not answer, which keeps shares and passwords", "", "ctdb status says more")
        time.sleep(0.2)


def has_database(settings: Any, path: str) -> bool:
    """Whether one of Samba's databases is there; of a node, CTDB has it. Opening would create it."""
    return bool(settings.get("clustering")) or os.path.exists(path)


def image_file(name: str) -> str:
    """What the file with a before-image is called, in the folder of its run."""
    return hashlib.sha256(name.encode()).hexdigest()[:20]


class Images:
    """Before-images that must not leave this host, in a folder of the run, deleted when the run ends well.

    Those of what a cluster serves are where any of its nodes finds them: it may be another one that undoes it.
    """

    def __init__(self) -> None:
        self._folder = STATE / "runs"

    def of(self, site: str, run: str, top: Path | None = None) -> None:
        self._folder = (top or STATE) / "runs" / site / run

    def _path(self, name: str) -> Path:
        return self._folder / image_file(name)

    def keep(self, name: str, make: Callable[[], str]) -> None:
        """Keep the first image of a name; a later one may be of what we did ourselves."""
        path = self._path(name)
        if not path.exists():
            private(path.parent)
            write(path, make())

    def has(self, name: str) -> bool:
        return self._path(name).exists()

    def recall(self, name: str) -> str:
        """Raises Refused when there is none."""
        found = None
        with contextlib.suppress(OSError):
            found = read_text(self._path(name), exact=True)
        if found is None:
            raise Refused(f"the before-image of {name} is gone", str(self._path(name)))
        return found

    def forget(self, everything: bool) -> None:
        """This run's images; with `everything` those that earlier runs of the site have left, too. Raises Refused."""
        old = self._folder.parent if everything else self._folder
        with contextlib.suppress(FileNotFoundError), pinned(old.parent) as folder:
            shutil.rmtree(folder / old.name, ignore_errors=True)
        for each in (self._folder.parent, self._folder.parent.parent):
            with contextlib.suppress(OSError):
                each.rmdir()
        tidy()


IMAGES = Images()


BOOTS = 60.0  # seconds, at the most


def is_booting() -> bool:
    """A host that was just started may be: its services are not what they will be."""
    with open("/proc/1/stat", encoding="ascii", errors="replace") as file:
        started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started <= BOOTS


def wait_for_boot() -> None:
    """Until it has ended. systemctl(1)"""
    if not is_booting() or not shutil.which("systemctl"):
        return
    deadline = time.monotonic() + BOOTS
    while time.monotonic() < deadline:
        said = [_said("is-active", "default.target"), _said("is-system-running")]  # timers' jobs hold up the latter
        if said[0] == "active" or said[1] in ("running", "degraded", "maintenance", "stopping"):
            return
        time.sleep(0.05)


def _said(*words: str) -> str:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False).stdout.strip()


def read_text(path: Path, exact: bool = False) -> str | None:
    """None where there is none. What nodes share may hold a pipe instead, which nobody waits for. Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "No plain file", str(path))
        how = {"errors": "surrogateescape", "newline": ""} if exact else {"errors": "replace"}
        with open(file, encoding="utf-8", closefd=False, **how) as stream:  # type: ignore[call-overload]
            return str(stream.read())
    finally:
        os.close(file)
