"""Calls to the running Samba: reload, end sessions, check a configuration, and prove that a share serves."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import principals, winbind
from .core import SMB_CONF, Refused, read_text, run, samba_settings

WINBIND = Path("/run/samba/winbindd.pid")
PROBE = ".smbplan-probe"
CONTENT = b"smbplan"
LISTEN = 30.0  # seconds that smbd has to open its port
PATIENCE = 5.0  # seconds that a host may be short of something, such as memory
# NO_MEMORY, INSUFFICIENT_RESOURCES, INSUFF_SERVER_RESOURCES, [MS-ERREF] 2.3.1
BUSY = (0xC0000017, 0xC000009A, 0xC0000205)
RANK = ("write", "read", "none")  # the order of a proof


def reload(arguments: dict[str, Any]) -> None:
    """Make running daemons read their configuration; none is running while smbd is stopped."""
    if _running():
        run(["smbcontrol", "smbd", "reload-config"])
    if WINBIND.exists():
        with suppress(Refused):  # its file may be older than its end
            run(["smbcontrol", "winbindd", "reload-config"])


def restart(arguments: dict[str, Any]) -> None:
    """For what smbd only reads when it starts, such as its role."""
    if _running():
        run(["systemctl", "restart", "smbd"])


def close(arguments: dict[str, Any]) -> None:
    """End the live sessions that may not use a share any more, or all of one that is gone. smbcontrol(1)"""
    if _running():
        run(["smbcontrol", "smbd", "reload-config"])
        run(
            ["smbcontrol", "smbd", "close-share" if arguments.get("gone") else "close-denied-share", arguments["share"]]
        )


def logoff(arguments: dict[str, Any]) -> None:
    """End all sessions of a user, whose groups a session knows only from its start. smbstatus(1), smbcontrol(1)"""
    if not _running():
        return
    for row in run(["smbstatus", "-b", "-f", "-u", arguments["user"]]).splitlines():
        words = row.split()
        # On a node of a cluster, its number comes first: 1:2345.
        if len(words) > 1 and re.fullmatch(r"(\d+:)?\d+", words[0]) and words[1] == arguments["user"]:
            run(["smbcontrol", words[0], "shutdown"])


def daemon_reload(arguments: dict[str, Any]) -> None:
    run(["systemctl", "daemon-reload"])


def check(text: str) -> list[str]:
    """What testparm complains of in a configuration, and not in the one that is in force already."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        found = _complaints(file.name)
    known = _complaints(SMB_CONF) if found else []
    return [line for line in found if line not in known]


def _complaints(path: str) -> list[str]:
    """testparm exits with 0 for many of them. testparm(1)"""
    try:
        done = subprocess.run(["testparm", "-s", "--debuglevel=1", path], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []  # no Samba yet; smbd's own start is the check then
    harmless = ("Load smb config", "Loaded services file OK", "Weak crypto", "Server role", "lpcfg_do_global")
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(harmless)]
    return lines if done.returncode or any(_bad(line) for line in lines) else []


def _bad(line: str) -> bool:
    words = ("unknown parameter", "invalid", "error", "ignoring", "not valid", "conflict")
    return any(word in line.lower() for word in words)


def prove(arguments: dict[str, Any]) -> Any:
    """A real SMB session for each principal: list; write, read back and delete; read what another has written.

    Runs on this host, where port 445 is open in any case. Raises Refused for the first principal that is not served.
    """
    people = [who if "access" in who else {**who, "access": _level(who)} for who in arguments["principals"]]
    everybody = sorted(people, key=lambda who: RANK.index(who["access"]))
    with ExitStack() as written:  # the files stay until those who may only read have read one
        names: list[str] = []
        for who in everybody:
            _prove(arguments, who, names, written)
    return {"proved": [who["user"] for who in arguments["principals"]]}


def _level(who: dict[str, Any]) -> str:
    """What a user of a domain may do, by the lists that name it or a group that it is in."""
    mine, table = winbind.sids_of(who["user"]), principals.known()
    for level in ("none", "write", "read"):
        for name in who["lists"][level]:
            if name == "*" or table.get(name.lstrip("@"), {}).get("sid") in mine:
                return level
    return str(who.get("others", "none"))


def _prove(arguments: dict[str, Any], who: dict[str, Any], names: list[str], written: ExitStack) -> None:
    share, user = arguments["share"], who["user"] or "guest"
    try:
        connection = _connect(share, who, bool(arguments.get("encrypted")))
        connection.list("\\")
        if who["access"] == "write":
            name = f"{PROBE}-{os.getpid()}-{user.replace(chr(92), '-')}"
            written.callback(_forget, connection, str(arguments["path"]).replace("%U", user), name)
            connection.savefile(name, CONTENT)
            names.append(name)
        may_read = who["access"] == "write" or (who["access"] == "read" and arguments.get("shared"))
        for name in names[-1:] if may_read else ():
            if connection.loadfile(name) != CONTENT:
                raise Refused(f"share {share} gave {user} other bytes than were written")
    except Refused:
        raise
    except Exception as error:  # NTSTATUSError and its like have no common importable base
        words = str(error.args[1] if len(getattr(error, "args", ())) > 1 else error)
        if who["access"] == "none" and "ACCESS_DENIED" in f"{error}".upper().replace(" ", "_"):
            return
        raise Refused(
            f"share {share} does not serve {user}: {words}",
            "",
            "compare the share's access list with the permissions of its folder; Samba logs to /var/log/samba",
        ) from None
    if who["access"] == "none":
        raise Refused(f"share {share} serves {user}, who is denied")


def _forget(connection: Any, folder: str, name: str) -> None:
    """Remove the probe behind Samba's back, so that neither the recycle bin nor the audit log sees it."""
    try:
        os.unlink(os.path.join(folder, name))
    except FileNotFoundError:
        with suppress(Exception):  # it was not written, or lies where only Samba knows
            connection.unlink(name)


def guest(share: str) -> str:
    """What a client without a name can do in a share, found out without writing: "read", "write" or ""."""
    from samba.dcerpc import security

    try:
        connection = _connect(share, {"user": None}, False)
        connection.list("\\")
    except Exception:  # whatever keeps guests out
        return ""
    try:
        rights = security.SEC_DIR_ADD_FILE | security.SEC_DIR_LIST
        connection.close(connection.create("", DesiredAccess=rights, CreateDisposition=1, CreateOptions=1))
    except Exception:
        return "read"
    return "write"


def _connect(share: str, who: dict[str, Any], encrypted: bool) -> Any:
    from samba import credentials
    from samba.samba3 import libsmb_samba_internal as libsmb

    settings = samba_settings()
    login = credentials.Credentials()
    login.guess(settings)
    login.set_kerberos_state(credentials.DONT_USE_KERBEROS)
    if who["user"] is None:
        login.set_anonymous()
    else:
        domain, _, user = who["user"].rpartition("\\")
        login.set_username(user)
        login.set_domain(domain)
        login.set_password(who["password"])
    host = who.get("host")  # for a ticket, which an address has none of
    if host:
        login.set_realm(who["realm"])
        login.set_kerberos_state(credentials.MUST_USE_KERBEROS)
    if encrypted:
        login.set_smb_encryption(credentials.SMB_ENCRYPTION_REQUIRED)
    return patiently(lambda: libsmb.Conn(host or DOOR.address(), share, settings, login))


def patiently(connect: Callable[[], Any]) -> Any:
    """Again while the server, or this host, is short of something for a moment."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return connect()
        except Exception as error:  # NTSTATUSError and its like have no common importable base
            code = error.args[0] if error.args else None
            if not isinstance(code, int) or code & 0xFFFFFFFF not in BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Door:
    """Where smbd listens on this host, which on a busy one may take a while after its start.

    `interfaces` may leave out the loopback.
    """

    def __init__(self) -> None:
        self._in_vain = -LISTEN  # when somebody waited for it last: a thousand proofs do not wait one after the other

    def address(self) -> str:
        began = time.monotonic()
        deadline = began + (LISTEN if began - self._in_vain > LISTEN else 0)
        while not (found := _listening(int(time.monotonic() * 5))) and time.monotonic() < deadline:
            time.sleep(0.1)
        if not found:
            self._in_vain = time.monotonic()
        return "127.0.0.1" if not found or {"127.0.0.1", "0.0.0.0", "::"} & set(found) else found[0]


DOOR = Door()


@lru_cache(maxsize=1)
def _listening(fifth: int) -> list[str]:
    """The addresses on which port 445 is open, looked up at most five times a second. proc_net_tcp(5)

    The kernel takes some milliseconds for its table, which also has all connections of the last minute.
    """
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for row in (read_text(Path("/proc/net", table)) or "").splitlines()[1:]:
            words = row.split(maxsplit=4)
            if words[3] == "0A" and words[1].endswith(":01BD"):  # listening, at 445
                local = words[1].partition(":")[0]
                parts = [bytes.fromhex(local[at : at + 8])[::-1] for at in range(0, len(local), 8)]
                found.append(socket.inet_ntop(family, b"".join(parts)))
    return found


def _running() -> bool:
    return _unit_active("smbd")


def _unit_active(unit: str) -> bool:
    done = subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False)
    return done.returncode == 0


CALLS = {
    "reload": reload,
    "restart": restart,
    "close": close,
    "logoff": logoff,
    "daemon-reload": daemon_reload,
    "winbind": lambda arguments: winbind.renew(),
    "prove": prove,
}
