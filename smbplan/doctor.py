"""Whether everything that a site needs is there: every gateway, and node, is asked once, all at the same time."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath
from shutil import which
from typing import Any

from smbplan.drivers.channel import Channel, Counts, timed
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, Asleep, ChannelError, Unreachable
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.pve import machine_templates
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.cluster import Cluster
from smbplan.drivers.pve.errors import Denied
from smbplan.drivers.secrets import REFERENCE, MissingSecret, Secrets
from smbplan.drivers.targets import Connect
from smbplan.kinds import privileges
from smbplan.kinds.guest import CLUSTER
from smbplan.kinds.names import shares_of
from smbplan.spec.model import Share, Site

CLOCK = 5.0  # seconds; Kerberos bears 300, but logs and snapshots should tell the same time everywhere
PYTHON = (3, 9)  # what the agent runs on
HERE = "here"


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `fix` says what to do unless it is ok."""

    place: str  # a gateway, or `here`: this machine
    check: str
    state: State
    summary: str
    fix: str = ""
    commands: tuple[str, ...] = ()  # for a shell of any node of the cluster, as root


@dataclass(frozen=True, slots=True)
class _Cluster:
    """What a cluster tells of itself and of the token in use."""

    token: str
    version: str
    held: privileges.Held
    roles: Mapping[str, list[str]]
    nodes: list[Finding]
    bases: frozenset[str]  # storages on which the templates of linked clones lie
    bridges: frozenset[str]  # of the templates of VMs


def examine(site: Site, endpoints: Mapping[str, Endpoint], connect: Connect = Channel) -> list[Finding]:
    """This machine first, then the gateways as they are defined."""
    found = list(_here(site))
    with Fleet(site.site, endpoints, connect) as fleet:
        # Of a cluster's nodes, that tells; and of what several gateways are together, they themselves.
        hosts = [name for name, at in endpoints.items() if not (at.node or at.nodes or at.of)]
        answers = fleet.each(hosts, lambda target: _ask(fleet, target, site, connect))
    for target, answer in answers.items():
        if isinstance(answer, Absent | Asleep):
            found.append(Finding(target, "container", State.OK, str(answer)))
        elif isinstance(answer, Exception):
            found.append(_unreached(target, answer))
            if target == CLUSTER and (isinstance(answer, MissingSecret) or getattr(answer, "status", 0) == 401):
                found[-1] = replace(found[-1], commands=_all_commands(site, endpoints[target]))
        elif isinstance(answer, _Cluster):
            found.append(Finding(target, "API", State.OK, f"Proxmox VE {answer.version}"))
            found += [*_privileges(site, answer), *answer.nodes]
        else:
            found += _gateway(site, target, *answer)
    return found


def _here(site: Site) -> Iterator[Finding]:
    if any(gateway.connection == "ssh" for gateway in site.gateways.values()):
        there = which("ssh") is not None
        yield _finding(HERE, "ssh", there, "installed" if there else "not installed", "apt-get install openssh-client")
    secrets = Secrets()
    for name, user in site.users.items():
        if user.password is None or user.external:
            continue
        try:
            secrets.resolve({REFERENCE: user.password.model_dump(exclude_none=True)})
            yield Finding(HERE, f"secret of {name}", State.OK, "found")
        except MissingSecret as error:
            yield Finding(HERE, f"secret of {name}", State.MISSING, error.summary, error.hint)


def _ask(fleet: Fleet, target: str, site: Site, connect: Connect) -> Any:
    """Of a host its facts, the directories that exist, and the seconds its clock is ahead.

    Raises ChannelError.
    """
    channel = fleet.channel(target)
    channel.open()
    if isinstance(channel, Cluster):
        return _cluster(channel, fleet.endpoints[target], site, connect)
    keys = [["directory", path, {}] for path in _roots(site, target)]
    answer, middle = timed(lambda: fleet.ask(target, "read", site=site.site, keys=keys))
    there = {name for type_, name, found in answer["states"] if type_ == "directory" and found.get("state")}
    return answer["facts"], there, answer["facts"]["time"] - middle


def _cluster(channel: Cluster, endpoint: Endpoint, site: Site, connect: Connect) -> _Cluster:
    """Raises ApiError."""
    client = channel.guests.client
    held = client.get("access/permissions")
    roles = {row["roleid"]: str(row.get("privs", "")).split(",") for row in client.get("access/roles")}
    try:
        rows = [row for row in client.get("cluster/status") if row["type"] == "node"]
    except Denied:
        rows = [{"name": row["node"], "online": row["status"] == "online"} for row in client.get("nodes")]

    def look(row: Mapping[str, Any]) -> Finding:
        name = row["name"]
        if not row.get("online"):
            return Finding(CLUSTER, f"node {name}", State.WARNING, "offline", "look at `pvecm status`")
        node = connect(replace(endpoint, name=name, host=row.get("ip") or name, api=None), Counts())
        try:
            facts = node.request("read", site=site.site, keys=[])["facts"]
        except ChannelError as error:
            summary = str(error).removeprefix(f"{name}: ")
            return Finding(CLUSTER, f"node {name}", State.MISSING, summary, error.hint.replace("ssh.", "proxmox.ssh."))
        finally:
            node.close()
        words = f"root by SSH, {'with' if facts['pct'] else 'without'} pct"
        return _finding(CLUSTER, f"node {name}", facts["pct"], words, f"is {name} a node of Proxmox VE? write its ssh")

    with ThreadPoolExecutor(max(1, min(32, len(rows)))) as pool:
        nodes = list(pool.map(look, rows))
    return _Cluster(client.access.token, channel.version, held, roles, nodes, *_templates(client, site))


def _templates(client: Client, site: Site) -> tuple[frozenset[str], frozenset[str]]:
    """Storages and bridges of the templates of its VMs, as far as the token sees any. Raises ApiError."""
    gateways = [gateway for gateway in site.gateways.values() if gateway.mode == "vm"]
    known, everywhere = (machine_templates.every(client), machine_templates.shared(client)) if gateways else ([], set())
    bases, bridges = set[str](), set[str]()
    for gateway in gateways:
        one = machine_templates.fitting(known, gateway.node, gateway.template or "", everywhere)
        if one:
            bases |= {*one.bases} if gateway.clone == "linked" else set()
            bridges |= {*one.bridges}
    return frozenset(bases), frozenset(bridges)


def _privileges(site: Site, cluster: _Cluster) -> Iterator[Finding]:
    """What the token in use lacks, and what grants it; for an administrator's token, how to make one that is less."""
    token, wanted = cluster.token, privileges.grants(site, cluster.version, cluster.bases, cluster.bridges)
    lacking = {grant: names for grant in wanted if (names := privileges.missing(grant, cluster.held))}
    lines = privileges.commands(token, list(lacking), cluster.roles, there=True) if lacking else []
    for grant, names in lacking.items():
        words, fix = f"{token} lacks {', '.join(names)} on {grant.path}", "run the commands below"
        if "VM.Clone" in grant.role.privileges and "VM.Audit" in names:
            fix += ", and doctor again: it sees no templates yet, nor what is needed of them"
        yield Finding(CLUSTER, "privileges", State.MISSING, words, fix, tuple(lines))
        lines = []  # they are told once, for all
    if not lacking:
        words = f"{token} may do all that the site needs"
        if token.startswith("root@pam!"):
            words += ", and far more; the commands below make one that may do no more"
            lines = privileges.commands(privileges.OWN, wanted, cluster.roles, there=False)
        yield Finding(CLUSTER, "privileges", State.OK, words, "", tuple(lines))


def _all_commands(site: Site, endpoint: Endpoint) -> tuple[str, ...]:
    """Those that make the token of the site, which may not be there yet."""
    token = endpoint.api["token"]["id"] if endpoint.api else ""
    return tuple(privileges.commands(token, privileges.grants(site), {}, there=False))


def _unreached(target: str, error: Exception) -> Finding:
    summary = str(error).removeprefix(f"{target}: ")
    check = "root" if isinstance(error, Unreachable) and ("root" in summary or "sudo" in summary) else "reachable"
    return Finding(target, check, State.MISSING, summary, getattr(error, "hint", ""))


def _gateway(site: Site, target: str, facts: Mapping[str, Any], there: set[str], ahead: float) -> Iterator[Finding]:
    gateway = site.gateways[target]
    yield Finding(target, "reachable", State.OK, f"{facts['hostname']}, {facts['release'] or 'unknown release'}")
    become = "by sudo" if gateway.ssh.sudo and gateway.connection == "ssh" else "is root"
    yield Finding(target, "root", State.OK, become)
    recent = tuple(int(part) for part in facts["python"].split(".")[:2]) >= PYTHON
    yield _finding(target, "python", recent, facts["python"], "upgrade the host: Python 3.9 is the oldest that will do")
    systemd = "running" if facts["systemd"] else "not running"
    yield _finding(target, "systemd", facts["systemd"], systemd, "use a host whose init is systemd")
    yield _samba(target, facts)
    yield _clock(target, ahead)
    yield from _tools(target, shares_of(site, target), facts)
    yield from _directories(site, target, there)


def _samba(target: str, facts: Mapping[str, Any]) -> Finding:
    if facts["samba"]:
        return Finding(target, "samba", State.OK, "installed")
    if facts["apt"]:
        return Finding(target, "samba", State.OK, "not installed; apply installs it")
    return Finding(target, "samba", State.MISSING, "not installed, and there is no apt", "install Samba by hand")


def _clock(target: str, ahead: float) -> Finding:
    if abs(ahead) <= CLOCK:
        return Finding(target, "clock", State.OK, "agrees with this machine's")
    words = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    return Finding(target, "clock", State.WARNING, words, "apt-get install systemd-timesyncd, or chrony")


def _tools(target: str, shares: Mapping[str, Share], facts: Mapping[str, Any]) -> Iterator[Finding]:
    for tool, package in (("btrfs", "btrfs-progs"), ("zfs", "zfsutils-linux")):
        users = sorted(name for name, share in shares.items() if getattr(share.storage, tool))
        if users:
            words = f"{'installed' if facts[tool] else 'not installed'}; needed by {', '.join(users)}"
            yield _finding(target, tool, facts[tool], words, f"apt-get install {package}")


def _roots(site: Site, target: str) -> list[str]:
    """The roots that the gateway's shares lie in."""
    gateway, paths = site.gateways[target], [share.storage.path for share in shares_of(site, target).values()]
    return sorted({root for path in paths for root in gateway.roots if PurePosixPath(path).is_relative_to(root)})


def _directories(site: Site, target: str, there: set[str]) -> Iterator[Finding]:
    for root in _roots(site, target):
        words = "there" if root in there else "not there"
        yield _finding(target, f"root {root}", root in there, words, f"mount or make {root} on {target}")


def _finding(place: str, check: str, good: bool, summary: str, fix: str) -> Finding:
    return Finding(place, check, State.OK if good else State.MISSING, summary, "" if good else fix)
