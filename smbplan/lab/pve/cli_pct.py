"""`pct`: containers of this node."""

import os
import sys

from smbplan.lab.pve import cli_guests, commandline, guests, routing, status
from smbplan.lab.pve.cli_guests import Special
from smbplan.lab.pve.commandline import Command, Usage
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.site import Site
from smbplan.lab.pve.usercfg import ROOT

_CT = cli_guests.place("lxc")
_V = ("vmid",)

_COMMANDS = {
    "create": Command("POST", "/nodes/{node}/lxc", ("vmid", "ostemplate")),
    "destroy": Command("DELETE", _CT, _V),
    "migrate": Command("POST", f"{_CT}/migrate", ("vmid", "target")),
    "pending": Command("GET", f"{_CT}/pending", _V),
    "reboot": Command("POST", f"{_CT}/status/reboot", _V),
    "resize": Command("PUT", f"{_CT}/resize", ("vmid", "disk", "size")),
    "set": Command("PUT", f"{_CT}/config", _V),
    "shutdown": Command("POST", f"{_CT}/status/shutdown", _V),
    "start": Command("POST", f"{_CT}/status/start", _V),
    "stop": Command("POST", f"{_CT}/status/stop", _V),
}


def _list(site: Site, words: list[str]) -> int:
    rows = [
        {"vmid": row["vmid"], "status": row["status"], "lock": row.get("lock", ""), "name": row["name"]}
        for row in routing.dispatch(site, ROOT, "GET", f"/nodes/{site.node}/lxc", {})
    ]
    if rows:
        commandline.table(
            rows, (("vmid", "VMID", 10), ("status", "Status", 10), ("lock", "Lock", 12), ("name", "Name", 20))
        )
    return 0


def _exec(site: Site, words: list[str]) -> int:
    """Become `lxc-attach`: its input, output and exit code are the command's."""
    vmid, rest = cli_guests.vmid_of(words), words[1:]
    clear: list[str] = []
    while rest and rest[0] != "--" and rest[0].startswith("-"):
        option, equals, value = rest.pop(0).lstrip("-").partition("=")
        value = value if equals else (rest.pop(0) if rest and rest[0] in ("0", "1") else "1")
        clear = ["--clear-env"] if option == "keep-env" and value == "0" else clear
    command = rest[1:] if rest[:1] == ["--"] else rest
    if not command:
        raise Usage("no command given")
    guests.load(site, vmid)
    if not status.live(site, vmid)["running"]:
        raise fail(f"container '{vmid}' not running!")
    arguments = ["lxc-attach", "-n", str(vmid), *clear, "--", *command]
    sys.stdout.flush()
    try:
        os.execvp(arguments[0], arguments)
    except OSError as error:
        raise fail(f"{arguments[0]}: {error.strerror}") from None


_SPECIAL: Special = {
    "config": cli_guests.config("lxc"),
    "exec": _exec,
    "list": _list,
    "status": cli_guests.status("lxc"),
    "unlock": cli_guests.unlock("lxc"),
}


def pct(site: Site, words: list[str]) -> int:
    """Containers of this node."""
    return cli_guests.run(site, words, _COMMANDS, _SPECIAL)
