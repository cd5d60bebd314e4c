"""A gateway that waits for its domain: with its local accounts, as if it were in none.

That it does is a resource of its own: going there and coming back are changes in a plan, and steps in a run's journal.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from smbplan.engine.kind import Action, Change, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.kinds.file import File
from smbplan.kinds.names import address
from smbplan.spec.model import Access, Share, Site

NOTE = "/var/lib/smbplan/fallback"  # on the gateway, for whoever looks there

WORDS = "no controller of its domain answers: local accounts alone serve until one does (fallback: local)"
NOBODY = "nobody"  # has no password in Samba: a list that loses everybody must not become no list


class Fallback(File):
    """State: that of a file, which stands while local accounts alone serve."""

    name, title, object = "domain.fallback", "fallback to local accounts", "file"

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        """It goes when the gateway has joined, and stays when that fails."""
        member = address("member", record.address.removeprefix(f"{self.name}.").partition("/")[0])
        return replace(super().removal(live, record, options), waits=(member,))

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if change.action is Action.CREATE:
            yield "no controller answers; local accounts alone serve until one does"
        if change.action is Action.DELETE:
            yield "it waits for its domain no longer"


KIND = Fallback()


def expand(site: Site) -> Iterator[Resource]:
    """Whether anybody answers is not known here: see `waiting`."""
    yield from ()


def waiting(site: Site, gateways: Iterable[str]) -> Iterator[Resource]:
    """For the gateways of which nobody answers for the domain."""
    for name in gateways:
        realm = site.domains[site.gateways[name].domain or ""].realm
        text = f"No controller of {realm} answers: local accounts alone serve until `smbplan apply` finds one.\n"
        desired, key = {"content": text, "mode": "0644"}, Key(KIND.object, NOTE)
        for each in site.gateways[name].nodes or [name]:
            where = f"{KIND.name}.{name}/{each}" if each != name else f"{KIND.name}.{name}"
            yield Resource(where, KIND.name, each, key, desired, (address("smbd", each),))  # it tells of what is so


def standing(site: Site, gateways: Iterable[str]) -> Site:
    """The site with these gateways in no domain, and without the domain's accounts in their lists."""
    alone = {each for name in gateways for each in (name, *site.gateways[name].nodes)}
    found = {
        name: gateway.model_copy(update={"domain": None, "aliases": []}) if name in alone else gateway
        for name, gateway in site.gateways.items()
    }
    shares = {name: _local(share) if share.gateway in alone else share for name, share in site.shares.items()}
    return site.model_copy(update={"gateways": found, "shares": shares})


def _local(share: Share) -> Share:
    access = share.access
    lists = {
        level: [name for name in getattr(access, level) if "\\" not in name]
        for level in ("read", "write", "admin", "deny")
    }
    if access.granted and not any(lists[level] for level in ("read", "write", "admin")):
        lists["read"] = [NOBODY]
    return share.model_copy(update={"access": Access(**lists)})
