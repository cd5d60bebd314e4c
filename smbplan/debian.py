"""Debian root filesystems by mmdebstrap(1), from the package sources that this machine itself uses.

Those are read from one-line and deb822 files, sources.list(5).
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from shutil import which

from smbplan.errors import Refused, Trouble

Progress = Callable[[str], None]
MIRROR = "http://deb.debian.org"
APT = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
# A killed build must not leave mounts or a half-dead mmdebstrap: its namespaces die with us.
CONTAINED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
TOOLS = {"mmdebstrap": "mmdebstrap", "setpriv": "util-linux", "unshare": "util-linux"}
BLANK = Path(__file__).with_name("blank.sh")
BLANK_HOOK = f'sh {BLANK} "$1"'
"""For `mmdebstrap`: nothing of this machine or of a first start stays. It needs `build_environment`."""
SLIM = tuple(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale"))


def codename(os_release: Path = OS_RELEASE) -> str:
    """Code name of the host's Debian release. Raises Refused on any other system."""
    facts = _facts(os_release)
    if facts.get("ID") != "debian" or not facts.get("VERSION_CODENAME"):
        words = f"root filesystems are built on Debian; this is {facts.get('PRETTY_NAME', 'an unknown system')}"
        raise Refused(Trouble(words, "do it on a machine, or in a container, with Debian"))
    return facts["VERSION_CODENAME"]


def version(os_release: Path = OS_RELEASE) -> str:
    """Number of the host's release, as container templates have it in their names."""
    return _facts(os_release).get("VERSION_ID", "0")


def _facts(os_release: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in os_release.read_text().splitlines())
    return {key: value.strip('"') for key, _, value in pairs}


def upstream(version: str) -> str:
    """`4.17.12` of `2:4.17.12+dfsg-0+deb12u4`."""
    return re.split(r"[+~-]", version.partition(":")[2] or version)[0]


def debian_sources(release: str, apt: Path = APT) -> list[str]:
    """One-line sources of the release's main archive, its updates and security, as the host has them.

    Other vendors' sources don't carry these suite names, so they fall out. Raises Refused if none is left.
    """
    wanted = {release, f"{release}-updates", f"{release}-security"}
    found = [
        f"deb {options}{uri} {suite} main"
        for options, uri, suite, components in _entries(apt)
        if suite in wanted and "main" in components
    ]
    if not found:
        raise Refused(Trouble(f"no package source for Debian {release} under {apt}", "add the host's mirror there"))
    return list(dict.fromkeys(found))


def mmdebstrap(target: Path, release: str, include: Sequence[str], hooks: Sequence[str]) -> list[str]:
    """The command line that makes a root filesystem, a folder or a tar file by its name; without documentation."""
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(include)}",
        *(f"--aptopt={line}" for line in _proxies()),
        *SLIM,
        *(f"--customize-hook={hook}" for hook in hooks),
        release,
        str(target),
        *debian_sources(release),
    ]


def need(tools: Mapping[str, str]) -> None:
    """Raises Refused unless all these commands, from these packages, are there."""
    missing = sorted({package for tool, package in tools.items() if which(tool) is None})
    if missing:
        raise Refused(Trouble(f"{', '.join(missing)} not installed here", f"apt-get install {' '.join(missing)}"))


def contained() -> Sequence[str]:
    """The words before a build's command. Who is not root has his namespaces from mmdebstrap."""
    return CONTAINED if os.geteuid() == 0 else CONTAINED[:3]


def sources(release: str, mirror: str) -> list[str]:
    """Lines for an image's sources.list(5)."""
    top = mirror.rstrip("/")
    return [
        f"deb {top}/debian {release} main",
        f"deb {top}/debian {release}-updates main",
        f"deb {top}/debian-security {release}-security main",
    ]


def build_environment(folder: Path, release: str, mirror: str, served: Sequence[str], version: Path) -> dict[str, str]:
    """Of an image's build in a folder: services of `served` stay off, Samba's version goes into a file."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(folder),
        "IMAGE_SOURCES": "\n".join(sources(release, mirror)),
        "IMAGE_SERVED": " ".join(served),
        "IMAGE_VERSION": str(version),
    } | {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


def run(argv: Sequence[str], env: Mapping[str, str], progress: Progress) -> None:
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


def _program(argv: Sequence[str]) -> str:
    return next((word for word in argv if word == "mmdebstrap"), argv[0])


def _proxies() -> list[str]:
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if _is_proxy(line)]


def _is_proxy(line: str) -> bool:
    name = line.partition(" ")[0].lower()
    return name.startswith("acquire::http") and "proxy" in name and '""' not in line


Entry = tuple[str, str, str, list[str]]


def _entries(apt: Path) -> Iterator[Entry]:
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            yield from _one_line(path.read_text())
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        yield from _deb822(path.read_text())


def _one_line(text: str) -> Iterator[Entry]:
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        kind, _, rest = line.partition(" ")
        if kind != "deb":
            continue
        rest, options = rest.strip(), ""
        if rest.startswith("["):
            inside, _, rest = rest.partition("]")
            options = f"{inside}] "
        uri, suite, *components = rest.split()
        yield options, uri, suite, components


def _deb822(text: str) -> Iterator[Entry]:
    for block in text.split("\n\n"):
        fields = _fields(block)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") in ("no", "false"):
            continue
        key = fields.get("signed-by", "")
        options = f"[signed-by={key}] " if key.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield options, uri, suite, fields.get("components", "").split()


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    last = ""
    for line in block.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and last:
            fields[last] += " " + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            last = name.strip().lower()
            fields[last] = value.strip()
    return fields
