"""A member's names in its domain's DNS. net(8) under ads dns"""

from __future__ import annotations

from collections.abc import Sequence

from . import ads, dns, joined, naming
from .core import Refused, run

TYPES = ("A", "AAAA")


def register(domain: ads.Domain, aliases: list[str], floating: list[str]) -> None:
    """What is to be undone is noted before it is done. Raises Refused."""
    wanted, known = names_of(domain.name, domain.realm, aliases), joined.noted().get("registered") or []
    must_be_free(wanted, floating)
    joined.note(registered=[*known, *(name for name in wanted if name not in known)])
    for name in known:
        if name not in wanted:
            _dns("unregister", domain, name)
    for name in wanted:
        _dns("register", domain, name, floating)
    joined.note(registered=wanted)


def must_be_free(names: list[str], floating: list[str]) -> None:
    """A registration replaces every address that a name has. Raises Refused for one that is another machine's."""
    own, known = naming.addresses() | {*floating}, joined.noted().get("registered") or []
    for name in names:
        others = sorted({*(_addresses(name, TYPES if floating else TYPES[:1]) or [])} - own)
        if others and name not in known:
            hint = (
                "delete that record if its machine is gone; or take the name off aliases:, or leave register_names out"
            )
            raise Refused(f"{name} has another address in DNS already: {', '.join(others)}", "", hint)


def names_of(computer: str, realm: str, aliases: list[str]) -> list[str]:
    """Those that the domain's DNS has a place for."""
    zone = f".{realm}".lower()
    return [f"{computer}{zone}".lower(), *(name for name in aliases if name.endswith(zone))]


def has_all(names: list[str], floating: list[str]) -> bool | str:
    """Of a cluster, the floating addresses and no others: those of a node lead to it alone."""
    found = [_addresses(name, TYPES if floating else TYPES[:1]) for name in names]
    if any(each is None for each in found):
        return "unknown"
    if floating:
        return all({*floating} == {*(each or ())} for each in found)
    own = naming.addresses()
    return all(each and own.issuperset(each) for each in found)


def unregister(domain: ads.Domain) -> list[str]:
    """Only what was written by smbplan; a name that DNS does not give up is no reason to stay a member.

    Raises Refused where net has died before anybody was asked.
    """
    warnings = []
    for name in joined.noted().get("registered") or ():
        try:
            _dns("unregister", domain, name)
        except Refused as refused:
            if not refused.detail:
                raise
            warnings.append(f"{refused.summary}; {refused.hint}")
    return warnings


def _dns(verb: str, domain: ads.Domain, name: str, addresses: Sequence[str] = ()) -> None:
    """As the account that joins: a computer that is made anew could not change what its former self has written.

    Where nobody joins, as the computer.
    """
    settings = {"security": "ads", "realm": domain.realm, "workgroup": domain.workgroup, "netbios name": domain.name}
    words = [f"--option={key}={value}" for key, value in settings.items()]
    if not domain.controller:
        domain.resolves(), domain.reaches()
    words += ["-S", domain.controller]  # net remembers for a while that one which is back did not answer
    try:
        who = ["-A", "/dev/stdin"] if domain.login else ["-P"]
        run(
            ["net", "ads", "dns", verb, *words, *who, name, *addresses],
            credentials_file(domain) if domain.login else None,
        )
    except Refused as refused:
        said, hint = refused.detail or refused.summary, "delete its record by hand if it belongs to another account"
        raise Refused(f"{name} can't {verb} in DNS: {said}", refused.detail, hint) from None


def credentials_file(domain: ads.Domain) -> str:
    """A credentials file: neither an argument nor an environment tells the password. smbclient(1), -A"""
    return f"username = {domain.login['user']}\npassword = {domain.login['password']}\ndomain = {domain.workgroup}\n"


def _addresses(name: str, types: Sequence[str]) -> list[str] | None:
    for server in dns.nameservers():
        found = [dns.query(server, name, each) for each in types]
        if None not in found:
            return [address for each in found for address in each or ()]
    return None
