"""Security updates that are pending, by the package lists that this host has; it is not asked for newer ones.

apt's own cache takes 200 ms to open, with tens of thousands of packages; the lists of security archives are short.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .core import read_text, run

SETTINGS = Path("/etc/apt/apt.conf.d/90smbplan")  # is there where smbplan sees to updates
LISTS = Path("/var/lib/apt/lists")
STATUS = Path("/var/lib/dpkg/status")
HELPER = "/usr/lib/apt/apt-helper"


def pending(lists: Path = LISTS, status: Path = STATUS) -> list[str]:
    """Names of the packages that a security archive has a newer version of than is installed. dpkg(1)"""
    have = dict(_installed(read_text(status) or ""))
    found = set()
    for path in sorted(lists.glob("*-security_*_Packages*")):
        text = path.read_text(errors="replace") if path.suffix == "" else run([HELPER, "cat-file", str(path)])
        found |= {name for name, version in _offered(text) if name in have and _newer(version, have[name])}
    return sorted(found)


def _installed(text: str) -> Iterator[tuple[str, str]]:
    for name, rest in re.findall(r"^Package: (\S+)\nStatus: install ok installed\n((?:.+\n)*)", text, re.M):
        version = re.search(r"^Version: (\S+)$", rest, re.M)
        if version:
            yield name, version[1]


def _offered(text: str) -> Iterator[tuple[str, str]]:
    for name, rest in re.findall(r"^Package: (\S+)\n((?:.+\n)*)", text, re.M):
        version = re.search(r"^Version: (\S+)$", rest, re.M)
        if version:
            yield name, version[1]


def _newer(one: str, other: str) -> bool:
    return (
        one != other and subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0
    )
