"""Gateways that are containers on Proxmox VE: unprivileged, found by the mark in their description. pct(1)"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.kinds import guest
from smbplan.spec.model import Gateway, Site

FIXED = ("unprivileged", "nesting")
AT_START = ("hostname", "nameserver", "searchdomain")  # what a running container gets only when it starts again


class Container(Kind):
    name, title, object = "lxc.container", "container", "container"
    marked = True

    def canonical(self, state: State) -> State:
        """Its volumes are resources of their own."""
        return None if state is None else {name: value for name, value in state.items() if name != "volumes"}

    def guard(self, raw: State) -> State:
        return None if raw is None else {**raw, "volumes": None}

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        """Where it is, it stays; so do the tags and MAC addresses that it has got since."""
        desired = {name: value for name, value in desired.items() if name != "template"}
        if live is None:
            return desired
        wanted = super().complete(desired, live)
        wanted["node"] = live["node"]
        wanted["tags"] = sorted({*wanted["tags"], *live["tags"]})
        wanted["networks"] = networks(wanted, live)
        return wanted

    def options(self, resource: Resource) -> Mapping[str, Any]:
        return {"template": resource.desired["template"]}

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if record.original is not None:
            return Removal({**record.original, "mark": None}, reason="was there before")
        mounted = all(path[:1] == "/" for path in live.get("volumes") or [])
        return guest.removal(live, self.canonical(live), record, options, mounted)

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        item = change.resource
        if change.removal and change.removal.after is None and change.before["protection"]:
            yield guest.protected(change, f"container {change.before['vmid']}", "removes it")
        if item is None or change.before is None:
            return
        yield from guest.shrinking(change, "its root disk", item.desired["disk"], change.before["disk"])
        for name in FIXED:
            if change.before[name] != item.desired[name]:
                yield Hazard(
                    change.address,
                    f"{name} can't be changed in a container that exists",
                    "change it with pct on its node, or remove the container first (its volumes can be kept)",
                    origin=item.origin,
                )
        yield from guest.chosen(change, "pct move-volume")

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        name = change.address.removeprefix(f"{self.name}.")
        yield from guest.drops(change, guest.told(facts, name))
        stays = change.before and change.after and not change.removal
        late = [key for key in AT_START if stays and change.before[key] != change.after[key]]
        if late and guest.told(facts, name).get("running"):
            yield f"{' and '.join(late)} {'takes' if len(late) == 1 else 'take'} effect at its next start"


KIND = Container()


def address(gateway: str) -> str:
    return f"{KIND.name}.{gateway}"


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        if gateway.mode == "lxc":
            yield Resource(
                address(name),
                KIND.name,
                guest.CLUSTER,
                Key(KIND.object, name),
                _desired(name, gateway),
                on_destroy=guest.on_destroy(site, name),
            )


def _desired(name: str, gateway: Gateway) -> dict[str, Any]:
    return {
        **common(name, gateway),
        "template": gateway.template,
        "swap": gateway.swap >> 20,
        "unprivileged": True,
        "nesting": True,
    }


def common(name: str, gateway: Gateway) -> dict[str, Any]:
    """What is wanted of a guest of either sort."""
    network = gateway.network
    eth0 = {
        "bridge": network.bridge,
        "vlan": _words(network.vlan),
        "address": network.address,
        "gateway": network.gateway,
        "address6": network.address6,
        "gateway6": network.gateway6,
        "mtu": _words(network.mtu),
        "firewall": "1" if network.firewall else None,
    }
    return {
        "vmid": gateway.vmid,
        "node": gateway.node,
        "storage": gateway.storage,
        "hostname": name,
        "cores": gateway.cores,
        "memory": gateway.memory >> 20,
        "disk": gateway.disk,
        "networks": {"eth0": {key: value for key, value in eth0.items() if value is not None}},
        "nameserver": gateway.nameserver or "",
        "searchdomain": gateway.searchdomain or "",
        "onboot": gateway.onboot,
        "startup": gateway.startup or "",
        "tags": sorted({*gateway.tags, guest.TAG}),
        "protection": gateway.protection,
        "pool": gateway.pool or "",
    }


def networks(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The interfaces that are wanted, with the MAC addresses that they have."""
    return {
        name: {**{key: value for key, value in network.items() if value is not None}, **_mac(live, name)}
        for name, network in wanted["networks"].items()
    }


def _words(number: int | None) -> str | None:
    return None if number is None else str(number)


def _mac(live: Mapping[str, Any], name: str) -> dict[str, str]:
    network = live["networks"].get(name, {})
    return {"mac": network["mac"]} if "mac" in network else {}
