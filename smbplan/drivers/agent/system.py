"""Packages and services. dpkg(1), systemctl(1)"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .core import LOCAL, SMB_CONF, Object, Refused, private, read_text, run, write
from .files import PACKAGED, settings

NATIVE = {"SYSTEMCTL_SKIP_SYSV": "1"}  # an old init script beside a unit means nothing, and costs three reloads
# systemd.unit(5)
UNITS = [f"{top}/systemd/system" for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")]
POLICY = Path("/usr/sbin/policy-rc.d")  # while it says 101, maintainer scripts start nothing
MARK = "# smbplan: while packages are installed or removed"  # by which one of ours is known, if its agent has died
LOCK = Path("/run/smbplan/packages")
UPDATES = Path("/var/lib/dpkg/updates")  # what dpkg has done, and not yet put into its status file
OTHERS = 60.0  # seconds for which dpkg is waited for; one that was killed never ends
LONGEST = 600.0  # seconds that an apt-get is waited for whose agent has died
APT = ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-confold"]
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}


class Packages(Object):
    """A set of packages; its name is their names. State: {installed}: those that are."""

    ADDED = LOCAL / "packages.json"  # what came with an installation, dependencies too
    BEGUN = LOCAL / "packages-begun.json"  # {coming, conf} of an installation that has not ended

    def get(self, name: str, options: dict[str, Any]) -> Any:
        self.recover(waits="undo" in options)  # a look doesn't, but a step comes after what still goes on
        return {"installed": sorted(set(name.split()) & installed())}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        wanted, have = set(after["installed"]), set(before["installed"])
        with _alone(LONGEST) as lock, _nothing_starts():
            if _is_cut_short():  # until then, apt-get refuses everything; and says itself what this could not mend
                with suppress(Refused):
                    run(["dpkg", "--force-confold", "--configure", "-a"], env=QUIET, fds=(lock,))
            if wanted - have:
                try:
                    self._install(sorted(wanted - have), lock)
                finally:
                    _wait_for_dpkg()
                    self._end()
            elif have - wanted:
                self._purge(have - wanted, lock)

    def recover(self, waits: bool = False) -> None:
        """An agent that died at work has left a policy and a note: they go, when its apt-get has ended, too.

        Raises Refused where that is waited for and goes on.
        """
        if not (_is_ours() or self.BEGUN.exists()):
            return
        try:
            with _alone(LONGEST if waits else 0.0):
                with suppress(OSError):
                    _allow_starts()
                with suppress(OSError, ValueError, Refused):
                    self._end()
        except Refused:
            if waits:
                raise

    def _install(self, names: Sequence[str], lock: int) -> None:
        try:
            self._bring(names, lock)
        except Refused:
            run([*APT, "update"], env=QUIET, fds=(lock,))
            self._bring(names, lock)

    def _bring(self, names: Sequence[str], lock: int) -> None:
        """What comes is known, and durable, before it does: what somebody installs after a crash isn't ours."""
        install = [*APT, "--no-install-recommends", "install", *names]
        told = set(re.findall(r"^(?:Inst|Conf) ([^\s:]+)", run([*install, "-s"], env=QUIET), re.M))
        others = _with_status("installed") | (_present() - {*self._added()})
        note = self._begun() or {"coming": [], "conf": Path(SMB_CONF).exists()}
        write(self.BEGUN, json.dumps({**note, "coming": sorted({*note["coming"], *(told - others)})}))
        run(install, env=QUIET, fds=(lock,))

    def _end(self) -> None:
        """What an installation ends with, by whoever finds it begun."""
        note, conf = self._begun(), Path(SMB_CONF)
        if note is None or _is_cut_short():
            return
        came = {*note["coming"]} & _present()
        write(self.ADDED, json.dumps(sorted({*self._added(), *came})))
        ours = conf.exists() and not note["conf"]
        if ours and settings(conf.read_text()) == settings(read_text(Path(PACKAGED)) or "?"):
            conf.unlink()  # Debian's default shares are nobody's wish
        units = [unit for name in sorted(came & installed()) for unit in _units(name)]
        if units:
            run(["systemctl", "disable", "--quiet", *units])
        self.BEGUN.unlink()

    def _purge(self, names: Iterable[str], lock: int) -> None:
        """What we installed, and the dependencies that came with it."""
        self._end()
        gone = sorted({*names, *self._added()} & _present())
        run([*APT, "purge", *gone], env=QUIET, fds=(lock,))
        self.ADDED.unlink(missing_ok=True)

    def _added(self) -> list[str]:
        return list(json.loads(read_text(self.ADDED) or "[]"))

    def _begun(self) -> dict[str, Any] | None:
        note: dict[str, Any] | None = json.loads(read_text(self.BEGUN) or "null")
        return note


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
    return _with_status("installed")


def _present() -> set[str]:
    """Those, and the ones that an installation which was cut short has unpacked."""
    return _with_status(r"(?!config-files|not-installed)\S+")


def _with_status(pattern: str) -> set[str]:
    text = read_text(Path("/var/lib/dpkg/status")) or ""
    return set(re.findall(rf"^Package: (\S+)\nStatus: \S+ \S+ {pattern}$", text, re.M))


def _is_cut_short() -> bool:
    """Whether dpkg was, as by a power failure: its status file doesn't say what is there."""
    return any(path.name.isdigit() for path in UPDATES.glob("*"))


def _wait_for_dpkg() -> None:
    """Somebody else's may begin as soon as ours has ended."""
    deadline = time.monotonic() + OTHERS
    while _is_cut_short() and time.monotonic() < deadline:
        time.sleep(0.2)


def _units(package: str) -> list[str]:
    """The enabled services that a package brought."""
    files = run(["dpkg", "-L", package]).splitlines()
    names = [
        Path(path).name for path in files if re.fullmatch(r".*/systemd/system/[^/@]+\.(service|socket|timer)", path)
    ]
    return [name for name, enabled in zip(names, _enabled(names)) if enabled]


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """Maintainer scripts start no services meanwhile; a policy that was there before is left alone."""
    if not POLICY.exists():
        write(POLICY, f"#!/bin/sh\n{MARK}\nexit 101\n", 0o755)
    try:
        yield
    finally:
        _allow_starts()


def _allow_starts() -> None:
    if _is_ours():
        POLICY.unlink(missing_ok=True)


def _is_ours() -> bool:
    with suppress(OSError):
        return MARK in (read_text(POLICY) or "").splitlines()
    return False


@contextmanager
def _alone(longest: float) -> Iterator[int]:
    """Nobody else changes packages for smbplan, nor what an agent that died has started. Raises Refused.

    What changes them inherits the file, and with it the lock.
    """
    private(LOCK.parent)
    file = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + longest
    try:
        while not _locked(file):
            if time.monotonic() > deadline:
                raise Refused("an earlier run's apt-get is at work", "", "try again when it has ended")
            time.sleep(0.1)
        yield file
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
