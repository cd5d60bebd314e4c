"""A host as a member of an Active Directory domain. net(8), libwbclient"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import ads, winbind
from .core import IMAGES, Object, Refused, run, samba_settings, seal, unseal

SECRETS = Path("/var/lib/samba/private/secrets.tdb")
KEYTAB = Path("/etc/krb5.keytab")
PASSWORD = "SECRETS/MACHINE_PASSWORD/"
OPEN = """
import sys, tdb
db, prefix = tdb.open(sys.argv[1], flags=2), sys.argv[2]
store = {name.rstrip(b"\\0").decode("utf-8", "replace"): name for name in db}
"""


class Member(Object):
    """Named by its realm. State: {workgroup, name, trust, registered}.

    trust is "ok" or "broken"; registered is whether the domain's DNS knows the name. Both are "unknown" where nobody
    answers. Options: {servers, nameservers, ou, login: {user, password}, mark}.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        workgroup = _workgroup()
        if workgroup is None:
            return None
        computer = str(samba_settings().get("netbios name")).upper()
        known = _addresses(f"{computer}.{name}".lower())
        return {
            "workgroup": workgroup,
            "name": computer,
            "trust": winbind.trust(workgroup),
            "registered": "unknown" if known is None else bool(known),
        }

    def torn(self, name: str, state: Any, after: Any) -> bool:
        """What is unknown doesn't keep a membership from being set, or ended."""
        return state is not None and "unknown" in (state["trust"], state["registered"])

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> None:
        if after is None:
            self._leave(ads.Domain({"realm": name, **before, **options}, options.get("login")), before)
            return
        domain = ads.Domain({"realm": name, **after, **options}, options["login"])
        winbind.ASKED.clear()
        if after["trust"] == "ok" and (before is None or before["trust"] == "broken"):
            self._join(domain, options["mark"], new=before is None)
        registered = before["registered"] if before else False
        if after["registered"] is True and registered is not True:
            _dns("register", domain)
        elif after["registered"] is False and registered is True:
            _dns("unregister", domain)

    def _join(self, domain: ads.Domain, mark: str, new: bool) -> None:
        for row in ads.examine(domain):
            if row["ok"] is False:
                raise Refused(row["found"], f"tried: {row['tried']}", row["hint"])
        made, had_keytab = domain.account(["cn"]) is None, KEYTAB.exists()
        if not made:  # of ours, from before: an undo leaves it
            IMAGES.keep(f"member:{domain.realm}", lambda: "account")
        words = ["net", "ads", "join", "-A", "/dev/stdin", "-S", domain.controller, "--no-dns-updates"]
        if domain.ou:
            units = [part.partition("=")[2] for part in domain.ou.split(",")]
            words.append(f"createcomputer={'/'.join(reversed(units))}")
        try:
            run(words, _login(domain))
            domain.describe(seal(mark, f"{domain.name}$".lower()))
        except Exception as error:
            if made:
                with suppress(Exception):  # what is wrong is told below
                    domain.remove()
            if new:
                _forget(domain.workgroup, keytab=not had_keytab)
            detail = error.detail if isinstance(error, Refused) else str(error)
            last = detail.strip().splitlines()[-1] if detail.strip() else str(error)
            summary = f"{domain.name} can't join {domain.realm}: {last}"
            raise Refused(summary, detail, "smbplan domain check looks at each thing that it needs") from None

    @staticmethod
    def _leave(domain: ads.Domain, before: dict[str, Any]) -> None:
        """The account goes only if it is ours; what is here goes with it."""
        try:
            if not domain.login:
                raise ads.Trouble("no-login", "its domain is not defined any more", "", "write domains: again")
            domain.resolves(), domain.reaches(), domain.logs_in()
            entry = domain.account(["description"])
            if before["registered"] is True:
                _dns("unregister", domain)
            found = entry is not None and not IMAGES.has(f"member:{domain.realm}")
            if found and unseal(ads.text(entry, "description"), f"{domain.name}$".lower()):
                domain.remove()
        except ads.Trouble as trouble:
            summary = f"the account {domain.name} of {domain.realm} stays in the directory: {trouble.summary}"
            raise Refused(summary, trouble.tried, trouble.hint) from None
        _forget(domain.workgroup, keytab=True)


def _dns(verb: str, domain: ads.Domain) -> None:
    """As the account that joins: a computer that is made anew could not change what its former self has written."""
    name = f"{domain.name}.{domain.realm}".lower()
    try:
        run(["net", "ads", "dns", verb, "-A", "/dev/stdin", name], _login(domain))
    except Refused as refused:
        hint = "its record may belong to another account: delete it, or leave register_names: out"
        raise Refused(
            f"{name} can't {verb} in DNS: {refused.detail or refused.summary}", refused.detail, hint
        ) from None


def _login(domain: ads.Domain) -> str:
    """A credentials file: neither an argument nor an environment tells the password. smbclient(1), -A"""
    return f"username = {domain.login['user']}\npassword = {domain.login['password']}\ndomain = {domain.workgroup}\n"


def _workgroup() -> str | None:
    """The domain that this host has joined, by what is stored here; nobody is asked."""
    found = _secrets("print(*(key[len(prefix):] for key in store if key.startswith(prefix)), sep=chr(10))", PASSWORD)
    return found.splitlines()[0] if found.strip() else None


def _secrets(code: str, *words: str) -> str:
    """What code prints that has `store`, the keys of the machine's secrets, and `prefix`.

    In a process of its own: Samba's libraries hold the file open, and a process may open it once only.
    """
    return run([sys.executable, "-c", f"{OPEN}\n{code}", str(SECRETS), *words]) if SECRETS.exists() else ""


def _addresses(name: str) -> list[str] | None:
    for server in ads.nameservers():
        found = ads.query(server, name, "A")
        if found is not None:
            return found
    return None


def _forget(workgroup: str, keytab: bool) -> None:
    """What a join leaves on this host."""
    _secrets("[db.delete(name) for key, name in store.items() if key.endswith(prefix)]", f"/{workgroup}")
    if keytab:
        KEYTAB.unlink(missing_ok=True)


def check(request: dict[str, Any]) -> Any:
    """Rows for `smbplan domain check`."""
    domain = ads.Domain(request["wanted"], request["login"])
    rows = ads.examine(domain)
    workgroup = _workgroup()
    trust = winbind.trust(workgroup) if workgroup else ""
    wrong = trust not in ("", "ok")
    rows.append(
        {
            "check": "membership",
            "ok": trust == "ok" if workgroup else None,
            "found": f"a member of {workgroup}, trust {trust}" if workgroup else "not joined yet",
            "code": f"trust-{trust}" if wrong else "",
            "tried": "the secrets stored here, and winbind" if wrong else "",
            "hint": "smbplan apply joins again" if trust == "broken" else "",
        }
    )
    return rows
