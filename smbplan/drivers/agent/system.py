"""Packages and services. dpkg(1), systemctl(1)"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .core import SMB_CONF, STATE, Object, Refused, read_text, run, write
from .files import PACKAGED, settings

NATIVE = {"SYSTEMCTL_SKIP_SYSV": "1"}  # an old init script beside a unit means nothing, and costs three reloads
# systemd.unit(5)
UNITS = [f"{top}/systemd/system" for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")]
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

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[str, str], bool]] = {}

    def prepare(self, names: Sequence[str]) -> None:
        self._known = dict(zip(names, zip(_show(names), _enabled(names))))

    def settle(self) -> None:
        self._known = {}

    def get(self, name: str, options: dict[str, Any]) -> Any:
        shown, enabled = self._known.get(name) or (_show([name])[0], _enabled([name])[0])
        return {"active": shown["ActiveState"] in ("active", "activating", "reloading"), "enabled": enabled}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        (unit,) = _show([name])
        # An alias, by which D-Bus would start it again, is known to systemd until it reloads.
        lazy = [] if len(unit["Names"].split()) > 1 else ["--no-reload"]
        if after["enabled"] != before["enabled"]:
            run(["systemctl", "--quiet", *lazy, "enable" if after["enabled"] else "disable", name], env=NATIVE)
        if unit["NeedDaemonReload"] == "yes":
            run(["systemctl", "daemon-reload"])
        if after["active"] != before["active"]:
            verb = "start" if after["active"] else "stop"
            # What starts it again on demand goes with it, unless it is wanted by itself.
            triggers = [] if after["active"] else unit["TriggeredBy"].split()
            idle = [name for name, enabled in zip(triggers, _enabled(triggers)) if not enabled]
            try:
                _again_if_limited(verb, name, *idle)
            except Refused as refused:
                if after["enabled"] != before["enabled"]:  # all of it or nothing
                    back = "enable" if before["enabled"] else "disable"
                    run(["systemctl", "--quiet", *lazy, back, name], env=NATIVE)
                log = run(["journalctl", "-q", "-n", "15", "--no-pager", "-o", "cat", "-u", name])
                raise Refused(f"{name} does not {verb}", log or refused.detail) from None


def _again_if_limited(verb: str, *names: str) -> None:
    """systemd refuses what was started too often lately, until it is told to forget that. systemd.unit(5)"""
    try:
        run(["systemctl", verb, *names])
    except Refused:
        if verb != "start" or "start-limit-hit" not in run(["systemctl", "show", "-p", "Result", *names]):
            raise
        run(["systemctl", "reset-failed", *names])
        run(["systemctl", verb, *names])


def _enabled(units: Sequence[str]) -> list[bool]:
    """By what is on disk: systemd's own answer is as old as its last reload."""
    known = [unit for unit in units if _exists(unit)]  # one that isn't would end systemctl's answer
    words = []
    if known:
        done = subprocess.run(["systemctl", "is-enabled", *known], capture_output=True, text=True, check=False)
        words = done.stdout.splitlines()
    found = {unit for unit, word in zip(known, words) if word == "enabled"}
    return [unit in found for unit in units]


def _exists(unit: str) -> bool:
    file = unit if "." in unit else f"{unit}.service"
    return any(os.path.lexists(f"{folder}/{file}") for folder in UNITS) or os.path.exists(f"/etc/init.d/{unit}")


def _show(units: Sequence[str]) -> list[dict[str, str]]:
    """What systemd says of each unit, of unknown ones too."""
    properties = "ActiveState,Names,NeedDaemonReload,TriggeredBy"
    blocks = run(["systemctl", "show", "-p", properties, *units]).strip().split("\n\n")
    return [dict(row.split("=", 1) for row in block.splitlines()) for block in blocks]


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
    return [name for name, enabled in zip(names, _enabled(names)) if enabled]


class _nothing_starts:
    """Maintainer scripts start no services meanwhile; a policy that was there before is left alone."""

    def __enter__(self) -> None:
        self._ours = not POLICY.exists()
        if self._ours:
            write(POLICY, "#!/bin/sh\nexit 101\n", 0o755)

    def __exit__(self, *_: object) -> None:
        if self._ours:
            POLICY.unlink(missing_ok=True)
