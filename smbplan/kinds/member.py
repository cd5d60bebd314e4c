"""Membership of a gateway in an Active Directory domain, and its account there. net(8)"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Call
from smbplan.kinds import clock, resolver
from smbplan.kinds.names import address, domain_of, whole
from smbplan.spec.base import Secret
from smbplan.spec.domain import Domain
from smbplan.spec.membership import computer
from smbplan.spec.model import Gateway, Site

IDENTITY = ("realm", "workgroup", "name")
ORPHAN = "orphan-account"  # a guardrail: who leaves it behind says so
UNKNOWN = "unknown"  # of what only a controller can tell


class Member(Kind):
    """State: {realm, workgroup, name, aliases, trust, registered}. A host that has joined already is used as it is."""

    name, title, object = "domain.member", "membership", "member"
    one = True
    uses = True

    def guard(self, raw: State) -> State:
        return None if raw is None else {**raw, "trust": None, "registered": None}  # controllers come and go

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        """What nobody answers for is believed to be as it should be."""
        wanted = {name: desired[name] for name in (*IDENTITY, "aliases", "trust", "registered")}
        have = live or {}
        believed = {name: UNKNOWN for name in ("trust", "registered") if have.get(name) == UNKNOWN}
        return super().complete({**wanted, **believed}, live)

    def options(self, resource: Resource) -> Mapping[str, Any]:
        found: Mapping[str, Any] = resource.desired["options"]
        return found

    def reads(self, resource: Resource) -> Mapping[str, Any]:
        """Nobody's password is needed to look."""
        return {"floating": resource.desired["options"]["floating"]}

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        """smbd keeps the role and the password that it was started with; more names end nobody's session."""
        before, after = change.before, change.after
        same = before and after and all(before[name] == after[name] for name in (*IDENTITY, "trust"))
        return () if same else (("restart", Call("restart")),)

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        known = dict(options.joins.get(record.key.name, {}))
        if record.original is not None:
            left = {**live, "aliases": record.original["aliases"]}
            return Removal(left, reason="was a member before; stays one", options={**known, "stays": True})
        known |= {"orphan": ORPHAN in options.allow, "mark": f"{known.pop('site', '')}/{record.address}"}
        return Removal(None, reason="leaves its domain; an account that smbplan has made goes", options=known)

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        before, after = change.before, change.after
        if before and after and any(before[name] != after[name] for name in IDENTITY):
            yield Hazard(
                change.address,
                f"{change.target} is {before['name']} in {before['realm']} ({before['workgroup']}), and can't become "
                f"{after['name']} in {after['realm']} ({after['workgroup']}) without leaving",
                "take domain: off the gateway and apply; then write it again, as it is to be",
                origin=change.resource.origin if change.resource else None,
            )

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if change.before and change.before["trust"] == "broken" and change.after:
            yield "the domain refuses its machine account; it joins again"

    def warnings(self, resource: Resource, live: State) -> Iterable[str]:
        if live is not None and live["trust"] == UNKNOWN:
            yield f"{resource.address}: no controller of {resource.key.name} answers"


KIND = Member()


def login(domain: Domain, gateway: Gateway | None = None) -> dict[str, Any] | None:
    """Who joins, if anybody does: the password is a reference."""
    if domain.join is None or (gateway and gateway.offline_join):
        return None
    return {"user": domain.join.user, "password": _reference(domain.join.password)}


def _reference(secret: Secret) -> dict[str, Any]:
    return {"$secret": secret.model_dump(exclude_none=True)}


def options(domain: Domain, gateway: Gateway | None = None) -> dict[str, Any]:
    blob = gateway.offline_join if gateway else None
    prepared = {"blob": _reference(blob)} if blob else {}
    _, last = domain.ranges.get("BUILTIN", (0, 0))
    return {**_places(domain, gateway), "login": login(domain, gateway), "asserted": [last, last - 1], **prepared}


def wanted(site: Site, name: str, domain: Domain) -> dict[str, Any]:
    """What the checks of a domain have to know of a gateway or a node, but for the account."""
    gateway = site.gateways[name]
    return {**_identity(whole(site, name), gateway, domain), **_places(domain, gateway), "aliases": aliases(gateway)}


def aliases(gateway: Gateway) -> list[str]:
    return sorted({alias.lower() for alias in gateway.aliases})


def _identity(name: str, gateway: Gateway, domain: Domain) -> dict[str, str]:
    return {"realm": domain.realm, "workgroup": domain.netbios, "name": computer(name, gateway)}


def _places(domain: Domain, gateway: Gateway | None) -> dict[str, Any]:
    """The name servers of a guest are those that Proxmox VE gives it."""
    return {
        "servers": domain.servers,
        "ad_site": domain.ad_site,
        "nameservers": [] if gateway and gateway.guest else domain.nameservers,
        "ou": domain.ou,
        "time": domain.time,
    }


def joins(site: Site) -> dict[str, dict[str, Any]]:
    """By realm, what it takes to leave."""
    return {domain.realm: {**options(domain), "site": site.site} for domain in site.domains.values()}


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        domain = domain_of(site, name)
        if domain is None:
            continue
        desired = {
            **_identity(name, gateway, domain),
            "aliases": aliases(gateway),
            "trust": "ok",
            "registered": domain.register_names or None,
            "options": {
                **options(domain, gateway),
                "floating": gateway.ha.plain if gateway.ha else [],
                "mark": f"{site.site}/{address('member', name)}",
            },
        }
        after = [address("config", name), f"file.{name}.krb5"]
        after += [] if gateway.guest else [f"host.name.{name}"]
        after += [f"domain.controllers.{name}"] if domain.ad_site else []
        after += [f"{clock.KIND.name}.{name}"] if clock.follows(gateway, domain) else []
        after += resolver.of(site, name)
        yield Resource(address("member", name), KIND.name, name, Key(KIND.object, domain.realm), desired, tuple(after))
