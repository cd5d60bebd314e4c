"""Tickets, CSRF tokens, API tokens and passwords."""

import base64
import hashlib
import hmac
import os
import re
import secrets
import time
from pathlib import Path

from smbplan.lab.pve import files, usercfg
from smbplan.lab.pve.acl import owner
from smbplan.lab.pve.errors import ApiError
from smbplan.lab.pve.usercfg import UserConfig

LIFETIME = 2 * 3600
_ROUNDS = 20_000  # of a lab's throw-away passwords


def _key(path: Path) -> bytes:
    """The secret in the file, made on first use. Real tickets are signed with RSA; clients can't tell."""
    text = files.read(path)
    if not text:
        with files.cluster_lock(path.parents[1], "authkey"):
            text = files.read(path)
            if not text:
                text = secrets.token_hex(32)
                files.write(path, text, 0o600)
    return text.encode()


def _sign(root: Path, text: str) -> str:
    key = _key(root / "priv" / "authkey.key")
    return base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode().rstrip("=")


def _fresh(stamp: str) -> bool:
    age = time.time() - int(stamp, 16)
    return -300 < age < LIFETIME


def make_ticket(root: Path, user: str) -> str:
    """A ticket for the cookie."""
    plain = f"PVE:{user}:{int(time.time()):08X}"
    return f"{plain}::{_sign(root, plain)}"


def ticket_user(root: Path, ticket: str) -> str | None:
    """Whose ticket it is; None if it is wrong or old."""
    match = re.fullmatch(r"(PVE:(\S+):([0-9A-F]{8}))::(\S+)", ticket)
    if not match or not _fresh(match[3]) or not hmac.compare_digest(_sign(root, match[1]), match[4]):
        return None
    return match[2] if usable(usercfg.load(root), match[2]) else None


def make_csrf(root: Path, user: str) -> str:
    """The token that writes with a cookie must carry."""
    stamp = f"{int(time.time()):08X}"
    return f"{stamp}:{_sign(root, f'csrf:{stamp}:{user}')}"


def csrf_valid(root: Path, user: str, token: str) -> bool:
    """Whether the token was made for the user, and lately."""
    match = re.fullmatch(r"([0-9A-F]{8}):(\S+)", token)
    if not match or not _fresh(match[1]):
        return False
    return hmac.compare_digest(_sign(root, f"csrf:{match[1]}:{user}"), match[2])


def usable(config: UserConfig, user: str) -> bool:
    """Whether the user (or token, and its owner) is there, enabled and not expired."""
    now = time.time()
    holder = config.users.get(owner(user))
    if holder is None or not holder.enable or (holder.expire and holder.expire <= now):
        return False
    if "!" not in user:
        return True
    token = config.tokens.get(user)
    return token is not None and not (token.expire and token.expire <= now)


def _secrets(root: Path, name: str) -> dict[str, str]:
    pairs = (line.split() for line in files.read(root / "priv" / name).splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def _keep_secret(root: Path, name: str, key: str, value: str | None) -> None:
    with files.cluster_lock(root, f"file-{name.replace('.', '_')}"):
        kept = _secrets(root, name)
        kept.pop(key, None)
        if value is not None:
            kept[key] = value
        files.write(root / "priv" / name, "".join(f"{k} {v}\n" for k, v in sorted(kept.items())), 0o600)


def api_token_user(root: Path, header: str) -> str | None:
    """`USER@REALM!NAME=SECRET` to the token's id; None if it isn't valid."""
    match = re.fullmatch(r"([^\s=]+![^\s=]+)=(\S+)", header)
    if not match:
        return None
    known = _secrets(root, "token.cfg").get(match[1], "")
    if not known or not hmac.compare_digest(known, match[2]) or not usable(usercfg.load(root), match[1]):
        return None
    return match[1]


def set_token(root: Path, tokenid: str, value: str | None) -> None:
    """Keep or forget (None) a token's secret."""
    _keep_secret(root, "token.cfg", tokenid, value)


def _hash(password: str, rounds: int, salt: str) -> str:
    raw = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), rounds)
    return f"$pbkdf2${rounds}${salt}${base64.b64encode(raw).decode()}"


def _matches(password: str, known: str) -> bool:
    _, _, rounds, salt, _ = known.split("$")
    return hmac.compare_digest(_hash(password, int(rounds), salt), known)


def set_password(root: Path, user: str, password: str | None) -> None:
    """Keep or forget (None) a password. The lab keeps those of realm pam here too."""
    _keep_secret(root, "shadow.cfg", user, None if password is None else _hash(password, _ROUNDS, os.urandom(8).hex()))


def login(root: Path, user: str, password: str) -> None:
    """401 unless the password, or a valid ticket in its place, is the user's."""
    if ticket_user(root, password) == user:
        return
    known = _secrets(root, "shadow.cfg").get(user, "")
    if not known or not _matches(password, known) or not usable(usercfg.load(root), user):
        raise ApiError(401, "authentication failure")
