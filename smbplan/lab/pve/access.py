"""Logging in, users, tokens."""

import uuid
from typing import Any

from smbplan.lab.pve import acl, auth, formats, schema, usercfg
from smbplan.lab.pve.acl import Rights, owner
from smbplan.lab.pve.errors import ApiError, bad_params, denied, fail
from smbplan.lab.pve.routing import Call, route
from smbplan.lab.pve.schema import BOOL, NEED, STR, Param
from smbplan.lab.pve.usercfg import Token, User, UserConfig

REALMS = {"pam": "Linux PAM standard authentication", "pve": "Proxmox VE authentication server"}
_USER: dict[str, Param] = {
    "comment": Param(longest=2048),
    "email": Param(longest=254),
    "enable": BOOL,
    "expire": Param("integer", low=0),
    "firstname": Param(longest=1024),
    "groups": Param(format="group-id-list"),
    "keys": STR,
    "lastname": Param(longest=1024),
}
_TOKEN: dict[str, Param] = {
    "tokenid": Param(optional=False, pattern=r"[A-Za-z][A-Za-z0-9.\-_]+"),
    "comment": STR,
    "expire": Param("integer", low=0),
    "privsep": BOOL,
}


@route("GET", "/access/ticket", world=True)
def ticket_page(call: Call) -> None:
    """For form autocompletion of browsers."""


@route(
    "POST",
    "/access/ticket",
    {
        "username": Param(optional=False, longest=64),
        "password": NEED,
        "realm": Param(longest=32),
        "otp": STR,
        "path": STR,
        "privs": STR,
        "new-format": BOOL,
        "tfa-challenge": STR,
    },
    world=True,
)
def login(call: Call) -> dict[str, Any]:
    """A ticket for a password, or for a ticket that is still valid."""
    site, params = call.site, call.params
    user = params["username"] + (f"@{params['realm']}" if "realm" in params else "")
    if "@" not in user:
        user += "@pam"
    auth.login(site.root, user, params["password"])
    rights = Rights(site.root, site.dialect, user)
    found = {"username": user, "ticket": auth.make_ticket(site.root, user)}
    cap = {path[1:] or "dc": rights.permissions(path) for path in ("/access", "/nodes", "/storage", "/vms", "/sdn")}
    return {**found, "CSRFPreventionToken": auth.make_csrf(site.root, user), "cap": cap}


@route("GET", "/access/domains", world=True)
def domains(call: Call) -> list[dict[str, str]]:
    """Realms."""
    return [{"realm": name, "type": name, "comment": comment} for name, comment in REALMS.items()]


@route("PUT", "/access/password", {"userid": Param(optional=False, format="user-id"), "password": NEED})
def change_password(call: Call) -> None:
    """One's own, or with rights on the user, another's."""
    userid = call.params["userid"]
    if userid != call.user:
        call.rights.check_user(userid, ["User.Modify"])
    _get_user(usercfg.load(call.site.root), userid)
    auth.set_password(call.site.root, userid, call.params["password"])


@route("GET", "/access/permissions", {"path": STR, "userid": STR})
def permissions(call: Call) -> dict[str, dict[str, int]]:
    """Effective rights by path."""
    subject = call.params.get("userid", call.user)
    if subject != call.user and owner(subject) != call.user:
        call.rights.check("/access", ["Sys.Audit"])
    rights = Rights(call.site.root, call.site.dialect, subject)
    if "path" in call.params:
        path = acl.normal_path(call.params["path"])
        if path is None:
            raise bad_params({"path": f"invalid ACL path '{call.params['path']}'"})
        return {path: rights.permissions(path)}
    config = usercfg.load(call.site.root)
    paths = {*acl.DEFAULT_PATHS, *(entry.path for entry in config.acl), *(f"/pool/{name}" for name in config.pools)}
    found = {path: rights.permissions(path) for path in sorted(paths)}
    return {path: granted for path, granted in found.items() if granted}


def _shown(userid: str, user: User, config: UserConfig, full: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"userid": userid, "enable": user.enable, "expire": user.expire}
    shown["realm-type"] = userid.rpartition("@")[2]
    texts = {name: getattr(user, name) for name in ("firstname", "lastname", "email", "comment", "keys")}
    shown |= {name: text for name, text in texts.items() if text}
    if userid != usercfg.ROOT:
        shown.setdefault("email", "")
    if full:
        shown["tokens"] = _tokens(config, userid)
        shown["groups"] = ",".join(sorted(name for name, (who, _) in config.groups.items() if userid in who))
    return shown


def _get_user(config: UserConfig, userid: str) -> User:
    if userid not in config.users:
        raise fail(f"no such user ('{userid}')")
    return config.users[userid]


def _may_see(rights: Rights, userid: str) -> bool:
    try:
        rights.check_user(userid, ["User.Modify", "Sys.Audit"])
    except ApiError:
        return userid == owner(rights.user)
    return True


@route("GET", "/access/users", {"enabled": BOOL, "full": BOOL})
def users(call: Call) -> list[dict[str, Any]]:
    """Those that the user may see, oneself at least."""
    config, params = usercfg.load(call.site.root), call.params
    return [
        _shown(userid, user, config, bool(params.get("full")))
        for userid, user in sorted(config.users.items())
        if _may_see(call.rights, userid) and params.get("enabled", user.enable) == user.enable
    ]


@route("GET", "/access/users/{userid}")
def read_user(call: Call) -> dict[str, Any]:
    """One user."""
    userid = call.params["userid"]
    if not _may_see(call.rights, userid):
        raise denied(f"/access/groups, {'|'.join(('User.Modify', 'Sys.Audit'))}")
    config = usercfg.load(call.site.root)
    shown = _shown(userid, _get_user(config, userid), config, False)
    tokens = {row.pop("tokenid"): row for row in _tokens(config, userid)}
    groups = sorted(name for name, (who, _) in config.groups.items() if userid in who)
    kept = {key: value for key, value in shown.items() if key not in ("userid", "realm-type")}
    return {**kept, "groups": groups, **({"tokens": tokens} if tokens else {})}


def _fill(config: UserConfig, userid: str, user: User, params: dict[str, Any]) -> None:
    for name in ("comment", "email", "enable", "expire", "firstname", "keys", "lastname"):
        if name in params:
            setattr(user, name, params[name])
    if "groups" in params:
        wanted = formats.split_list(params["groups"])
        for name in wanted:
            if name not in config.groups:
                raise fail(f"group '{name}' does not exist")
        for name, (members, _) in config.groups.items():
            if name in wanted:
                members.add(userid)
            elif not params.get("append"):
                members.discard(userid)


@route(
    "POST",
    "/access/users",
    {"userid": Param(optional=False, format="user-id", longest=64), "password": Param(shortest=8, longest=64), **_USER},
)
def create_user(call: Call) -> None:
    """Needs rights on the realm and on groups."""
    userid, params = call.params["userid"], call.params
    realm = userid.rpartition("@")[2]
    call.rights.check(f"/access/realm/{realm}", ["Realm.AllocateUser"])
    call.rights.check_user(userid, ["User.Modify"])
    with usercfg.changing(call.site.root) as config:
        if realm not in REALMS:
            raise fail(f"create user failed: domain '{realm}' does not exist")
        if userid in config.users:
            raise fail(f"create user failed: user '{userid}' already exists")
        config.users[userid] = User()
        _fill(config, userid, config.users[userid], params)
    if "password" in params:
        auth.set_password(call.site.root, userid, params["password"])


@route("PUT", "/access/users/{userid}", {**_USER, "append": BOOL})
def update_user(call: Call) -> None:
    """Change what is given."""
    userid = call.params["userid"]
    call.rights.check_user(userid, ["User.Modify"])
    with usercfg.changing(call.site.root) as config:
        _fill(config, userid, _get_user(config, userid), call.params)


@route("DELETE", "/access/users/{userid}")
def delete_user(call: Call) -> None:
    """With its tokens and rights."""
    userid = call.params["userid"]
    call.rights.check_user(userid, ["User.Modify"])
    with usercfg.changing(call.site.root) as config:
        _get_user(config, userid)
        if userid == usercfg.ROOT:
            raise fail("delete user failed: can't delete root")
        tokens = [name for name in config.tokens if owner(name) == userid]
        del config.users[userid]
        for name in tokens:
            del config.tokens[name]
        config.acl = {e: flag for e, flag in config.acl.items() if e.kind == "group" or owner(e.who) != userid}
        for members, _ in config.groups.values():
            members.discard(userid)
    for name in tokens:
        auth.set_token(call.site.root, name, None)
    auth.set_password(call.site.root, userid, None)


def _check_token(call: Call) -> str:
    userid = str(call.params["userid"])
    if owner(call.user) != userid:
        call.rights.check_user(userid, ["User.Modify"])
    return userid


def _token_shown(token: Token) -> dict[str, Any]:
    shown = {"privsep": token.privsep, "expire": token.expire}
    return {**shown, **({"comment": token.comment} if token.comment else {})}


def _tokens(config: UserConfig, userid: str) -> list[dict[str, Any]]:
    mine = sorted(name for name in config.tokens if owner(name) == userid)
    return [{"tokenid": name.partition("!")[2], **_token_shown(config.tokens[name])} for name in mine]


def _get_token(config: UserConfig, userid: str, name: str) -> Token:
    _get_user(config, userid)
    if f"{userid}!{name}" not in config.tokens:
        raise fail(f"no such token '{name}' for user '{userid}'")
    return config.tokens[f"{userid}!{name}"]


@route("GET", "/access/users/{userid}/token")
def token_list(call: Call) -> list[dict[str, Any]]:
    """The user's tokens."""
    userid = _check_token(call)
    config = usercfg.load(call.site.root)
    _get_user(config, userid)
    return _tokens(config, userid)


@route("GET", "/access/users/{userid}/token/{tokenid}")
def read_token(call: Call) -> dict[str, Any]:
    """One token."""
    return _token_shown(_get_token(usercfg.load(call.site.root), _check_token(call), call.params["tokenid"]))


def _given(call: Call) -> dict[str, str]:
    """What was given comes back as it came, so a number is text."""
    names = ("comment", "expire", "privsep")
    return {name: schema.as_text(call.raw[name]) for name in names if name in call.raw}


@route("POST", "/access/users/{userid}/token/{tokenid}", _TOKEN)
def create_token(call: Call) -> dict[str, Any]:
    """The secret is only told now."""
    userid, params = _check_token(call), call.params
    full = f"{userid}!{params['tokenid']}"
    with usercfg.changing(call.site.root) as config:
        user = _get_user(config, userid)
        if full in config.tokens:
            raise bad_params({"tokenid": "Token already exists."})
        token = Token(params.get("expire", user.expire), params.get("privsep", 1), params.get("comment", ""))
        config.tokens[full] = token
    secret = str(uuid.uuid4())
    auth.set_token(call.site.root, full, secret)
    return {"full-tokenid": full, "value": secret, "info": {"privsep": 1, **_given(call)}}


@route("PUT", "/access/users/{userid}/token/{tokenid}", {**_TOKEN, "delete": Param(since=9)})
def update_token(call: Call) -> dict[str, Any]:
    """Change what is given."""
    userid, params = _check_token(call), call.params
    with usercfg.changing(call.site.root) as config:
        token = _get_token(config, userid, params["tokenid"])
        for name in ("comment", "expire", "privsep"):
            if name in params:
                setattr(token, name, params[name])
        if "comment" in formats.split_list(params.get("delete", "")):
            token.comment = ""
        return {**_token_shown(token), **_given(call)}


@route("DELETE", "/access/users/{userid}/token/{tokenid}")
def delete_token(call: Call) -> None:
    """With the rights given to it."""
    userid = _check_token(call)
    full = f"{userid}!{call.params['tokenid']}"
    with usercfg.changing(call.site.root) as config:
        _get_token(config, userid, call.params["tokenid"])
        del config.tokens[full]
        config.acl = {entry: flag for entry, flag in config.acl.items() if entry.who != full}
    auth.set_token(call.site.root, full, None)
