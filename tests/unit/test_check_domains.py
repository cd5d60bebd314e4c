"""Domains, members, and the names of a domain's accounts: what can't be, and what a person gets to read."""

import pytest
from unit.checked import problems

SITE = """\
version: 1
site: office
domains:
  corp: {realm: corp.test, join: {user: joiner, password: {env: JOIN}}}
  far: {realm: FAR.TEST, join: {user: joiner, password: {env: JOIN}}, ids: {range: 4000000-4999999}}
gateways:
  files: {host: pve1, domain: corp}
  vault: {host: pve2}
users:
  alice: {password: {env: ALICE}}
shares:
  a: {gateway: files, storage: {directory: /srv/a}, access: {write: [alice, '@CORP\\All Staff', 'CORP\\jörg']}}
"""


def test_a_site_with_a_domain_is_good() -> None:
    assert problems(SITE) == []


@pytest.mark.parametrize(
    ("old", "new", "place", "summary", "hint"),
    [
        (
            "realm: corp.test",
            "realm: corp",
            "4:17",
            "'corp' is no realm",
            "write the domain's DNS name, such as CORP.EXAMPLE",
        ),
        ("domain: corp}", "domain: korp}", "7:31", "unknown domain 'korp'", "did you mean 'corp'?"),
        (
            "{host: pve2}",
            "{host: pve2, aliases: [a.corp.test]}",
            "8:32",
            "only a member of a domain has that",
            "write domain:, or leave it out",
        ),
        (
            "domain: corp}",
            "domain: corp, workgroup: X}",
            "7:48",
            "the domain says what the workgroup is",
            "leave workgroup out",
        ),
        (
            "CORP\\jörg",
            "FAR\\jörg",
            "12:96",
            "'FAR\\\\jörg' is of another domain than the gateway's",
            "its names begin with CORP\\; if it trusts FAR, write trusts: at domains.corp",
        ),
        (
            "gateway: files",
            "gateway: vault",
            "12:77",
            "gateway 'vault' is in no domain",
            "write domain: at gateways.vault",
        ),
        (
            "{host: pve2}",
            "{host: pve2, domain: corp, netbios_name: FILES}",
            "8:3",
            "gateways 'files' and 'vault' would be one computer, FILES",
            "write another netbios_name: at one of them",
        ),
        (
            "{env: ALICE}}",
            "{env: ALICE}, uid: 2500000}",
            "10:40",
            "uid 2500000 is one of the ids of CORP, 2000000-2999999",
            "write another one, or other ids: at domains.corp",
        ),
        (
            "CORP\\jörg",
            "CORP\\a|b",
            "12:96",
            "'CORP\\\\a|b' is no user or group",
            "write alice, @engineers, 'CORP\\alice', or * for every user",
        ),
        (
            "range: 4000000-4999999",
            "range: 5-9",
            "5:84",
            "'5-9' is no range of ids",
            "write 1000 or more of them, from 10000 on, such as 2000000-2999999",
        ),
    ],
)
def test_what_can_not_be(old: str, new: str, place: str, summary: str, hint: str) -> None:
    assert old in SITE
    found = problems(SITE.replace(old, new))
    assert f"{place}: {summary} ({hint})" in found, found


def test_ids_are_the_same_on_all_members_or_refused() -> None:
    two = SITE.replace("{host: pve2}", "{host: pve2, domain: corp}")
    assert problems(two) == []
    (found,) = problems(two.replace("realm: corp.test,", "realm: corp.test, ids: {backend: autorid},"))
    assert "files and vault would have other ids for the same users (write backend: rid, or ad)" in found
    apart = SITE.replace("{host: pve2}", "{host: pve2, domain: far}").replace("4000000-4999999", "2500000-3999999")
    (found,) = problems(apart)
    assert "CORP and FAR have ids in common (write ranges that are apart)" in found


def test_accounts_of_a_trusted_domain_have_ids_of_their_own() -> None:
    trusting = SITE.replace("realm: corp.test,", "realm: corp.test, trusts: {far: {range: 3000000-3999999}},")
    assert problems(trusting.replace("'CORP\\jörg'", "'FAR\\jörg', '@Far\\All'")) == []
    (found,) = problems(trusting.replace("3000000-3999999", "2900000-3999999"))
    assert found == "4:50: CORP and FAR have ids in common (write ranges that are apart)"
    (found,) = problems(trusting.replace("{env: ALICE}}", "{env: ALICE}, uid: 3100000}"))
    assert "uid 3100000 is one of the ids of FAR, 3000000-3999999" in found


def test_a_domain_is_defined_once() -> None:
    twice = SITE.replace("realm: FAR.TEST", "realm: CORP.test").replace("{host: pve2}", "{host: pve2, domain: far}")
    assert "5:16: domains 'corp' and 'far' are one (define it once, for all gateways)" in problems(twice)


def test_somebody_joins_or_has_prepared_it() -> None:
    nobody = SITE.replace("realm: corp.test, join: {user: joiner, password: {env: JOIN}}", "realm: corp.test")
    (found,) = problems(nobody)
    assert "nobody is named who may join it (write join: at domains.corp, or offline_join: here)" in found
    assert problems(nobody.replace("domain: corp}", "domain: corp, offline_join: {file: /run/odj}}")) == []


def test_what_tickets_and_homes_need() -> None:
    (found,) = problems(SITE.replace("realm: corp.test,", "realm: corp.test, ntlm: false,"))
    assert "alice has no tickets, and the gateway's domain says ntlm: false" in found
    (found,) = problems(SITE.replace("gateway: files,", "gateway: files, preset: homes,"))
    assert "home folders of a domain's users are not made yet" in found


def test_lists_of_a_domain_have_one_name_for_each_and_never_everybody() -> None:
    (found,) = problems(SITE.replace("'CORP\\jörg'", "'CORP\\JÖRG', 'CORP\\jörg'"))
    assert "are one account (write it in one way)" in found
    (found,) = problems(SITE.replace("write: [alice,", "write: ['*',"))
    assert "* would be everybody in the domain, and in those that it trusts" in found
    assert "name those who may, such as '@CORP\\Domain Users'" in found
    found = "\n".join(problems(SITE.replace("'CORP\\jörg'", "'CORP\\j\u00a0rg'")))
    assert "is no user or group" in found
