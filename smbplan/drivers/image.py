"""Container templates with Samba in them, built on this machine by mmdebstrap(1)."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from smbplan import debian
from smbplan.errors import Refused, Trouble
from smbplan.kinds.packages import DISCOVERY, SAMBA, UPDATES

Progress = Callable[[str], None]
SCRIPT = Path(__file__).with_name("image.sh")
SERVED = (*SAMBA, *DISCOVERY, *UPDATES)
SYSTEM = (
    "adduser",
    "ca-certificates",
    "dbus",
    "ifupdown",
    "iproute2",
    "iputils-ping",
    "isc-dhcp-client",
    "libnss-systemd",
    "netbase",
    "procps",
    "python3",
    "python3-samba",
    "systemd-sysv",
)
"""What a container of Proxmox VE and smbplan's agent need, on top of a minimal Debian."""
MIRROR = "http://deb.debian.org"
TOOLS = {"mmdebstrap": "mmdebstrap", "zstd": "zstd", "setpriv": "util-linux", "unshare": "util-linux"}


@dataclass(frozen=True, slots=True)
class Image:
    """A template in a file."""

    file: Path
    samba: str  # its version, as dpkg tells it


@contextmanager
def built(mirror: str, progress: Progress) -> Iterator[Image]:
    """A new template, in a folder that is removed in the end. Raises Refused when it can't be built.

    `mirror` is what holds the archives `debian` and `debian-security` that containers get their updates from. This
    machine downloads from its own sources. It takes about a minute.
    """
    _need_tools()
    release, number = debian.codename(), debian.version()
    with tempfile.TemporaryDirectory(prefix="smbplan-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # apt's own user looks into it
        version, made = folder / "version", folder / "image.tar"
        version.touch()
        version.chmod(0o666)  # mmdebstrap's hook may be another user of this machine
        command = debian.mmdebstrap(made, release, [*SYSTEM, *SERVED], [f'sh {SCRIPT} "$1"'])
        contained = debian.CONTAINED if os.geteuid() == 0 else debian.CONTAINED[:3]
        progress(f"building a template of Debian {number} with Samba; this takes about a minute")
        _run(
            [*contained, command[0], "--skip=output/dev", *command[1:]], _environment(folder, release, mirror), progress
        )
        (folder / "empty/dev").mkdir(parents=True)  # left out with the device nodes, which no container may make
        folders = ["--owner=0", "--group=0", "--mode=755", "-C", str(folder / "empty"), "./dev"]
        samba = version.read_text()
        file = folder / _name(number, samba, time.strftime("%Y%m%d", time.gmtime()))
        progress("packing it")
        _run(["tar", "--append", "--numeric-owner", f"--file={made}", *folders], {**os.environ}, progress)
        _run(["zstd", "--quiet", "-T0", "-9", "--rm", str(made), "-o", str(file)], {**os.environ}, progress)
        progress(f"{file.name} has {file.stat().st_size / 1e6:.0f} MB")
        yield Image(file, samba)


def _need_tools() -> None:
    """Raises Refused."""
    missing = sorted({package for tool, package in TOOLS.items() if which(tool) is None})
    if missing:
        raise Refused(Trouble(f"{', '.join(missing)} not installed here", f"apt-get install {' '.join(missing)}"))


def sources(release: str, mirror: str) -> list[str]:
    """Lines for the template's sources.list(5)."""
    top = mirror.rstrip("/")
    return [
        f"deb {top}/debian {release} main",
        f"deb {top}/debian {release}-updates main",
        f"deb {top}/debian-security {release}-security main",
    ]


def _environment(folder: Path, release: str, mirror: str) -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(folder),
        "IMAGE_SOURCES": "\n".join(sources(release, mirror)),
        "IMAGE_SERVED": " ".join(SERVED),
        "IMAGE_VERSION": str(folder / "version"),
    } | {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


def _run(argv: list[str], env: dict[str, str], progress: Progress) -> None:
    """mmdebstrap's own headlines are the progress. Raises Refused with the end of what it says."""
    said: list[str] = []
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        text=True,
        umask=0o022,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said.append(line.rstrip())
                if line.startswith("I: ") and line.endswith("...\n") and "/" not in line:
                    progress(line.removeprefix("I: ").rstrip())
        except BaseException:  # Ctrl-C
            process.terminate()
            raise
    if process.returncode:
        hint = "look at what apt says; the packages come from this machine's own sources, see /etc/apt"
        raise Refused(Trouble(f"{_program(argv)} failed ({process.returncode})", hint, "\n".join(said[-15:])))


def _program(argv: list[str]) -> str:
    return next((word for word in argv if word in TOOLS and word not in debian.CONTAINED), argv[0])


def _name(number: str, samba: str, day: str) -> str:
    """As Proxmox names templates: system, version, architecture."""
    arch = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    upstream = re.split(r"[+~-]", samba.partition(":")[2] or samba)[0]
    return f"debian-{number}-samba_{upstream}-{day}_{arch}.tar.zst"
