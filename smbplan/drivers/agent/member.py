"""A host as a member of an Active Directory domain. net(8), libwbclient"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from . import ads, clock, dns, joined, prepared, registration, winbind
from .core import IMAGES, Object, Refused, run, samba_settings, seal, unseal


def image_of(realm: str) -> str:
    """What a run remembers of an account: whose it is, and whether it has made it."""
    return f"member:{realm}"


def remembered(realm: str) -> dict[str, Any]:
    """{realm, workgroup, name, made}; {} where the run has not joined."""
    return dict(json.loads(IMAGES.recall(image_of(realm)))) if IMAGES.has(image_of(realm)) else {}


class Member(Object):
    """Named by its realm. State: {realm, workgroup, name, aliases, trust, registered}.

    aliases are those that were given by smbplan. trust is "ok" or "broken"; registered is whether the domain's DNS has
    all names with addresses of this host. Both are "unknown" where nobody answers.
    Options: {servers, nameservers, ou, login: {user, password}, blob, mark, orphan, asserted: two free gids,
    floating: the addresses of a cluster}.
    """

    def get(self, name: str, options: dict[str, Any]) -> Any:
        workgroup = joined.workgroup_here()
        if workgroup is None:
            return None
        noted = joined.noted()  # smb.conf may be another one already while a gateway leaves
        computer = noted.get("name") or str(samba_settings().get("netbios name")).upper()
        realm = noted.get("realm") or str(samba_settings().get("realm")).upper()
        aliases = list(noted.get("aliases") or ())
        return {
            "realm": realm,
            "workgroup": workgroup,
            "name": computer,
            "aliases": aliases,
            "trust": "unknown" if dns.unanswered() else winbind.trust(workgroup),
            "registered": registration.has_all(
                registration.names_of(computer, realm, aliases), options.get("floating") or []
            ),
        }

    def torn(self, name: str, state: Any, after: Any, options: dict[str, Any]) -> bool:
        """What controllers tell changes by itself, and keeps no membership from being set, or ended.

        A join that was cut short may have made an account before anything is known of it here.
        """
        if state is None:
            return after is None and bool(remembered(name).get("made"))
        return bool(state["realm"] == name)

    def set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> list[str]:
        winbind.ASKED.clear()
        try:
            return self._set(name, before, after, options)
        except ads.Trouble as trouble:
            raise Refused(trouble.summary, f"tried: {trouble.tried}", trouble.hint) from None

    def _set(self, name: str, before: Any, after: Any, options: dict[str, Any]) -> list[str]:
        if after is None:
            who = before or remembered(name)
            return _leave(ads.Domain({**who, **options}, options.get("login")), options)
        domain = ads.Domain({**after, **options}, options.get("login"))
        kept = f"{joined.SECRETS} {name}"
        if before is None and IMAGES.has(kept):  # of an account that nobody here could make anew
            joined.restore(IMAGES.recall(kept))
            if after["registered"] is True:
                registration.register(domain, after["aliases"], options.get("floating") or [])
            return []
        if before is None and not (domain.login or options.get("blob")):
            raise Refused(
                f"{name} is not defined any more, so that nobody can join it again", "", "write domains: again"
            )
        broken = before is not None and before["trust"] == "broken" and after["trust"] == "ok"
        domain.own = before is not None
        if before is None or broken:
            _join(domain, options, new=before is None)
            winbind.know_asserted(options["asserted"])
        former, aliases = before["aliases"] if before else [], after["aliases"] or []
        if former != aliases:
            _call(domain, former, aliases, new=before is None and not options.get("blob"))
        if options.get("stays"):  # as the member that it was before smbplan came
            warnings = registration.unregister(domain)
            joined.NOTE.unlink(missing_ok=True)
            return warnings
        if after["registered"] is True and (former != aliases or not before or before["registered"] is not True):
            registration.register(domain, aliases, options.get("floating") or [])
        return []


def _call(domain: ads.Domain, former: list[str], aliases: list[str], new: bool) -> None:
    """The computer by more names: clients get tickets for them. A join has given them already, as smb.conf says."""
    if not new:
        joined.note(aliases=sorted({*former, *aliases}))  # what is to be undone, before it is done
        if not domain.controller:
            domain.resolves(), domain.reaches()
        if domain.login:
            domain.give_names(aliases, [name for name in former if name not in aliases])
        joined.renew_keytab(domain.controller)
        lacking = sorted({*aliases} - joined.called(domain.name, domain.controller))
        if lacking:
            hint = f"samba-tool spn add HOST/{lacking[0]} '{domain.name}$' on a controller gives it; then apply again"
            raise Refused(f"{domain.realm} has no tickets for {lacking[0]}", "", hint)
    joined.note(aliases=aliases)


def _join(domain: ads.Domain, options: dict[str, Any], new: bool) -> None:
    _must_pass(domain)
    blob = options.get("blob")
    if new:
        joined.note(realm=domain.realm, name=domain.name, keytab=joined.KEYTAB.exists(), offline=bool(blob))
    if not blob:
        _enter(domain, options["mark"], new)
        return
    before = joined.kept(domain.workgroup)
    try:
        prepared.take_in(domain, blob)
    except Refused:
        if new:
            joined.forget(domain.workgroup)
        else:
            joined.restore(before)  # it may be good yet, when the domain is asked again
        raise


def _enter(domain: ads.Domain, mark: str, new: bool) -> None:
    """With an account that is made, or taken over, as the one who may."""
    entry = domain.account(["description"])
    made = entry is None
    ours = made or unseal(ads.text(entry, "description"), f"{domain.name}$".lower()) is not None
    # An undo leaves what was there, and takes what was made here, whether it could be marked or not.
    identity = {"realm": domain.realm, "workgroup": domain.workgroup, "name": domain.name}
    IMAGES.keep(image_of(domain.realm), lambda: json.dumps({**identity, "made": made}))
    words = ["net", "ads", "join", "-A", "/dev/stdin", "-S", domain.controller, "--no-dns-updates"]
    if domain.ou:
        units = [part.partition("=")[2] for part in domain.ou.split(",")]
        words.append(f"createcomputer={'/'.join(reversed(units))}")
    try:
        run(words, registration.credentials_file(domain))
        if ours:
            domain.describe(seal(mark, f"{domain.name}$".lower()))
    except Exception as error:
        if made:
            with suppress(Exception):  # what is wrong is told below
                domain.remove()
        if new:
            joined.forget(domain.workgroup)
        detail = error.detail if isinstance(error, Refused) else str(error)
        last = detail.strip().splitlines()[-1] if detail.strip() else str(error)
        summary = f"{domain.name} can't join {domain.realm}: {last}"
        raise Refused(summary, detail, "smbplan domain check looks at each thing that it needs") from None


def _leave(domain: ads.Domain, options: dict[str, Any]) -> list[str]:
    """The account goes only if it is ours; what is here goes with it."""
    warnings: list[str] = []
    stays = f"the account {domain.name} of {domain.realm} stays in the directory"
    if joined.noted().get("offline"):
        warnings += [
            *registration.unregister(domain),
            f"{stays}: it was prepared elsewhere, and is to be deleted there",
        ]
        IMAGES.keep(f"{joined.SECRETS} {domain.realm}", lambda: joined.kept(domain.workgroup))
        joined.forget(domain.workgroup)
        return warnings
    try:
        if not domain.login:
            raise ads.Trouble("no-login", "nobody is defined any more who may delete it", "", "write join: again")
        domain.resolves(), domain.reaches(), domain.logs_in()
        warnings += registration.unregister(domain)
        entry = domain.account(["description"])
        if entry is not None and _goes(domain, entry):
            domain.remove()
    except ads.Trouble as trouble:
        if not options.get("orphan"):
            hint = f"{trouble.hint}; --allow orphan-account leaves the account behind"
            raise Refused(f"{stays}: {trouble.summary}", trouble.tried, hint) from None
        warnings.append(f"{stays}: {trouble.summary}")
    joined.forget(domain.workgroup)
    return warnings


def _must_pass(domain: ads.Domain) -> None:
    """Raises Refused for the first check that fails."""
    for row in ads.examine(domain):
        if row["ok"] is False:
            raise Refused(row["found"], f"tried: {row['tried']}", row["hint"])


def _goes(domain: ads.Domain, entry: Any) -> bool:
    """What this run has made, or an earlier one has marked."""
    known = remembered(domain.realm)
    if known:
        return bool(known["made"])
    return unseal(ads.text(entry, "description"), f"{domain.name}$".lower()) is not None


def check(request: dict[str, Any]) -> Any:
    """Rows for `smbplan domain check`."""
    domain = ads.Domain(request["wanted"], request["login"])
    rows = ads.examine(domain)
    workgroup = joined.workgroup_here()
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
    return [*rows, clock.row(domain.servers or [domain.realm.lower()])] if domain.follows else rows
