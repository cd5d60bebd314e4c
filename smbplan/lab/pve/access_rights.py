"""Roles, and the rights they give to users, groups and tokens."""

import re
from typing import Any

from smbplan.lab.pve import acl, formats, usercfg
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import bad_params, denied, fail
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, NEED, STR, Param
from smbplan.lab.pve.usercfg import Entry, UserConfig

_ROLES = Need("/access", ("Sys.Modify",))


@route("GET", "/access/roles")
def roles(call: Call) -> list[dict[str, Any]]:
    """Built-in roles are special."""
    own = usercfg.load(call.site.root).roles
    rows = [(name, privs, 1) for name, privs in call.rights.known.items()]
    rows += [(name, frozenset(privs), 0) for name, privs in own.items()]
    return [{"roleid": name, "privs": ",".join(sorted(privs)), "special": special} for name, privs, special in rows]


@route("GET", "/access/roles/{roleid}")
def read_role(call: Call) -> dict[str, int]:
    """Its privileges."""
    name = call.params["roleid"]
    if name not in call.rights.known and name not in usercfg.load(call.site.root).roles:
        raise fail(f"role '{name}' does not exist")
    return dict.fromkeys(sorted(call.rights.privileges_of(name)), 1)


def _privileges(call: Call) -> set[str]:
    names = set(formats.split_list(call.params.get("privs", "")))
    for name in sorted(names - call.rights.every):
        raise bad_params({"privs": f"invalid format - invalid privilege '{name}'\n"})
    return names


@route("POST", "/access/roles", {"roleid": Param(optional=False, format="role-id"), "privs": STR}, _ROLES)
def create_role(call: Call) -> None:
    """A role of one's own."""
    name, privs = call.params["roleid"], _privileges(call)
    with usercfg.changing(call.site.root) as config:
        if name in config.roles or name in call.rights.known:
            raise fail(f"create role failed: role '{name}' already exists")
        if name.startswith("PVE"):
            raise bad_params({"roleid": "cannot use role ID starting with the (case-insensitive) 'PVE' namespace"})
        config.roles[name] = privs


def _own_role(call: Call, config: UserConfig, name: str) -> None:
    if name in call.rights.known:
        raise fail(f"auto-generated role '{name}' cannot be modified")
    if name not in config.roles:
        raise fail(f"role '{name}' does not exist")


@route("PUT", "/access/roles/{roleid}", {"privs": STR, "append": BOOL}, _ROLES)
def update_role(call: Call) -> None:
    """Replace its privileges, or add to them."""
    name, privs = call.params["roleid"], _privileges(call)
    with usercfg.changing(call.site.root) as config:
        _own_role(call, config, name)
        config.roles[name] = privs | (config.roles[name] if call.params.get("append") else set())


@route("DELETE", "/access/roles/{roleid}", None, _ROLES)
def delete_role(call: Call) -> None:
    """Also where it was given."""
    name = call.params["roleid"]
    with usercfg.changing(call.site.root) as config:
        _own_role(call, config, name)
        del config.roles[name]
        config.acl = {entry: flag for entry, flag in config.acl.items() if entry.role != name}


def _may_modify(rights: Rights, path: str) -> bool:
    """`perm-modify`: Permissions.Modify, or what allocates things of that kind."""
    area = re.match(r"/(vms|storage|pool)(?:/|$)", path)
    allocate = {"vms": "VM.Allocate", "storage": "Datastore.Allocate", "pool": "Pool.Allocate"}
    names = ["Permissions.Modify", *([allocate[area[1]]] if area else [])]
    return rights.has(path, names, any_of=True)


@route("GET", "/access/acl")
def read_acl(call: Call) -> list[dict[str, Any]]:
    """Rights given, where the user may change them or audit."""
    rows = usercfg.load(call.site.root).acl.items()
    audit = call.rights.has("/access", ["Sys.Audit"])
    return [
        {"path": e.path, "type": e.kind, "ugid": e.who, "roleid": e.role, "propagate": propagate}
        for e, propagate in rows
        if audit or _may_modify(call.rights, e.path)
    ]


@route(
    "PUT",
    "/access/acl",
    {
        "path": NEED,
        "roles": Param(optional=False, format="role-id-list"),
        "delete": BOOL,
        "groups": Param(format="group-id-list"),
        "propagate": BOOL,
        "tokens": Param(format="token-id-list"),
        "users": Param(format="user-id-list"),
    },
)
def change_acl(call: Call) -> None:
    """Give or take roles."""
    params = call.params
    path = acl.normal_path(params["path"])
    if path is None:
        raise bad_params({"path": f"invalid ACL path '{params['path']}'"})
    if not _may_modify(call.rights, path):
        raise denied(f"{path}, Permissions.Modify")
    who = [
        (kind, name) for kind in ("user", "group", "token") for name in formats.split_list(params.get(f"{kind}s", ""))
    ]
    if not who:
        raise bad_params({"users": "either 'users', 'groups' or 'tokens' is required."})
    with usercfg.changing(call.site.root) as config:
        known = {"user": set(config.users), "group": set(config.groups), "token": set(config.tokens)}
        for role in formats.split_list(params["roles"]):
            if role not in call.rights.known and role not in config.roles:
                raise fail(f"ACL update failed: role '{role}' does not exist")
            for kind, name in who:
                if name not in known[kind]:
                    raise fail(f"ACL update failed: {kind} '{name}' does not exist")
                if params.get("delete"):
                    config.acl.pop(Entry(path, kind, name, role), None)
                else:
                    config.acl[Entry(path, kind, name, role)] = int(params.get("propagate", 1))
