"""Debian root filesystems by mmdebstrap(1), from the package sources that this machine itself uses.

Those are read from one-line and deb822 files, sources.list(5).
"""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from smbplan.errors import Refused, Trouble

APT = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
# A killed build must not leave mounts or a half-dead mmdebstrap: its namespaces die with us.
CONTAINED = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
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
