"""`pct`, `qm`, `pvesm`, `pveum` and `pvesh` of a node: the same calls as the API's, as root@pam on this machine.

Run as `python3 -m smbplan.lab.pve.cli pct list`. Where the files are can be said in the environment:
PVE_ROOT (/etc/pve), PVE_LOCAL (/var/log/pve), PVE_NODE (the host's name), PVE_BACKEND (containers).
Exit codes as observed: 2 for a guest that doesn't exist, 255 for other failures.
"""

import getpass
import os
import sys
from collections.abc import Callable, Sequence

from smbplan.lab.pve import auth, cli_pct, cli_qm, commandline, storages
from smbplan.lab.pve.commandline import Command, Usage
from smbplan.lab.pve.errors import ApiError
from smbplan.lab.pve.site import Site

_STORAGES = "/nodes/{node}/storage"

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


PROGRAMS: dict[str, Callable[[Site, list[str]], int]] = {
    "pct": cli_pct.pct,
    "pvesm": pvesm,
    "pvesh": pvesh,
    "pveum": pveum,
    "qm": cli_qm.qm,
}


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
