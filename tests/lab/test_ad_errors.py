"""What may keep a host out of a domain, provoked on the controller: what a person reads, and what is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import ad, snapshot
from lab.site import Site

from smbplan import app, domains
from smbplan.lab import Lab

pytestmark = pytest.mark.lab


@dataclass(frozen=True)
class Case:
    """What is edited in the site, what is done on the controller and undone, and what is said."""

    code: str
    said: str
    hint: str
    old: str = ""
    new: str = ""
    do: str = ""
    undo: str = ""
    node: str = "dc1"  # where that is done


JOINER = "user: joiner, password: {file: /run/smbplan/lab/LAB/domain-password}"
# What smbplan runs on the member has a clock of its own then; a namespace can't have one.
SKEW = """
lib=$(ls /usr/lib/*/faketime/libfaketime.so.1)
printf '#!/bin/sh\\nLD_PRELOAD=%s FAKETIME=-20m exec /usr/bin/python3 "$@"\\n' "$lib" >/usr/local/bin/python3
chmod 755 /usr/local/bin/python3
"""


def joiner(attribute: str, value: int) -> str:
    """The command that sets an attribute of the account that joins."""
    ldif = f"dn: CN=joiner,CN=Users,DC=corp,DC=test\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"
    return f"printf '{ldif!s}' | ldbmodify -H /var/lib/samba/private/sam.ldb >/dev/null".replace("\n", "\\n")


def controllers(verb: str) -> str:
    record = "dc1 _msdcs.corp.test _ldap._tcp.dc SRV 'dc1.corp.test 389 0 100'"
    return f'samba-tool dns {verb} {record} -UAdministrator --password="$(cat /root/password)"'


def lockout(threshold: int) -> str:
    return f"samba-tool domain passwordsettings set --account-lockout-threshold={threshold}"


CASES = (
    Case(
        "wrong-password",
        "the password of joiner is wrong",
        "correct join.password",
        JOINER,
        "user: joiner, password: {env: WRONG}",
    ),
    Case(
        "no-right",
        "anna may not create computers in OU=Servers,DC=corp,DC=test",
        "delegate the creation",
        "user: joiner",
        "user: anna",
    ),
    Case(
        "no-controller",
        "no controller of CORP.TEST answers",
        "firewall",
        "    nameservers:",
        "    servers: [pve2.corp.test]\n    nameservers:",
    ),
    Case("dns-silent", "no name server has an answer", "nameservers:", ".102]", ".12]"),
    Case(
        "wrong-dns",
        "the name servers do not know other.test",
        "controllers, at nameservers:",
        "realm: CORP.TEST",
        "realm: OTHER.TEST\n    workgroup: CORP",
    ),
    Case("no-unit", "there is no OU=Nowhere in CORP.TEST", "create it, or correct ou:", "OU=Servers", "OU=Nowhere"),
    Case(
        "name-taken",
        "CORP.TEST has a computer FILES already",
        "another netbios_name",
        do="samba-tool computer create FILES",
        undo="samba-tool computer delete FILES",
    ),
    Case(
        "alias-taken",
        "shares.corp.test is another account's name",
        "samba-tool spn delete HOST/shares.corp.test",
        do="samba-tool computer create OTHER; samba-tool spn add HOST/shares.corp.test 'OTHER$'",
        undo="samba-tool computer delete OTHER",
    ),
    Case(
        "disabled",
        "the account joiner is disabled",
        "enable it",
        do="samba-tool user disable joiner",
        undo="samba-tool user enable joiner",
    ),
    Case(
        "expired",
        "the account joiner has expired",
        "later date",
        do=joiner("accountExpires", 116444736000000001),
        undo=joiner("accountExpires", 9223372036854775807),
    ),
    Case(
        "password-expired",
        "joiner has to change the password first",
        "set a new one",
        do=f"{joiner('userAccountControl', 512)}; {joiner('pwdLastSet', 0)}",
        undo=f"{joiner('pwdLastSet', -1)}; {joiner('userAccountControl', 66048)}",
    ),
    Case(
        "locked",
        "the account joiner is locked out",
        "unlock it",
        do=f"{lockout(1)}; smbclient -L localhost -U joiner%wrong || :",
        undo=f"{lockout(0)}; samba-tool user unlock joiner",
    ),
    Case(
        "no-srv",
        "corp.test has no records for its controllers",
        "registers them anew",
        do=controllers("delete"),
        undo=controllers("add"),
    ),
    Case("clock", "behind that of dc1.corp.test", "time synchronisation", do=SKEW, node="pve1"),
)


@contextmanager
def provoked(site: Site, case: Case) -> Iterator[None]:
    if case.old:
        site.edit("site.yaml", case.old.replace("LAB", site.lab.name), case.new)
    if case.do:
        site.shell(case.node, case.do)
    try:
        yield
    finally:
        if case.undo:
            site.shell(case.node, case.undo)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code)
def test_what_keeps_a_host_out_is_said_and_nothing_is_left(
    case: Case, domain: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain.reset("pve1")
    site = ad.prepared(domain, tmp_path, monkeypatch)
    site.edit("site.yaml", "    fallback: local\n", "")
    monkeypatch.setenv("WRONG", "not-this-1")
    site.run("dc1", "sh", "-c", "cat >/root/password", stdin=ad.password(site))
    with provoked(site, case):
        before, listed = snapshot.take(site.lab, "pve1"), ad.directory(site)
        rows = domains.check(app.validate(site.folder).site, "corp")
        (wrong,) = [row for row in rows if row.ok is False]
        assert (wrong.code, case.said in wrong.found, case.hint in wrong.hint) == (case.code, True, True), wrong
        assert wrong.tried
        done = site.apply()
        assert done.outcome.name == "rolled_back"
        first = done.outcome.problems[0]
        assert first.address == "domain.member.files" and case.said in first.summary and case.hint in first.hint, first
        assert ad.password(site) not in f"{done.outcome.problems} {rows}"
        assert snapshot.differences(before, snapshot.take(site.lab, "pve1")) == []
        assert sorted(ad.directory(site) ^ listed) == []


def test_a_wrong_netbios_name_is_no_wrong_password(
    domain: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = ad.prepared(domain, tmp_path, monkeypatch)
    site.edit("site.yaml", "CORP\\", "WRONG\\")
    site.edit("site.yaml", "realm: CORP.TEST", "realm: CORP.TEST\n    workgroup: WRONG")
    (wrong,) = [row for row in domains.check(app.validate(site.folder).site, "corp") if row.ok is False]
    assert (wrong.code, wrong.found) == ("workgroup", "the NetBIOS name of CORP.TEST is CORP, and not WRONG")
    assert wrong.hint == "write workgroup: CORP at the domain"
