"""Names, SIDs and ids of a domain's users and groups, as winbindd tells them: libwbclient, wbclient.h"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

from .core import Refused, run

LIBRARY = "libwbclient.so.0"
USER, DOMAIN_GROUP, ALIAS, WELL_KNOWN = 1, 2, 4, 5  # enum wbcSidType
KINDS = {USER: "user", DOMAIN_GROUP: "group", ALIAS: "group", WELL_KNOWN: "group"}
ASSERTED = ("S-1-18-1", "S-1-18-2")
NO_WINBIND = 6  # WBC_ERR_WINBIND_NOT_AVAILABLE of enum _wbcErrType


class Sid(ctypes.Structure):
    _fields_ = [
        ("revision", ctypes.c_uint8),
        ("count", ctypes.c_uint8),
        ("authority", ctypes.c_uint8 * 6),
        ("parts", ctypes.c_uint32 * 15),
    ]

    def __str__(self) -> str:
        authority = int.from_bytes(bytes(self.authority), "big")
        return "-".join(map(str, ("S", self.revision, authority, *self.parts[: self.count])))


def _library() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        raise Refused("winbind is not installed", "", "apt-get install winbind libnss-winbind") from None


def lookup(name: str) -> tuple[str, str]:
    """(SID, "user" or "group") of DOMAIN\\name. Raises Refused when the domain has no such account."""
    domain, _, account = name.partition("\\")
    sid, kind = Sid(), ctypes.c_int()
    code = _library().wbcLookupName(domain.encode(), account.encode(), ctypes.byref(sid), ctypes.byref(kind))
    if code == NO_WINBIND:
        raise Refused("winbind does not answer", "", "systemctl status winbind")
    if code or kind.value not in KINDS:
        raise Refused(
            f"the domain has no user or group {name}",
            "",
            "compare it with the directory; if it is new there, `net cache flush` makes winbind ask again",
        )
    return str(sid), KINDS[kind.value]


def number(sid: str, kind: str) -> int:
    """The uid or gid of a SID. Raises Refused where the id map has none for it."""
    library, binary, found = _library(), Sid(), ctypes.c_uint32()
    library.wbcStringToSid(sid.encode(), ctypes.byref(binary))
    ask = library.wbcSidToUid if kind == "user" else library.wbcSidToGid
    if ask(ctypes.byref(binary), ctypes.byref(found)):
        raise Refused(
            f"{sid} has no id in the domain's range",
            "",
            "with `backend: ad` it needs a uidNumber or gidNumber; with `rid`, a wider range",
        )
    return found.value


def sids_of(user: str) -> set[str]:
    """The SIDs of a user and of all groups that it is in, nested ones too. Raises Refused."""
    library = _library()
    sid, _ = lookup(user)
    binary, count, found = Sid(), ctypes.c_uint32(), ctypes.POINTER(Sid)()
    library.wbcStringToSid(sid.encode(), ctypes.byref(binary))
    if library.wbcLookupUserSids(ctypes.byref(binary), False, ctypes.byref(count), ctypes.byref(found)):
        raise Refused(f"the groups of {user} are not known", "", "wbinfo --user-sids shows what winbind knows")
    try:
        return {sid, *(str(found[number]) for number in range(count.value))}
    finally:
        library.wbcFreeMemory(found)


def renew() -> None:
    """winbindd makes its maps of ids when it starts, and remembers what it has mapped."""
    forget()
    restart()


def forget() -> None:
    run(["net", "cache", "flush"])


def restart() -> None:
    """Where it runs."""
    run(["systemctl", "try-restart", "winbind"])


def know_asserted(gids: list[int]) -> None:
    """Give the identities that controllers assert in tickets, [MS-SFU] 3.2.5.1.2, ids; idmap_autorid takes none.

    They are in no directory, and winbindd 4.17 gives none of a user's groups an id when it can't look up one of them:
    the first session of each user would be refused by folders, until the others are remembered.
    """
    if not all(gids):
        return
    file = os.memfd_create("asserted")
    try:
        os.write(file, "".join(f"GID {gid} {sid}\n" for gid, sid in zip(gids, ASSERTED)).encode())
        run(["net", "idmap", "restore", f"/proc/self/fd/{file}"], fds=(file,))
    finally:
        os.close(file)


class Failure(ctypes.Structure):
    """struct wbcAuthErrorInfo"""

    _fields_ = [
        ("status", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("pam", ctypes.c_int32),
        ("words", ctypes.c_char_p),
    ]


BROKEN = {0xC0000022, 0xC000018A, 0xC000018B, 0xC000018C, 0xC000018D, 0xC000006A, 0xC000006D}  # [MS-ERREF] 2.3.1


ASKED: dict[str, tuple[float, str]] = {}
FRESH = 3.0  # seconds: where no controller answers, asking takes ten


def trust(workgroup: str) -> str:
    """What was found out a moment ago, or now."""
    when, found = ASKED.get(workgroup, (-FRESH, ""))
    if time.monotonic() > when + FRESH:
        found = _trust(workgroup)
        ASKED[workgroup] = (time.monotonic(), found)
    return found


def _trust(workgroup: str) -> str:
    """ "ok", "broken" when a controller refuses this machine's password, or "unknown" when none answers."""
    try:
        library = _library()
    except Refused:
        return "unknown"
    failure = ctypes.POINTER(Failure)()
    if not library.wbcCheckTrustCredentials(workgroup.encode(), ctypes.byref(failure)):
        return "ok"
    status = failure.contents.status if failure else 0
    return "broken" if status in BROKEN else "unknown"
