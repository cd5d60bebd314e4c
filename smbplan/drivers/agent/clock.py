"""The clock of this host, and the daemon that keeps it: chrony as on Proxmox VE, or systemd-timesyncd as on Debian."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from .core import Object, Refused, read_text, run, write

CHRONY = (Path("/usr/sbin/chronyd"), Path("/etc/chrony/sources.d/smbplan.sources"))
TIMESYNCD = (Path("/lib/systemd/systemd-timesyncd"), Path("/etc/systemd/timesyncd.conf.d/smbplan.conf"))
LONGEST = 15.0  # seconds: chrony makes its first four measurements in some eight


class Clock(Object):
    """State: {servers}. chrony keeps its other sources; these are preferred, and believed against them."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        text = "".join(read_text(path) or "" for _, path in (CHRONY, TIMESYNCD))
        listed = re.search(r"^NTP=(.*)$", text, re.M)
        return {"servers": listed[1].split() if listed else re.findall(r"^pool (\S+)", text, re.M)}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        servers = after["servers"] if after else []
        daemon, path = next((each for each in (CHRONY, TIMESYNCD) if each[0].exists()), (None, None))
        if path is None:
            hint = "apt-get install chrony; a host that has its time by other means needs no time: at its domain"
            raise Refused("this host has no daemon that keeps its clock", "", hint)
        if not servers:
            path.unlink(missing_ok=True)
        elif daemon == CHRONY[0]:
            lines = [f"pool {server} iburst prefer trust maxsources 4\n" for server in servers]
            write(path, "".join(["# Written by smbplan\n", *lines]), 0o644)
        else:
            write(path, f"# Written by smbplan\n[Time]\nNTP={' '.join(servers)}\n", 0o644)
        with suppress(Refused):  # one that does not run reads this when it starts
            reload = ["chronyc", "reload", "sources"]
            run(reload if daemon == CHRONY[0] else ["systemctl", "try-restart", "systemd-timesyncd"])


def correct() -> None:
    """Set the clock by what chrony has measured, as soon as it has; a daemon that runs for long would only slew it."""
    end = time.monotonic() + LONGEST
    while CHRONY[0].exists() and time.monotonic() < end:
        if any(fields[1:2] == ["*"] for fields in _sources()):
            with suppress(Refused):
                run(["chronyc", "makestep"])
            return
        time.sleep(1)


def _sources() -> list[list[str]]:
    """Those of chrony: mode, state, name, …"""
    argv = ["chronyc", "-c", "-N", "sources"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return [line.split(",") for line in done.stdout.splitlines()]


def row(servers: list[str]) -> dict[str, Any]:
    """For `smbplan domain check`: whether the clock follows one of these."""
    made: dict[str, Any] = {"check": "time", "ok": True, "found": "", "code": "", "tried": "", "hint": ""}
    if not CHRONY[0].exists():
        return {**made, "ok": None, "found": "kept by systemd-timesyncd: timedatectl timesync-status shows it"}
    found = [fields for fields in _sources() if len(fields) > 2]
    chosen = next((fields[2] for fields in found if fields[1] == "*"), "")
    if chosen.lower() in servers:
        return {**made, "found": f"follows {chosen}"}
    hint = "a controller needs an NTP server: w32time is one, chrony with ntpsigndsocket another; then chronyc makestep"
    words = f"the clock follows {chosen}, and no controller" if chosen else "no source of time answers"
    tried = ", ".join(fields[2] for fields in found) or "chrony, which does not answer"
    return {**made, "ok": False, "found": words, "code": "no-time", "tried": tried, "hint": hint}
