"""`pct`, `pvesm`, `pveum` and `pvesh` of a node: the same calls as the API's, as root@pam on this machine.

Run as `python3 -m smbplan.lab.pve.cli pct list`. Where the files are can be said in the environment:
PVE_ROOT (/etc/pve), PVE_LOCAL (/var/log/pve), PVE_NODE (the host's name), PVE_BACKEND (containers).
Exit codes as observed: 2 for a guest that doesn't exist, 255 for other failures.
"""

import getpass
import os
import re
import sys
from collections.abc import Callable, Sequence

from smbplan.lab.pve import auth, commandline, guestconf, guests, routing, status, storages
from smbplan.lab.pve.commandline import Command, Usage
from smbplan.lab.pve.errors import ApiError, fail
from smbplan.lab.pve.site import Site
from smbplan.lab.pve.usercfg import ROOT

_CT = "/nodes/{node}/lxc/{vmid}"
_V = ("vmid",)
_STORAGES = "/nodes/{node}/storage"

PCT = {
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
PVEUM = {
    "acl delete": Command("PUT", "/access/acl", ("path",)),
    "acl list": Command("GET", "/access/acl"),
    "acl modify": Command("PUT", "/access/acl", ("path",)),
    "role add": Command("POST", "/access/roles", ("roleid",)),
    "role delete": Command("DELETE", "/access/roles/{roleid}", ("roleid",)),
    "role list": Command("GET", "/access/roles"),
    "role modify": Command("PUT", "/access/roles/{roleid}", ("roleid",)),
    "user add": Command("POST", "/access/users", ("userid",)),
    "user delete": Command("DELETE", "/access/users/{userid}", ("userid",)),
    "user list": Command("GET", "/access/users"),
    "user modify": Command("PUT", "/access/users/{userid}", ("userid",)),
    "user permissions": Command("GET", "/access/permissions", ("userid",)),
    "user token add": Command("POST", "/access/users/{userid}/token/{tokenid}", ("userid", "tokenid")),
    "user token list": Command("GET", "/access/users/{userid}/token", ("userid",)),
    "user token modify": Command("PUT", "/access/users/{userid}/token/{tokenid}", ("userid", "tokenid")),
    "user token remove": Command("DELETE", "/access/users/{userid}/token/{tokenid}", ("userid", "tokenid")),
}
_PVEUM_SHORT = {
    "aclmod": "acl modify",
    "acldel": "acl delete",
    "roleadd": "role add",
    "rolemod": "role modify",
    "roledel": "role delete",
    "useradd": "user add",
    "usermod": "user modify",
    "userdel": "user delete",
}
_PVESH = {"get": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}
PVESM = {
    "add": Command("POST", "/storage", ("type", "storage")),
    "alloc": Command("POST", f"{_STORAGES}/{{storage}}/content", ("storage", "vmid", "filename", "size")),
    "list": Command("GET", f"{_STORAGES}/{{storage}}/content", ("storage",)),
    "remove": Command("DELETE", "/storage/{storage}", ("storage",)),
    "set": Command("PUT", "/storage/{storage}", ("storage",)),
    "status": Command("GET", _STORAGES),
}


def _vmid(words: list[str]) -> int:
    if not words or not re.fullmatch(r"[1-9]\d{2,8}", words[0]):
        raise Usage("not enough arguments: vmid is missing")
    return int(words[0])


def pct(site: Site, words: list[str]) -> int:
    """Containers of this node."""
    name, rest = (words[0], words[1:]) if words else ("", [])
    special = _PCT_SPECIAL.get(name)
    if special:
        return special(site, rest)
    if name not in PCT:
        raise Usage(f"no such command '{name}'")
    data = commandline.call(site, PCT[name], commandline.parse(rest, PCT[name]))
    commandline.show(data)
    return 0


def _pct_list(site: Site, words: list[str]) -> int:
    rows = [
        {"vmid": row["vmid"], "status": row["status"], "lock": row.get("lock", ""), "name": row["name"]}
        for row in routing.dispatch(site, ROOT, "GET", f"/nodes/{site.node}/lxc", {})
    ]
    if rows:
        commandline.table(
            rows, (("vmid", "VMID", 10), ("status", "Status", 10), ("lock", "Lock", 12), ("name", "Name", 20))
        )
    return 0


def _pct_status(site: Site, words: list[str]) -> int:
    vmid = _vmid(words)
    found = routing.dispatch(site, ROOT, "GET", f"/nodes/{site.node}/lxc/{vmid}/status/current", {})
    verbose = any(word.lstrip("-") == "verbose" for word in words[1:])
    for key in sorted(found) if verbose else ["status"]:
        print(f"{key}: {found[key]}")
    return 0


def _pct_config(site: Site, words: list[str]) -> int:
    """Keys and values; the description percent-encoded on one line."""
    config = guests.load(site, _vmid(words))
    values = config.values if "--current" in words else config.future()
    for key in sorted(values):
        value = values[key]
        if key == "description":
            value = "%0A".join(guestconf.encode(line) for line in value.split("\n"))
        print(f"{key}: {value}")
    for key, value in config.raw:
        print(f"{key}: {value}")
    return 0


def _pct_unlock(site: Site, words: list[str]) -> int:
    vmid = _vmid(words)
    with guests.locked(site, vmid):
        config = guests.load(site, vmid)
        if config.values.pop("lock", None):
            guests.store(site, vmid, config)
        else:
            print("no lock set")
    return 0


def _pct_exec(site: Site, words: list[str]) -> int:
    """Become `lxc-attach`: its input, output and exit code are the command's."""
    vmid, rest = _vmid(words), words[1:]
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


_PCT_SPECIAL: dict[str, Callable[[Site, list[str]], int]] = {
    "config": _pct_config,
    "exec": _pct_exec,
    "list": _pct_list,
    "status": _pct_status,
    "unlock": _pct_unlock,
}


def pvesm(site: Site, words: list[str]) -> int:
    """Storages and volumes."""
    name, rest = (words[0], words[1:]) if words else ("", [])
    if name in ("path", "free") and rest:
        return _volume(site, name, rest[0])
    if name not in PVESM:
        raise Usage(f"no such command '{name}'")
    data = commandline.call(site, PVESM[name], commandline.parse(rest, PVESM[name]))
    if name == "status":
        for row in data:
            row["state"] = "active" if row["active"] else "disabled" if not row["enabled"] else "inactive"
            row["percent"] = f"{row.get('used_fraction', 0):.2%}"
            row |= {key: row[key] // 1024 for key in ("total", "used", "avail")}
        columns = (("storage", "Name", 15), ("type", "Type", 8), ("state", "Status", 10), ("total", "Total", -15))
        commandline.table(data, (*columns, ("used", "Used", -15), ("avail", "Available", -15), ("percent", "%", -8)))
    elif name == "list":
        width = max([len(row["volid"]) for row in data], default=5)
        for row in data:
            row.setdefault("vmid", "")
        columns = (("volid", "Volid", width), ("format", "Format", 7), ("content", "Type", 10), ("size", "Size", -15))
        commandline.table(data, (*columns, ("vmid", "VMID", 0)))
    elif name == "alloc":
        print(f"successfully created '{data}'")
    return 0


def _volume(site: Site, action: str, volid: str) -> int:
    path = storages.path_of(site, volid)
    if action == "path":
        print(path)
        return 0
    storage = storages.split_volid(volid)[0]
    commandline.call(site, Command("DELETE", f"{_STORAGES}/{storage}/content/{volid}"), {})
    return 0


def _longest(words: list[str], known: dict[str, Command]) -> tuple[str, list[str]]:
    for count in (3, 2):
        name = " ".join(words[:count])
        if name in known:
            return name, words[count:]
    raise Usage(f"no such command '{' '.join(words[:2])}'")


def pveum(site: Site, words: list[str]) -> int:
    """Users, tokens, roles and rights."""
    if words[:1] == ["passwd"] and len(words) == 2:
        interactive = sys.stdin.isatty()
        password = getpass.getpass("Enter new password: ") if interactive else sys.stdin.readline().strip()
        if len(password) < 8:
            raise ApiError(400, "password too short")
        auth.set_password(site.root, words[1], password)
        return 0
    words = [*_PVEUM_SHORT[words[0]].split(), *words[1:]] if words and words[0] in _PVEUM_SHORT else words
    name, rest = _longest(words, PVEUM)
    values = commandline.parse(rest, PVEUM[name])
    values.pop("output-format", None)
    if name == "acl delete":
        values["delete"] = "1"
    commandline.show(commandline.call(site, PVEUM[name], values))
    return 0


def pvesh(site: Site, words: list[str]) -> int:
    """Any call; answers are JSON."""
    if len(words) < 2 or words[0] not in _PVESH:
        raise Usage("expected get, create, set or delete, and a path")
    command = Command(_PVESH[words[0]], "/" + words[1].strip("/"))
    values = commandline.parse(words[2:], command)
    values.pop("output-format", None)
    commandline.show(commandline.call(site, command, values))
    return 0


PROGRAMS: dict[str, Callable[[Site, list[str]], int]] = {"pct": pct, "pvesm": pvesm, "pveum": pveum, "pvesh": pvesh}


def main(argv: Sequence[str]) -> int:
    """The program's name is the first argument."""
    program = argv[0] if argv else ""
    run = PROGRAMS.get(program)
    if run is None:
        print(f"usage: cli {'|'.join(PROGRAMS)} ...", file=sys.stderr)
        return commandline.FAILED
    try:
        return run(commandline.site_of(os.environ), list(argv[1:]))
    except Usage as error:
        print(f"400 {error}\n{program} <COMMAND> [ARGS] [OPTIONS]", file=sys.stderr)
    except ApiError as error:
        return commandline.report(error)
    return commandline.FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
