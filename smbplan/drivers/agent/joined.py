"""What a join leaves on this host: Samba's secrets, the keytab, and our note of it."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from .core import STATE, Refused, read_text, run, write

SECRETS = Path("/var/lib/samba/private/secrets.tdb")
KEYTAB = Path("/etc/krb5.keytab")
NOTE = STATE / "member.json"
PASSWORD = "SECRETS/MACHINE_PASSWORD/"
OPEN = """
import sys, tdb
db, prefix = tdb.open(sys.argv[1], flags=2), sys.argv[2]
store = {name.rstrip(b"\\0").decode("utf-8", "replace"): name for name in db}
"""


def noted() -> dict[str, Any]:
    """What is known of a join of ours: {realm, name, keytab: whether there was one before, offline: whether it was
    prepared elsewhere, aliases, registered: which names stand in DNS}.
    """
    return dict(json.loads(read_text(NOTE) or "{}"))


def note(**found: Any) -> None:
    write(NOTE, json.dumps({**noted(), **found}, sort_keys=True))


def workgroup_here() -> str | None:
    """The domain that this host has joined, by what is stored here; nobody is asked."""
    found = _secrets("print(*(key[len(prefix):] for key in store if key.startswith(prefix)), sep=chr(10))", PASSWORD)
    return found.splitlines()[0] if found.strip() else None


def _secrets(code: str, *words: str, stdin: str | None = None) -> str:
    """What code prints that has `store`, the keys of the machine's secrets, and `prefix`.

    In a process of its own: Samba's libraries hold the file open, and a process may open it once only.
    """
    if not SECRETS.exists():
        return ""
    try:
        return run([sys.executable, "-c", f"{OPEN}\n{code}", str(SECRETS), *words], stdin)
    except Refused as refused:
        if "No module named" in refused.detail:
            return ""  # Samba is gone; only its files are left
        raise


def renew_keytab(controller: str) -> None:
    """By what the directory says now, asked as the computer. Raises Refused."""
    run(["net", "ads", "keytab", "create", "-P", "-S", controller])


def called(name: str, controller: str) -> set[str]:
    """The hosts in small letters for which there are tickets, asked as the computer. Raises Refused."""
    argv = ["net", "ads", "search", "-P", "-S", controller, f"(sAMAccountName={name}$)", "servicePrincipalName"]
    return {host.lower() for host in re.findall(r"^servicePrincipalName: [^/]+/(\S+)", run(argv), re.M)}


def forget(workgroup: str) -> None:
    """What a join leaves on this host."""
    had_keytab = noted().get("keytab", True)  # that of a join which is not ours is not ours either
    _secrets("[db.delete(name) for key, name in store.items() if key.endswith(prefix)]", f"/{workgroup}")
    if not had_keytab:
        KEYTAB.unlink(missing_ok=True)
    NOTE.unlink(missing_ok=True)


def kept(workgroup: str) -> str:
    """What forget deletes, in a form that restore takes."""
    code = "import json; print(json.dumps({n.hex(): db[n].hex() for k, n in store.items() if k.endswith(prefix)}))"
    found = json.loads(_secrets(code, f"/{workgroup}") or "{}")
    keytab = base64.b64encode(KEYTAB.read_bytes()).decode() if KEYTAB.exists() else ""
    return json.dumps({"secrets": found, "note": noted(), "keytab": keytab})


def restore(kept: str) -> None:
    known = json.loads(kept)
    code = "import json\nfor n, v in json.load(sys.stdin).items(): db.store(bytes.fromhex(n), bytes.fromhex(v), 0)"
    _secrets(code, "", stdin=json.dumps(known["secrets"]))
    note(**known["note"])
    if known["keytab"]:
        with os.fdopen(os.open(KEYTAB, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(base64.b64decode(known["keytab"]))
