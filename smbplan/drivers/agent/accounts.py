"""Users and groups of this host, and Samba's passwords for them."""

from __future__ import annotations

import grp
import os
import pwd
import re
from pathlib import Path
from typing import Any, Iterator

from .core import IMAGES, Object, Refused, has_database, run, samba_settings, seal, unseal

SHELL, HOME = "/usr/sbin/nologin", "/nonexistent"
PREFIX = "smbplan/"


def edit(*argv: str) -> None:
    """Run one of the shadow suite's programs. One that is killed leaves the file that it was writing: commonio.c

    Raises Refused.
    """
    before = set(_half_written())
    try:
        run(argv)
    except Refused:
        for path in set(_half_written()) - before:
            path.unlink(missing_ok=True)
        raise


def _half_written() -> Iterator[Path]:
    """Files such as /etc/passwd.4711, of programs that do not run."""
    for name in os.listdir("/etc"):
        found = re.fullmatch(r"(?:passwd|shadow|group|gshadow|subuid|subgid)\.([0-9]+)", name)
        if found and not Path("/proc", found[1]).exists():
            yield Path("/etc", name)


class Group(Object):
    """State: {gid, members}."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        try:
            entry = grp.getgrnam(name)
        except KeyError:
            return None
        return {"gid": entry.gr_gid, "members": sorted(entry.gr_mem)}

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        if after is None:
            edit("groupdel", name)
            return
        if before is None:
            edit("groupadd", *(["-g", str(after["gid"])] if after.get("gid") else []), name)
            before = {"members": []}
        elif after.get("gid") not in (None, before["gid"]):
            edit("groupmod", "-g", str(after["gid"]), name)
        if after["members"] != before["members"]:
            edit("gpasswd", "-M", ",".join(after["members"]), name)


class User(Object):
    """State: {mark, uid, full_name, locked}. The mark stands in the last part of the GECOS field (passwd(5))."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        parts = entry.pw_gecos.split(",")
        sealed = parts[-1].removeprefix(PREFIX) if parts[-1].startswith(PREFIX) else None
        locked = sealed is not None and sealed.endswith("!")
        return {
            "mark": unseal(sealed.rstrip("!") if sealed else None, name),
            "uid": entry.pw_uid,
            "full_name": parts[0] if sealed != parts[0] else "",
            "locked": locked,
        }

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        if after is None:
            edit("userdel", name)
            return
        if before is None:
            uid = ["-u", str(after["uid"])] if after.get("uid") else []
            edit("useradd", "-M", "-N", "-g", "users", "-d", HOME, "-s", SHELL, *uid, "-c", _gecos(name, after), name)
            return
        if after.get("uid") not in (None, before["uid"]):
            raise Refused(
                f"user {name} has uid {before['uid']}, and files may belong to it",
                "",
                f"write uid: {before['uid']}, or remove the user and make it anew",
            )
        edit("usermod", "-c", _gecos(name, after), name)


def _gecos(name: str, state: dict[str, Any]) -> str:
    full_name = state.get("full_name") or ""
    if not state.get("mark"):
        return full_name
    return f"{full_name},,,,{PREFIX}{seal(state['mark'], name)}{'!' if state['locked'] else ''}"


class Password(Object):
    """State: {password, disabled, changed}; password is "current" when it is the one in the options, else "other";
    changed is when it was set last, in seconds since 1970, and tells one other password from the next.

    The hash is compared here, where it lives; neither it nor the password leaves this host. pdbedit(8)
    """

    ACB_DISABLED, ACB_PWNOTREQ = 0x1, 0x4

    def get(self, name: str, options: dict[str, Any]) -> Any:
        account = self._account(name)
        if account is None:
            return None
        wanted = options.get("password")
        needed = not account.acct_ctrl & self.ACB_PWNOTREQ
        same = None if wanted is None else needed and account.nt_passwd == self._hash(wanted)
        return {
            "password": None if same is None else "current" if same else "other",
            "disabled": bool(account.acct_ctrl & self.ACB_DISABLED),
            "changed": account.pass_last_set_time,
        }

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        if before is not None:
            IMAGES.keep(f"password:{name}", lambda: bytes(self._account(name).nt_passwd).hex())
        if after is None:
            run(["smbpasswd", "-x", name])
            return
        if before is None or before["password"] != after["password"]:
            if after["password"] == "current":
                password = options["password"]
                run(["smbpasswd", "-s", "-a", name], f"{password}\n{password}\n")
                self._need(name)
            else:
                image = bytes.fromhex(IMAGES.recall(f"password:{name}"))
                self._restore(name, before, image, after.get("changed"))
        if after["disabled"] != bool(before and before["disabled"]):
            run(["smbpasswd", "-d" if after["disabled"] else "-e", name])

    def _need(self, name: str) -> None:
        """A password is needed, whatever `smbpasswd -n` said."""
        account = self._account(name)
        if account.acct_ctrl & self.ACB_PWNOTREQ:
            account.acct_ctrl &= ~self.ACB_PWNOTREQ
            self._database().update_sam_account(account)

    def _restore(self, name: str, before: Any, hashed: bytes, changed: int | None) -> None:
        if before is None:
            run(["smbpasswd", "-s", "-a", name], f"{hashed.hex()}\n{hashed.hex()}\n")
        account = self._account(name)
        account.nt_passwd = hashed
        if changed is not None:
            account.pass_last_set_time = changed
        self._database().update_sam_account(account)

    def _account(self, name: str) -> Any:
        try:
            return self._database().getsampwnam(name)
        except (ImportError, FileNotFoundError):
            return None  # no Samba, or no passwords yet
        except Exception as error:  # the binding raises its own untyped error
            if "Unable to get user information" in str(error) or "NO_SUCH_USER" in str(error):
                return None
            raise Refused(f"Samba's password database can't be read: {error}") from None

    @staticmethod
    def _database() -> Any:
        from samba.samba3 import passdb

        settings = samba_settings()
        if not has_database(settings, settings.private_path("passdb.tdb")):
            raise FileNotFoundError
        return passdb.PDB(settings.get("passdb backend"))

    @staticmethod
    def _hash(password: str) -> bytes:
        from samba.credentials import Credentials

        credentials = Credentials()
        credentials.set_password(password)
        return bytes(credentials.get_nt_hash())
