"""What is there: where the targets of a site are, their live states, and testparm's opinion of a plan."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, Asleep, ChannelError
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.secrets import REFERENCE, MissingSecret
from smbplan.engine.kind import Hazard, Options
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Key, Live, Resource
from smbplan.errors import Refused, Trouble
from smbplan.kinds import cluster as ha
from smbplan.kinds import config, guest, ids, kinds, member, mounts, updates, virtiofs
from smbplan.kinds.guest import CLUSTER
from smbplan.spec.clusters import ClusterNode
from smbplan.spec.model import Gateway, Site
from smbplan.spec.proxmox import Proxmox
from smbplan.store import runs


def endpoints(site: Site) -> dict[str, Endpoint]:
    """Raises Refused for a lab that is not up."""
    found = _hosts(site)
    for name, gateway in site.gateways.items():
        if gateway.nodes and gateway.ha:
            home, whole = gateway.ha.state(name), ha.target(name)
            nodes = {node: found[node].as_json() for node in gateway.nodes}
            known = runs.peers(site.site).get(whole, {}).get("nodes") or {}
            former = {node: data for node, data in known.items() if node not in found}
            found[whole] = Endpoint(whole, home=home, nodes=nodes, former=former or None)
            found[name] = Endpoint(name, home=home, of=whole)
    return found


def _hosts(site: Site) -> dict[str, Endpoint]:
    if site.proxmox is None or not any(gateway.guest for gateway in site.gateways.values()):
        return {name: _endpoint(name, gateway, None) for name, gateway in site.gateways.items()}
    proxmox = _written_out(site.proxmox)
    found = {name: _endpoint(name, gateway, proxmox) for name, gateway in site.gateways.items()}
    nodes = {host: Endpoint(host, node=node, **proxmox.ssh.model_dump()) for host, node in _nodes(site).items()}
    return {CLUSTER: cluster(proxmox), **nodes, **found}


def cluster(written: Proxmox | Literal["lab"]) -> Endpoint:
    """A cluster's API, and the way to its nodes; the token's secret stays a reference. Raises Refused."""
    proxmox = _written_out(written)
    api = proxmox.model_dump(exclude_none=True, exclude={"ssh"})
    api["token"]["secret"] = {REFERENCE: api["token"]["secret"]}
    return Endpoint(CLUSTER, api=api, **proxmox.ssh.model_dump())


def _written_out(written: Proxmox | Literal["lab"]) -> Proxmox:
    """For `lab` the cluster of the lab that SMBPLAN_LAB names in place of `default`."""
    if written != "lab":
        return written
    from smbplan.lab import Lab, LabError

    try:
        return Proxmox.model_validate(Lab(os.environ.get("SMBPLAN_LAB") or "default").proxmox)
    except LabError as error:
        raise Refused(Trouble(error.summary, error.hint)) from None


def located(fleet: Fleet, site: Site) -> Site:
    """The site with every guest's `node` as it is now: what is below a guest follows it, whatever its file says."""
    if CLUSTER not in fleet.endpoints:
        return site
    nodes = sorted({gateway.node for gateway in site.gateways.values() if gateway.mode == "lxc" and gateway.node})
    places = fleet.each([CLUSTER], lambda target: fleet.ask(target, "places", nodes=nodes))[CLUSTER]
    if isinstance(places, Exception):
        return site  # the reading, which comes next, meets the same trouble, and tells it
    moved = {
        name: gateway.model_copy(update={"node": places[name]})
        for name, gateway in site.gateways.items()
        if gateway.guest and places.get(name, gateway.node) != gateway.node
    }
    found = site.model_copy(update={"gateways": {**site.gateways, **moved}})
    fleet.endpoints = endpoints(found)
    return found


def _nodes(site: Site) -> dict[str, str]:
    """{target: node} of the nodes below guests on which something is to be set."""
    found = {name: gateway.node for name, gateway in site.gateways.items() if gateway.guest and gateway.node}
    return {
        guest.host(site, name): node
        for name, node in found.items()
        if guest.binds(site, name) or ids.own(site, name) or isinstance(site.gateways[name], ClusterNode)
    }


def _endpoint(name: str, gateway: Gateway, proxmox: Proxmox | None) -> Endpoint:
    if gateway.mode == "vm" and gateway.connection == "ssh":
        return Endpoint(name, guest=name, host=gateway.host or "", by_ssh=True, **gateway.ssh.model_dump())
    if gateway.guest and proxmox:
        return Endpoint(name, guest=name, **proxmox.ssh.model_dump())
    here = gateway.connection == "local"
    return Endpoint(name, local=here, host=gateway.host or name, **gateway.ssh.model_dump())


def observe(
    fleet: Fleet, wanted: Sequence[Resource], options: Options, proxmox: Proxmox | Literal["lab"] | None = None
) -> tuple[dict[str, Live], list[Hazard]]:
    """One round trip to every gateway at once; one more where a peer tells of a gateway that was dropped."""
    keys: dict[str, dict[Key, Mapping[str, Any]]] = {target: {} for target in fleet.endpoints}
    for item in wanted:
        keys[item.target][item.key] = kinds()[item.kind].reads(item)
    live: dict[str, Live] = {}
    hazards: list[Hazard] = []
    read(fleet, keys, live, hazards)
    _fill_in(live, wanted)
    known = peers(fleet, live, proxmox)
    known |= {name: Endpoint(**data) for name, data in runs.peers(fleet.site).items()}
    unknown = [name for name in options.forget if name not in known]
    if unknown:
        raise Refused(Trouble(f"--forget {unknown[0]}: the site has no such gateway that was dropped"))
    dropped = {name: endpoint for name, endpoint in known.items() if name not in keys and name not in options.forget}
    addresses = {endpoint.address for endpoint in fleet.endpoints.values()}
    moved = [name for name, at in dropped.items() if at.address in addresses]
    for name in moved:
        del dropped[name]  # the gateway was renamed: its inventory has just been read
    fleet.endpoints.update(dropped)
    read(fleet, {name: {} for name in dropped}, live, hazards, "; --forget {} drops it from the site")
    return live, [*hazards, *_twice(fleet, live)]


def _twice(fleet: Fleet, live: Mapping[str, Live]) -> list[Hazard]:
    """A host has one inventory and one lock: it can't be a gateway, and below another one's guest, in one site."""
    found, seen = [], dict[str, str]()
    for target in sorted(live, reverse=True):
        at, machine = fleet.endpoints[target], str(live[target].facts.get("machine") or "")
        if not machine or at.guest or at.api:
            continue
        if machine in seen:
            words = f"{seen[machine]} is the node on which folders and ids of other gateways' guests are set"
            hint = "write those guests in a site of their own, or use volume: STORAGE for their shares"
            found.append(Hazard(f"gateway.{seen[machine]}", words, hint))
        seen[machine] = target
    return found


def orphaned(site: Site, asleep: Collection[str], options: Options) -> list[Hazard]:
    """Members that would go without leaving, since nobody can be asked in a guest that does not run."""
    if not options.destroy or member.ORPHAN in options.allow:
        return []
    words, hint = "it does not run, so that its account in the domain would stay", "start it, or --allow orphan-account"
    gone = [name for name in sorted(asleep) if name in site.gateways and site.gateways[name].domain]
    gone = [name for name in gone if not isinstance(site.gateways[name], ClusterNode)]
    return [Hazard(f"gateway.{name}", words, hint, member.ORPHAN) for name in gone]


SILENT = {"dns-silent", "no-controller"}  # codes of drivers.agent.ads: nobody is there


def abandoned(fleet: Fleet, site: Site, live: Mapping[str, Live]) -> list[str]:
    """The gateways with `fallback: local` that have never joined, and whose domain nobody answers for."""
    waiting = {}
    for name, gateway in site.gateways.items():
        domain = site.domains.get(gateway.domain or "")
        seen = live.get(name)
        alone = domain and domain.fallback and not isinstance(gateway, ClusterNode)
        if domain and alone and seen and not seen.states.get(Key(member.KIND.object, domain.realm)):
            waiting[name] = member.wanted(site, name, domain)
    known, asked = dict(fleet.endpoints), {name: _asked(fleet, site, name, live[name]) for name in waiting}
    for name, target in asked.items():
        if target != name:  # the guest's name servers, as it will have them
            own = site.gateways[name].nameserver
            waiting[name] = {**waiting[name], "nameservers": [own] if own else []}
    # A node is asked for all its guests, one after the other: a channel has one question at a time.
    of = {target: [name for name in waiting if asked[name] == target] for target in dict.fromkeys(asked.values())}
    answers = fleet.each(
        list(of),
        lambda target: [fleet.ask(target, "domain", wanted=waiting[name], login=None) for name in of[target]],
    )
    fleet.endpoints = known
    found = [
        (name, rows)
        for target, names in of.items()
        if isinstance(answers[target], list)
        for name, rows in zip(names, answers[target], strict=True)
    ]
    return [name for name, rows in found if _silent(rows)]


def _asked(fleet: Fleet, site: Site, name: str, seen: Live) -> str:
    """Who looks for controllers: the gateway, or its node while its guest is not there yet."""
    first = next(iter(site.gateways[name].nodes), name)  # of a cluster, any node may look
    node = site.gateways[first].node
    if not (seen.facts.get("absent") and node):
        return name
    target = guest.host(site, first)
    fleet.endpoints.setdefault(target, replace(fleet.endpoints[CLUSTER], name=target, api=None, node=node))
    return target


def _silent(rows: list[dict[str, Any]]) -> bool:
    return any(row["code"] in SILENT for row in rows)


def peers(fleet: Fleet, live: Mapping[str, Live], proxmox: Proxmox | Literal["lab"] | None) -> dict[str, Endpoint]:
    """The peers of which hosts tell; guests are not asked. Guests and nodes are reached by the site's own cluster."""
    found = {}
    for target, at in list(fleet.endpoints.items()):
        speaks = target in live and not (at.guest or at.of)  # what guests share, any of them can write
        for name, data in live[target].peers.items() if speaks else ():
            if not isinstance(data, Mapping) or data.get("name") != name or name == CLUSTER:
                continue  # no host speaks for a cluster that the site does not have
            way = at
            if data.get("guest") or data.get("node"):
                if proxmox is None:
                    words = f"gateway {name} was a guest of a cluster that the site does not define any more"
                    raise Refused(
                        Trouble(words, f"write proxmox: again, or --forget {name}", address=f"gateway.{name}")
                    )
                way = fleet.endpoints.setdefault(CLUSTER, cluster(proxmox))
            found[name] = way.told(data)
    return found


def _fill_in(live: dict[str, Live], wanted: Sequence[Resource]) -> None:
    """What nobody can see yet: all that is in a guest that is not there, and what lies behind a mount to be made."""
    there = {item.address: live[item.target].states.get(item.key) for item in wanted if item.target in live}
    for item in wanted:
        seen = live.get(item.target)
        if seen is None or not (seen.facts.get("absent") or mounts.is_hidden(item, there)):
            continue
        state = kinds()[item.kind].blank(item)
        states = {key: known for key, known in seen.states.items() if key != item.key}
        live[item.target] = replace(seen, states=states if state is None else {**states, item.key: state})


def read(
    fleet: Fleet,
    keys: Mapping[str, Mapping[Key, Mapping[str, Any]]],
    live: dict[str, Live],
    hazards: list[Hazard],
    way_out: str = "",
    only: bool = False,
) -> None:
    """With `only`, nothing but the keys. Raises Refused."""
    troubles = []
    for target, answer in fleet.read_all(keys, only).items():
        if isinstance(answer, Absent | Asleep):
            live[target] = Live({"asleep": isinstance(answer, Asleep), "absent": isinstance(answer, Absent)})
        elif isinstance(answer, ChannelError):
            hint = answer.hint + way_out.format(target)
            troubles.append(Trouble(answer.summary, hint, answer.detail, f"gateway.{target}"))
        elif isinstance(answer, MissingSecret):
            troubles.append(Trouble(answer.summary, answer.hint, "", f"gateway.{target}"))
        else:
            live[target], errors = answer
            hazards += [
                Hazard(f"{target}:{key.name}", words["summary"], words["hint"]) for key, words in errors.items()
            ]
    if troubles:
        raise Refused(*dict.fromkeys(troubles))


def check(fleet: Fleet, site: Site, made: Plan, live: Mapping[str, Live]) -> list[Hazard]:
    """testparm's opinion of what would be written, before anything is."""
    texts: dict[str, str] = {}
    for name, gateway in site.gateways.items():
        new = [
            change
            for change in made.changes
            if change.target == name and change.resource and change.kind in ("samba.share", "samba.config")
        ]
        if new and live[name].facts.get("samba"):
            body = [config.content(site, name, gateway).replace("include = registry", "")]
            for change in new:
                if change.kind == "samba.share" and change.resource:
                    lines = "".join(f"   {key} = {value}\n" for key, value in change.after["params"].items())
                    body.append(f"[{change.resource.key.name}]\n{lines}")
            texts[name] = "\n".join(body)
    found = []
    for target, answer in fleet.each(list(texts), lambda name: fleet.ask(name, "check", text=texts[name])).items():
        if isinstance(answer, Exception):
            raise Refused(Trouble(str(answer), address=f"gateway.{target}"))
        found += [
            Hazard(f"samba.config.{target}", f"testparm: {line}", "correct the option; see smb.conf(5)")
            for line in answer
        ]
    return found


def pending(site: Site, live: Mapping[str, Live]) -> list[str]:
    """Warnings: updates to install, settings that wait for the next start, folders of more than one gateway."""
    facts = live[CLUSTER].facts if CLUSTER in live else {}
    found = []
    for name, gateway in site.gateways.items():
        told = guest.told(facts, name)
        inside = live[name].facts if name in live else {}
        found += [updates.warning(name, gateway, inside, told), guest.warning(name, told)]
    seen = {target: str(at.facts["machine"]) for target, at in live.items() if at.facts.get("machine")}
    return [
        *filter(None, found),
        *virtiofs.exposed(site, seen),
        *ha.rivals(site, facts.get("guests", {})),
    ]
