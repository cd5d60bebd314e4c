"""What may keep the gateways of a domain from being its members, looked at without changing anything."""

from dataclasses import dataclass
from typing import Any

from smbplan import observe
from smbplan.drivers.channel import Channel
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, Asleep
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.secrets import MissingSecret
from smbplan.drivers.targets import Connect
from smbplan.errors import Refused, Trouble
from smbplan.kinds import member
from smbplan.spec.clusters import ClusterNode
from smbplan.spec.model import Site


@dataclass(frozen=True, slots=True)
class Row:
    """One check on one gateway. `ok` is None for what was not looked at, since another check had failed before."""

    gateway: str
    check: str
    ok: bool | None
    found: str
    code: str = ""
    tried: str = ""
    hint: str = ""


def check(site: Site, name: str, connect: Connect = Channel) -> list[Row]:
    """Every check on every gateway of the domain. Raises Refused for a domain that isn't defined or has no gateway."""
    domain = site.domains.get(name)
    if domain is None:
        raise Refused(Trouble(f"there is no domain {name!r}", f"known: {', '.join(site.domains) or 'none'}"))
    members = {key: gateway for key, gateway in site.gateways.items() if gateway.domain == name and not gateway.nodes}
    if not members:
        raise Refused(Trouble(f"no gateway is in domain {name!r}", f"write domain: {name} at a gateway"))
    wanted = {key: member.wanted(site, key, domain) for key in members}
    with Fleet(site.site, _endpoints(site), connect) as fleet:
        try:
            logins = {key: fleet.resolved(member.login(domain, gateway)) for key, gateway in members.items()}
        except MissingSecret as error:
            raise Refused(Trouble(error.summary, error.hint)) from None
        answers = fleet.each(list(members), lambda key: fleet.ask(key, "domain", wanted=wanted[key], login=logins[key]))
    return [row for key in members for row in _rows(key, answers[key])]


def _endpoints(site: Site) -> dict[str, Endpoint]:
    """A node knows its cluster's account by what is kept on what the nodes share. Raises Refused."""
    found = observe.endpoints(site)
    homes = {
        name: found[gateway.of].home for name, gateway in site.gateways.items() if isinstance(gateway, ClusterNode)
    }
    return {name: at.at_home(homes[name]) if name in homes else at for name, at in found.items()}


def _rows(gateway: str, answer: Any) -> list[Row]:
    if isinstance(answer, Absent | Asleep):
        return [Row(gateway, "gateway", None, str(answer))]
    if isinstance(answer, Exception):
        return [Row(gateway, "gateway", False, str(answer), "unreachable", hint=getattr(answer, "hint", ""))]
    return [Row(gateway, **row) for row in answer]
