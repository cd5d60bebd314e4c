"""A host as a member of an Active Directory domain. net(8), libwbclient"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import ads, winbind
from .core import IMAGES, STATE, Object, Refused, read_text, run, samba_settings, seal, unseal, write

SECRETS = Path("/var/lib/samba/private/secrets.tdb")
KEYTAB = Path("/etc/krb5.keytab")
NOTE = STATE / "member.json"
MADE, FOUND = "made", "found"  # what a run remembers of the account
PASSWORD = "SECRETS/MACHINE_PASSWORD/"
OPEN = """
import sys, tdb
db, prefix = tdb.open(sys.argv[1], flags=2), sys.argv[2]
store = {name.rstrip(b"\\0").decode("utf-8", "replace"): name for name in db}
"""


class Member(Object):
    """Named by its realm. State: {realm, workgroup, name, trust, registered}.

    trust is "ok" or "broken"; registered is whether the domain's DNS knows the name. Both are "unknown" where nobody
    answers. Options: {servers, nameservers, ou, login: {user, password}, mark, orphan}.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        workgroup = _workgroup()
        if workgroup is None:
            return None
        noted = _noted()  # smb.conf may be another one already while a gateway leaves
        computer = noted.get("name") or str(samba_settings().get("netbios name")).upper()
        realm = noted.get("realm") or str(samba_settings().get("realm")).upper()
        known = _addresses(f"{computer}.{realm}".lower())
        return {
            "realm": realm,
            "workgroup": workgroup,
            "name": computer,
            "trust": winbind.trust(workgroup),
            "registered": "unknown" if known is None else bool(known),
        }

    def torn(self, name: str, state: Any, after: Any) -> bool:
        """What controllers tell changes by itself, and keeps no membership from being set, or ended."""
        return state is not None

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> list[str]:
        winbind.ASKED.clear()
        if after is None:
            return _leave(ads.Domain({**before, **options}, options.get("login")), options)
        domain = ads.Domain({**after, **options}, options.get("login"))
        if before is None and not domain.login:
            raise Refused(
                f"{name} is not defined any more, so that nobody can join it again", "", "write domains: again"
            )
        broken = before is not None and before["trust"] == "broken" and after["trust"] == "ok"
        if before is None or broken:
            _join(domain, options["mark"], new=before is None)
        registered = before["registered"] if before else False
        if after["registered"] is True and registered is not True and domain.login:
            _dns("register", domain)
            _note(registered=True)
        return []


def _join(domain: ads.Domain, mark: str, new: bool) -> None:
    _must_pass(domain)
    made = domain.account(["cn"]) is None
    # An undo leaves what was there, and takes what was made here, whether it could be marked or not.
    IMAGES.keep(f"member:{domain.realm}", lambda: MADE if made else FOUND)
    if new:
        _note(realm=domain.realm, name=domain.name, keytab=KEYTAB.exists())
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
            _forget(domain.workgroup)
        detail = error.detail if isinstance(error, Refused) else str(error)
        last = detail.strip().splitlines()[-1] if detail.strip() else str(error)
        summary = f"{domain.name} can't join {domain.realm}: {last}"
        raise Refused(summary, detail, "smbplan domain check looks at each thing that it needs") from None


def _leave(domain: ads.Domain, options: dict[str, Any]) -> list[str]:
    """The account goes only if it is ours; what is here goes with it."""
    warnings = []
    stays = f"the account {domain.name} of {domain.realm} stays in the directory"
    try:
        if not domain.login:
            raise ads.Trouble("no-login", "its domain is not defined any more", "", "write domains: again")
        domain.resolves(), domain.reaches(), domain.logs_in()
        entry = domain.account(["description"])
        if entry is not None and _goes(domain, entry):
            warnings += _unregistered(domain)
            domain.remove()
    except ads.Trouble as trouble:
        if not options.get("orphan"):
            hint = f"{trouble.hint}; --allow orphan-account leaves the account behind"
            raise Refused(f"{stays}: {trouble.summary}", trouble.tried, hint) from None
        warnings.append(f"{stays}: {trouble.summary}")
    _forget(domain.workgroup)
    return warnings


def _unregistered(domain: ads.Domain) -> list[str]:
    """Only what was written by smbplan; a name that stays in DNS is no reason to stay a member."""
    if not _noted().get("registered"):
        return []
    try:
        _dns("unregister", domain)
    except Refused as refused:
        return [f"{refused.summary}; {refused.hint}"]
    return []


def _must_pass(domain: ads.Domain) -> None:
    """Raises Refused for the first check that fails."""
    for row in ads.examine(domain):
        if row["ok"] is False:
            raise Refused(row["found"], f"tried: {row['tried']}", row["hint"])


def _goes(domain: ads.Domain, entry: Any) -> bool:
    """What this run has made, or an earlier one has marked."""
    image = f"member:{domain.realm}"
    if IMAGES.has(image):
        return IMAGES.recall(image) == MADE
    return unseal(ads.text(entry, "description"), f"{domain.name}$".lower()) is not None


def _dns(verb: str, domain: ads.Domain) -> None:
    """As the account that joins: a computer that is made anew could not change what its former self has written."""
    name = f"{domain.name}.{domain.realm}".lower()
    settings = {"security": "ads", "realm": domain.realm, "workgroup": domain.workgroup, "netbios name": domain.name}
    words = [f"--option={key}={value}" for key, value in settings.items()]
    try:
        run(["net", "ads", "dns", verb, *words, "-A", "/dev/stdin", name], _login(domain))
    except Refused as refused:
        said, hint = refused.detail or refused.summary, "delete its record by hand if it belongs to another account"
        raise Refused(f"{name} can't {verb} in DNS: {said}", refused.detail, hint) from None


def _noted() -> dict[str, Any]:
    """What is known of a join of ours: {realm, name, keytab: whether there was one before, registered}."""
    return dict(json.loads(read_text(NOTE) or "{}"))


def _note(**found: Any) -> None:
    write(NOTE, json.dumps({**_noted(), **found}, sort_keys=True))


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
    if not SECRETS.exists():
        return ""
    try:
        return run([sys.executable, "-c", f"{OPEN}\n{code}", str(SECRETS), *words])
    except Refused as refused:
        if "No module named" in refused.detail:
            return ""  # Samba is gone; only its files are left
        raise


def _addresses(name: str) -> list[str] | None:
    for server in ads.nameservers():
        found = ads.query(server, name, "A")
        if found is not None:
            return found
    return None


def _forget(workgroup: str) -> None:
    """What a join leaves on this host."""
    had_keytab = _noted().get("keytab", True)  # that of a join which is not ours is not ours either
    _secrets("[db.delete(name) for key, name in store.items() if key.endswith(prefix)]", f"/{workgroup}")
    if not had_keytab:
        KEYTAB.unlink(missing_ok=True)
    NOTE.unlink(missing_ok=True)


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
