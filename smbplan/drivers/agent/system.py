"""Packages and services. dpkg(1), systemctl(1)"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .core import SMB_CONF, STATE, Object, Refused, read_text, run, write
from .files import PACKAGED, settings

POLICY = Path("/usr/sbin/policy-rc.d")  # while it says 101, maintainer scripts start nothing
APT = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-confold"]
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}


class Packages(Object):
    """A set of packages; its name is their names. State: {installed}: those that are."""

    ADDED = STATE / "packages.json"  # what came with an installation, dependencies too

    def get(self, name: str, options: dict[str, Any]) -> Any:
        return {"installed": sorted(set(name.split()) & installed())}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        wanted, have = set(after["installed"]), set(before["installed"])
        if wanted - have:
            self._install(sorted(wanted - have))
        elif have - wanted:
            self._purge(have - wanted)

    def _install(self, names: Sequence[str]) -> None:
        had, conf = installed(), Path(SMB_CONF)
        had_conf = conf.exists()
        with _nothing_starts():
            try:
                run([*APT, "--no-install-recommends", "install", *names], env=QUIET)
            except Refused:
                run([*APT, "update"], env=QUIET)
                run([*APT, "--no-install-recommends", "install", *names], env=QUIET)
        added = sorted(installed() - had)
        write(self.ADDED, json.dumps(sorted({*self._added(), *added})))
        if not had_conf and conf.exists() and settings(conf.read_text()) == settings(read_text(Path(PACKAGED)) or "?"):
            conf.unlink()  # Debian's default shares are nobody's wish
        units = [unit for name in added for unit in _units(name)]
        if units:
            run(["systemctl", "disable", "--quiet", *units])

    def _purge(self, names: Iterable[str]) -> None:
        """What we installed, and the dependencies that came with it."""
        gone = sorted({*names, *self._added()} & installed())
        with _nothing_starts():
            run([*APT, "purge", *gone], env=QUIET)
        self.ADDED.unlink(missing_ok=True)

    def _added(self) -> list[str]:
        return list(json.loads(read_text(self.ADDED) or "[]"))


class Service(Object):
    """A systemd unit. State: {active, enabled}."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        state = _show(name, "ActiveState")["ActiveState"]
        return {"active": state in ("active", "activating", "reloading"), "enabled": _enabled(name)}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        if after["enabled"] != before["enabled"]:
            # An alias, by which D-Bus would start it again, is known to systemd until it reloads.
            lazy = [] if len(_show(name, "Names")["Names"].split()) > 1 else ["--no-reload"]
            run(["systemctl", "--quiet", *lazy, "enable" if after["enabled"] else "disable", name])
        if _show(name, "NeedDaemonReload")["NeedDaemonReload"] == "yes":
            run(["systemctl", "daemon-reload"])
        if after["active"] != before["active"]:
            verb = "start" if after["active"] else "stop"
            # What starts it again on demand goes with it, unless it is wanted by itself.
            triggers = [] if after["active"] else _show(name, "TriggeredBy")["TriggeredBy"].split()
            idle = [unit for unit in triggers if not _enabled(unit)]
            try:
                run(["systemctl", verb, name, *idle])
            except Refused as refused:
                log = run(["journalctl", "-q", "-n", "15", "--no-pager", "-o", "cat", "-u", name])
                raise Refused(f"{name} does not {verb}", log or refused.detail) from None


def _enabled(unit: str) -> bool:
    """By what is on disk: systemd's own answer is as old as its last reload."""
    done = subprocess.run(["systemctl", "is-enabled", unit], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "enabled"


def _show(unit: str, properties: str) -> dict[str, str]:
    return dict(row.split("=", 1) for row in run(["systemctl", "show", "-p", properties, unit]).splitlines())


def installed() -> set[str]:
    """Names of the packages that are installed, from dpkg's own file."""
    text = read_text(Path("/var/lib/dpkg/status")) or ""
    return set(re.findall(r"^Package: (\S+)\nStatus: \S+ \S+ installed$", text, re.M))


def _units(package: str) -> list[str]:
    """The enabled services that a package brought."""
    files = run(["dpkg", "-L", package]).splitlines()
    names = [
        Path(path).name for path in files if re.fullmatch(r".*/systemd/system/[^/@]+\.(service|socket|timer)", path)
    ]
    return [name for name in names if _enabled(name)]


class _nothing_starts:
    """Maintainer scripts start no services meanwhile; a policy that was there before is left alone."""

    def __enter__(self) -> None:
        self._ours = not POLICY.exists()
        if self._ours:
            write(POLICY, "#!/bin/sh\nexit 101\n", 0o755)

    def __exit__(self, *_: object) -> None:
        if self._ours:
            POLICY.unlink(missing_ok=True)
