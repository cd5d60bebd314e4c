"""What domains, their members and the names of their accounts need of each other."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from smbplan.spec.problems import nearest

if TYPE_CHECKING:
    from smbplan.spec.domain import Domain
    from smbplan.spec.model import Gateway, Share, Site

Finding = tuple[tuple[str | int, ...], str, str]


def computer(name: str, gateway: "Gateway") -> str:
    """What a gateway is called in its domain."""
    return (gateway.netbios_name or name)[:15].upper()


def check(site: "Site") -> Iterator[Finding]:
    members: dict[str, list[str]] = {}
    for name, gateway in site.gateways.items():
        if gateway.domain is None:
            for key in ("aliases", "offline_join"):
                if getattr(gateway, key):
                    yield (
                        ("gateways", name, key),
                        "only a member of a domain has that",
                        "write domain:, or leave it out",
                    )
            continue
        domain = site.domains.get(gateway.domain)
        if domain is None:
            hint = nearest(gateway.domain, [*site.domains])
            yield ("gateways", name, "domain"), f"unknown domain {gateway.domain!r}", hint
            continue
        members.setdefault(gateway.domain, []).append(name)
        yield from _member(site, name, gateway, domain)
    for key, names in members.items():
        if site.domains[key].ids.backend == "autorid" and len(names) > 1:
            words = f"{' and '.join(sorted(names)[:2])} would have other ids for the same users"
            yield ("domains", key, "ids", "backend"), words, "write backend: rid, or ad"
    realms: dict[str, str] = {}
    for key in members:
        other = realms.setdefault(site.domains[key].realm, key)
        if other != key:
            yield (
                ("domains", key, "realm"),
                f"domains {other!r} and {key!r} are one",
                "define it once, for all gateways",
            )
    yield from _computers(site, members)
    yield from _apart(site)
    yield from _spelled(site)
    for name, share in site.shares.items():
        yield from _whole(site, name, share)
        for level in ("read", "write", "admin", "deny"):
            for number, principal in enumerate(getattr(share.access, level)):
                yield from _principal(site, share.gateway, ("shares", name, "access", level, number), principal)


def _member(site: "Site", name: str, gateway: "Gateway", domain: "Domain") -> Iterator[Finding]:
    here = ("gateways", name)
    if domain.join is None and gateway.offline_join is None:
        hint = f"write join: at domains.{gateway.domain}, or offline_join: here"
        yield (*here, "domain"), "nobody is named who may join it", hint
    if gateway.workgroup:
        yield (*here, "workgroup"), "the domain says what the workgroup is", "leave workgroup out"
    for section, key in (("users", "uid"), ("groups", "gid")):
        for account, each in getattr(site, section).items():
            number = getattr(each, key)
            for workgroup, (first, last) in domain.ranges.items():
                if number and first <= number <= last:
                    words = f"{key} {number} is one of the ids of {workgroup}, {first}-{last}"
                    hint = f"write another one, or other ids: at domains.{gateway.domain}"
                    yield (section, account, key), words, hint


def _computers(site: "Site", members: dict[str, list[str]]) -> Iterator[Finding]:
    for names in members.values():
        seen: dict[str, str] = {}
        for name in names:
            called = computer(name, site.gateways[name])
            if called in seen:
                words = f"gateways {seen[called]!r} and {name!r} would be one computer, {called}"
                yield ("gateways", name), words, "write another netbios_name: at one of them"
            seen[called] = name


def _apart(site: "Site") -> Iterator[Finding]:
    used = {gateway.domain for gateway in site.gateways.values()}
    domains = {name: domain for name, domain in site.domains.items() if name in used}
    found = sorted(
        (between, workgroup, name) for name, domain in domains.items() for workgroup, between in domain.ranges.items()
    )
    for (one, former, _), (other, workgroup, name) in pairwise(found):
        if other[0] <= one[1] and former != workgroup:
            spelled = next((each for each in domains[name].trusts if each.upper() == workgroup), "")
            where = ("trusts", spelled, "range") if spelled else ("ids", "range")
            words = f"{former} and {workgroup} have ids in common"
            yield ("domains", name, *where), words, "write ranges that are apart"


def _principal(site: "Site", gateway: str, path: tuple[str | int, ...], principal: str) -> Iterator[Finding]:
    workgroup, slash, _ = principal.removeprefix("@").partition("\\")
    if not slash or gateway not in site.gateways:
        return
    member = site.gateways[gateway].domain
    domain = site.domains.get(member or "")
    if member is None:
        yield path, f"gateway {gateway!r} is in no domain", f"write domain: at gateways.{gateway}"
    elif domain and workgroup.upper() not in domain.ranges:
        words = f"{principal!r} is of another domain than the gateway's"
        hint = f"its names begin with {domain.netbios}\\; if it trusts {workgroup}, write trusts: at domains.{member}"
        yield path, words, hint


def _whole(site: "Site", name: str, share: "Share") -> Iterator[Finding]:
    gateway = site.gateways.get(share.gateway)
    domain = site.domains.get(gateway.domain or "") if gateway else None
    if domain is None:
        return
    named = [*share.access.granted, *share.access.deny]
    if share.homes and any("\\" in each for each in named):
        hint = "name local users and groups, or leave homes out"
        yield ("shares", name, "homes"), "home folders of a domain's users are not made yet", hint
    if "*" in share.access.granted:
        hint = f"name those who may, such as '@{domain.netbios}\\Domain Users'"
        yield ("shares", name, "access"), "* would be everybody in the domain, and in those that it trusts", hint
    local = sorted(each for each in share.access.granted if "\\" not in each and each != "*")
    if not domain.ntlm and local:
        words = f"{local[0]} has no tickets, and the gateway's domain says ntlm: false"
        yield ("shares", name, "access"), words, "name users and groups of the domain only, or leave ntlm out"


def _spelled(site: "Site") -> Iterator[Finding]:
    """The domain doesn't tell upper from lower case; the lists on a gateway have one name for each account."""
    seen: dict[tuple[str, str], str] = {}
    for name, share in site.shares.items():
        for each in (*share.access.granted, *share.access.deny):
            word = each.removeprefix("@")
            known = seen.setdefault((share.gateway, word.lower()), word) if "\\" in word else word
            if known != word:
                yield ("shares", name, "access"), f"{word!r} and {known!r} are one account", "write it in one way"
