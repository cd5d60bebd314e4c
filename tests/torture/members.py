"""Where troubles are tried with a cluster, and with a member of a domain."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from lab import ad, ha
from lab.faults import nodes
from lab.site import Site
from torture import person
from torture.cases import Ground

MANY = frozenset({"many-deletes", "many-updates"})
GONE: dict[str, Any] = {"destroy": True, "purge": True, "delete_data": True, "allow": MANY}
FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf")
FOUNDED, DISSOLVED = 3.0, 1.0  # seconds from the first change of a cluster to the midst of it
DATABASES = "file /var/lib/ctdb/"  # compared by what they hold
SERVED = """
timeout 30 sh -c 'until [ "$(ctdb -X ip all | grep -c "[|][0-9][|]")" = 3 ]; do sleep 0.2; done' || :
net conf list || :; pdbedit -L -w | sed 's/:LCT.*//' || :; net getlocalsid | sed 's/.* is//' || :
ctdb -X ip all | cut -d'|' -f2 || :
"""
State = dict[str, dict[str, object]]


def cluster_made(site: Site) -> Ground:
    """There is none, and what it needs is installed: packages stay when a run is rolled back."""

    def back() -> None:
        site.applied(**GONE)
        _installed(site)

    def look() -> State:
        return {**ha.seen(site), "cluster": dict.fromkeys(_addresses(site))}

    _installed(site)
    return _cluster(site, look, back, FOUNDED)


def cluster_removed(site: Site) -> Ground:
    """It serves, and goes as far as it can come back."""

    def look() -> State:
        seen = ha.seen(site)
        files = {node: {name: seen[node][name] for name in seen[node] if DATABASES not in name} for node in seen}
        return {**files, "cluster": dict.fromkeys(site.shell("pve1", SERVED).splitlines())}

    site.applied()
    return _cluster(site, look, site.applied, DISSOLVED, destroy=True, allow=MANY)


def _installed(site: Site) -> None:
    site.applied(targets=tuple(f"packages.{name}" for name in ha.NODES))


def _addresses(site: Site) -> list[str]:
    """Those that nodes have, and where."""
    return [f"{node} {line}" for node in ha.NODES.values() for line in site.shell(node, LISTED).splitlines()]


LISTED = "ip -o addr show scope global | awk '{print $2, $4}'"


def _cluster(site: Site, look: Callable[[], State], back: Callable[[], object], midst: float, **wish: object) -> Ground:
    """What all nodes do is met by the first of them; that is where one goes for what the cluster serves."""
    places = {name: person.host(site, node, ()) for name, node in ha.NODES.items()}
    first = places["files1"]
    places |= {"files": first, "@ha:files": replace(first, midst=midst)}
    return Ground(site, look, places, back, wish)


def member_made(site: Site) -> Ground:
    return _member(site, partial(site.applied, **GONE))


def member_removed(site: Site) -> Ground:
    site.applied()
    return _member(site, site.applied, destroy=True, allow=MANY)


def _member(site: Site, back: Callable[[], object], **wish: object) -> Ground:
    def look() -> State:
        return {**nodes(site, ["pve1"]), "dc1": dict.fromkeys(ad.directory(site), 1)}

    return Ground(site, look, {"files": person.host(site, "pve1", FILES, ad.password(site))}, back, wish)
