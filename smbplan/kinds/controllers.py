"""The controllers of an Active Directory site that a gateway keeps to. smb.conf(5) under password server"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from smbplan.engine.kind import Change, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Call
from smbplan.kinds import resolver
from smbplan.kinds.names import domain_of
from smbplan.spec.model import Site

PATH = "/etc/samba/smbplan-controllers.conf"  # smb.conf includes it


class Controllers(Kind):
    """State: {ad_site, servers, current}: whether DNS names the same ones for that site now."""

    name, title, object = "domain.controllers", "controllers of a site", "controllers"

    def guard(self, raw: State) -> State:
        return None if raw is None else {**raw, "current": None}  # controllers come and go

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        """Which they are, DNS says when they are written; what it does not answer is believed."""
        same = live is not None and live["ad_site"] == desired["ad_site"] and live["current"] is not False
        current = live["current"] if same and live else True
        return {
            "ad_site": desired["ad_site"],
            "servers": live["servers"] if same and live else None,
            "current": current,
        }

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        return replace(super().removal(live, record, options), open=frozenset({"current"}))

    def options(self, resource: Resource) -> Mapping[str, Any]:
        found: Mapping[str, Any] = resource.desired["options"]
        return found

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        return (("reload", Call("reload")),)

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        if change.before and change.after and change.before["current"] is False:
            yield f"the site {change.after['ad_site']} has other controllers now"


KIND = Controllers()


def expand(site: Site) -> Iterator[Resource]:
    for name in site.gateways:
        domain = domain_of(site, name)
        if domain and domain.ad_site:
            options = {"realm": domain.realm, "nameservers": domain.nameservers}
            desired = {"ad_site": domain.ad_site, "options": options}
            key = Key(KIND.object, PATH)
            yield Resource(f"{KIND.name}.{name}", KIND.name, name, key, desired, resolver.of(site, name))
