"""What is there before smbplan comes: the effective configuration, and what in it can be taken over."""

from __future__ import annotations

import grp
import os
import pwd
import re
from typing import Any

from . import samba, sections
from .shares import Share, testparm

LISTS = ("valid users", "invalid users", "read list", "write list", "admin users")


def survey(shares: Share) -> dict[str, Any]:
    """Parameters of shares are those that differ from `defaults`, which hold what [global] sets for every share.

    marks: {name in the registry: its mark or None}; copied: sections that others copy; varying: sections that some
    clients see otherwise; accounts: who of those in access lists exists; paths: {path: where it leads, or None};
    guests: what a client without a name can do: read, write, or "".
    """
    found = testparm()
    found.pop("global", None)
    shares.conf().params()  # reads it again if need be
    scan = shares.conf().scan
    words = {word for params in found.values() for name in LISTS for word in _words(params.get(name, ""))}
    paths = {params["path"] for params in found.values() if "path" in params}
    defaults = testparm("--verbose", "--section-name=global").get("global", {})
    return {
        "shares": found,
        "defaults": defaults,
        "marks": {name.lower(): mark for name, mark in shares.marks().items()},
        "copied": sorted(name for name in found if scan.copiers(sections.title(name))),
        "varying": sorted(name for name in found if sections.title(name) in scan.varying),
        "users": sorted(word for word in words if _exists(pwd.getpwnam, word)),
        "groups": sorted(word for word in words if _exists(grp.getgrnam, word)),
        "paths": {path: _real(path) for path in sorted(paths)},
        "guests": {
            name: samba.guest(name)
            for name, params in found.items()
            if params.get("guest ok", defaults.get("guest ok")) == "Yes"
        },
    }


def _words(value: str) -> list[str]:
    return [word.lstrip("@+&") for word in re.split(r'[\s,"]+', value) if word]


def _exists(find: Any, name: str) -> bool:
    try:
        find(name)
    except KeyError:
        return False
    return True


def _real(path: str) -> str | None:
    """The directory that it is; None for none, and for one that Samba makes up for each client."""
    path = path.strip('"')
    real = os.path.realpath(path)
    return real if "%" not in path and path.startswith("/") and os.path.isdir(real) else None
