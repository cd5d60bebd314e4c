"""What a join leaves on this host: Samba's secrets, the keytab, and our note of it."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .core import STATE, Refused, is_node, read_text, run, write

SECRETS = Path("/var/lib/samba/private/secrets.tdb")
CLUSTERED = Path("/var/lib/ctdb/persistent")  # CTDB keeps one copy on each node, and changes all of them
HEADER = 24  # bytes before each of its values: struct ctdb_ltdb_header of ctdb_protocol.h
KEYTAB = Path("/etc/krb5.keytab")
NOTE = STATE / "member.json"
PASSWORD = "SECRETS/MACHINE_PASSWORD/"


def noted() -> dict[str, Any]:
    """What is known of a join of ours: {realm, name, keytab: whether there was one before, offline: whether it was
    prepared elsewhere, aliases, registered: which names stand in DNS}.
    """
    return dict(json.loads(read_text(NOTE) or "{}"))


def note(**found: Any) -> None:
    write(NOTE, json.dumps({**noted(), **found}, sort_keys=True))


def workgroup_here() -> str | None:
    """The domain that this host has joined, by what is stored here; nobody is asked."""
    names = (key.rstrip(b"\0").decode("utf-8", "replace") for key in _stored())
    found = sorted(name[len(PASSWORD) :] for name in names if name.startswith(PASSWORD))
    return found[0] if found else None


def _file() -> Path:
    found = list(CLUSTERED.glob("secrets.tdb.*")) if is_node() else []
    return max(found, key=lambda path: path.stat().st_mtime, default=SECRETS)


def _tdb(code: str, stdin: str = "") -> str:
    """What code prints that has the machine's secrets as `db`.

    In a process of its own: Samba's libraries hold the file open, and a process may open it once only.
    """
    if not _file().exists():
        return ""
    opened = "import json, sys, tdb\ndb = tdb.open(sys.argv[1], flags=2)\n"
    try:
        return run([sys.executable, "-c", opened + code, str(_file())], stdin)
    except Refused as refused:
        if "No module named" in refused.detail:
            return ""  # Samba is gone; only its files are left
        raise


def _stored() -> dict[bytes, bytes]:
    """The machine's secrets."""
    found = json.loads(_tdb("print(json.dumps({name.hex(): db[name].hex() for name in db}))") or "{}")
    values = {bytes.fromhex(name): bytes.fromhex(value) for name, value in found.items()}
    if not is_node():
        return values
    return {name: value[HEADER:] for name, value in values.items() if len(value) > HEADER}


def _store(values: Mapping[bytes, bytes | None]) -> None:
    """Set them, or delete those that are None; of a cluster, on all nodes that ctdbd reaches. ctdb(1)"""
    if not is_node():
        code = "for n, v in json.load(sys.stdin).items():\n    n = bytes.fromhex(n)\n"
        code += "    db.delete(n) if v is None else db.store(n, bytes.fromhex(v), 0)"
        _tdb(code, json.dumps({name.hex(): value and value.hex() for name, value in values.items()}))
        return
    for name, value in values.items():
        if value is None:
            run(["ctdb", "pdelete", "secrets.tdb", f"0x{name.hex()}"])
            continue
        file = os.memfd_create("secret")  # it is no argument, and on no disk but CTDB's
        try:
            os.write(file, value)
            run(["ctdb", "pstore", "secrets.tdb", f"0x{name.hex()}", f"/proc/self/fd/{file}"], fds=(file,))
        finally:
            os.close(file)


def _of(workgroup: str) -> dict[bytes, bytes]:
    ends = f"/{workgroup}".encode()
    return {name: value for name, value in _stored().items() if name.rstrip(b"\0").endswith(ends)}


def renew_keytab(controller: str) -> None:
    """By what the directory says now, asked as the computer; nodes of a cluster have none. Raises Refused."""
    if not is_node():
        run(["net", "ads", "keytab", "create", "-P", "-S", controller])


def called(name: str, controller: str) -> set[str]:
    """The hosts in small letters for which there are tickets, asked as the computer. Raises Refused."""
    argv = ["net", "ads", "search", "-P", "-S", controller, f"(sAMAccountName={name}$)", "servicePrincipalName"]
    return {host.lower() for host in re.findall(r"^servicePrincipalName: [^/]+/(\S+)", run(argv), re.M)}


def forget(workgroup: str) -> None:
    """What a join leaves on this host."""
    had_keytab = noted().get("keytab", True)  # that of a join which is not ours is not ours either
    _store(dict.fromkeys(_of(workgroup)))
    if not had_keytab and not is_node():
        KEYTAB.unlink(missing_ok=True)
    NOTE.unlink(missing_ok=True)


def kept(workgroup: str) -> str:
    """What forget deletes, in a form that restore takes."""
    found = {name.hex(): value.hex() for name, value in _of(workgroup).items()}
    keytab = base64.b64encode(KEYTAB.read_bytes()).decode() if KEYTAB.exists() else ""
    return json.dumps({"secrets": found, "note": noted(), "keytab": keytab})


def restore(kept: str) -> None:
    known = json.loads(kept)
    _store({bytes.fromhex(name): bytes.fromhex(value) for name, value in known["secrets"].items()})
    note(**known["note"])
    if known["keytab"]:
        with os.fdopen(os.open(KEYTAB, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(base64.b64decode(known["keytab"]))
