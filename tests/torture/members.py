"""Where troubles are tried with a cluster, and with a member of a domain."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from lab import ad, ha, lxc
from lab.faults import nodes
from lab.site import Site
from torture import person
from torture.cases import Ground
from torture.troubles import RESTART, Place

from smbplan.kinds.guest import CLUSTER

MANY = frozenset({"many-deletes", "many-updates"})
GONE: dict[str, Any] = {"destroy": True, "purge": True, "delete_data": True, "allow": MANY}
FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf")
FOUNDED, DISSOLVED = 3.0, 1.0  # seconds from the first change of a cluster to the midst of it
DATABASES = "file /var/lib/ctdb/"  # compared by what they hold
WELL = "timeout 60 sh -c 'until ctdb nodestatus all >/dev/null; do sleep 0.2; done' || :"
SERVED = """
net conf list || :; pdbedit -L -w | sed 's/:LCT.*//' || :; net getlocalsid | sed 's/.* is//' || :
ctdb -X ip all | cut -d'|' -f2 || :
"""
# What is anew with each account, and with each name in DNS that was deleted before. No person can write our mark.
ANEW = ("objectGUID", "objectSid", "pwdLastSet", "whenCreated", "dNSTombstoned", "description")
ANEW_HERE = ("file /etc/krb5.keytab", "file /var/lib/smbplan/member.json")
State = dict[str, dict[str, object]]


def cluster_made(site: Site) -> Ground:
    """There is none, and what it needs is installed: packages stay when a run is rolled back."""

    def back() -> None:
        site.applied(**GONE)
        _installed(site)

    def look() -> State:
        return {**ha.seen(site), "cluster": dict.fromkeys(_addresses(site), 1)}

    _installed(site)
    return _cluster(site, look, back, FOUNDED)


def cluster_removed(site: Site) -> Ground:
    """It serves, and goes as far as it can come back."""

    def look() -> State:
        for node in ha.NODES.values():
            site.shell(node, WELL)
        seen = ha.seen(site)
        files = {node: {name: seen[node][name] for name in seen[node] if DATABASES not in name} for node in seen}
        return {**files, "cluster": dict.fromkeys(site.shell("pve1", SERVED).splitlines(), 1)}

    site.applied()
    ground = _cluster(site, look, site.applied, DISSOLVED, destroy=True, allow=MANY)
    ground.another = True
    return ground


def cluster_of_members_made(site: Site) -> Ground:
    """The same, which is a member of a domain from the beginning."""

    def look() -> State:
        return {**ha.seen(site), "dc1": dict.fromkeys(ad.directory(site), 1)}

    def back() -> None:
        site.applied(**GONE)
        _installed(site)

    _installed(site)
    return _cluster(site, look, back, FOUNDED, FILES, ad.password(site))


def cluster_of_containers_made(site: Site) -> Ground:
    """Neither the cluster is there nor its nodes."""

    def back() -> None:
        site.applied(**GONE)
        site.shell("pve1", f"rm -rf {ha.SHARED}/drawings {ha.SHARED}/projects")

    def api() -> None:
        for node in ha.NODES.values():
            site.shell(node, "systemctl restart pveproxy")

    there = {name: _container(site, name, node) for name, node in ha.NODES.items()}
    for node in ha.NODES.values():
        at = Place(partial(site.shell, node), partial(site.shell, node, RESTART), f"{CLUSTER}:{node}")
        there |= {node: at, f"{CLUSTER}:{node}": at}
    there[CLUSTER] = Place(there["pve1"].shell, api, CLUSTER)
    there |= {"files": there["files1"], "@ha:files": replace(there["files1"], midst=FOUNDED)}
    return Ground(site, partial(ha.seen, site), there, back, {})


def _container(site: Site, name: str, node: str) -> Place:
    def inside(script: str) -> str:
        words = ["--clear-env", "--", "sh", "-ec", script]
        return site.run(node, "lxc-attach", "-n", lxc.vmid(site, name, node), *words)

    return Place(inside, lambda: site.run(node, "pct", "reboot", lxc.vmid(site, name, node)), name)


def _installed(site: Site) -> None:
    site.applied(targets=tuple(f"packages.{name}" for name in ha.NODES))


def _addresses(site: Site) -> list[str]:
    """Those that nodes have, and where."""
    return [f"{node} {line}" for node in ha.NODES.values() for line in site.shell(node, LISTED).splitlines()]


LISTED = "ip -o addr show scope global | awk '{print $2, $4}'"


def _cluster(
    site: Site,
    look: Callable[[], State],
    back: Callable[[], object],
    midst: float,
    files: Sequence[str] = (),
    password: str = "",
    **wish: object,
) -> Ground:
    """What all nodes do is met by the first of them; that is where one goes for what the cluster serves."""
    places = {name: person.host(site, node, files, password) for name, node in ha.NODES.items()}
    first = places["files1"]
    places |= {"files": first, "@ha:files": replace(first, midst=midst)}
    return Ground(site, look, places, back, wish)


def member_made(site: Site) -> Ground:
    def look() -> State:
        return {**nodes(site, ["pve1"]), "dc1": dict.fromkeys(ad.directory(site), 1)}

    return _member(site, look, partial(site.applied, **GONE))


def member_removed(site: Site) -> Ground:
    """It serves, and goes. When it comes back it has another account, of the same name, with the same rights."""

    def look() -> State:
        host = {_named(row, names): value for row, value in nodes(site, ["pve1"])["pve1"].items()}
        kept = [row for row in ad.directory(site) if row.split(": ")[2] not in ANEW]
        return {"pve1": {**host, **{name: name in host for name in ANEW_HERE}}, "dc1": dict.fromkeys(kept, 1)}

    site.applied()
    names = _names(site)
    return _member(site, look, site.applied, destroy=True, allow=MANY)


def _names(site: Site) -> dict[str, str]:
    """Of the SIDs in the shares' lists, as they stand in a snapshot."""
    found = {*re.findall(r"S-1-5-21-[0-9-]+", site.shell("pve1", "net conf list"))}
    return {sid: site.shell("pve1", f"wbinfo -s {sid}").rpartition(" ")[0].replace("\\", "\\\\") for sid in found}


def _named(row: str, names: dict[str, str]) -> str:
    """Smbplan writes SIDs into lists, and a person names: to Samba they are the same."""
    if not row.startswith("registry"):
        return row
    for sid, name in names.items():
        row = row.replace(sid, name)
    return re.sub('["@]', "", row).lower()


def _member(site: Site, look: Callable[[], State], back: Callable[[], object], **wish: object) -> Ground:
    return Ground(site, look, {"files": person.host(site, "pve1", FILES, ad.password(site))}, back, wish)
