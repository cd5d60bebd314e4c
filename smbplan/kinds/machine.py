"""Gateways that are virtual machines on Proxmox VE: clones of a template, found by their mark. qm(1)"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.kinds import container, guest
from smbplan.spec.model import Gateway, Site

# What a running VM gets only when it starts again: PVE hot-plugs network, disks and USB (`hotplug`, qm.conf(5)).
AT_START = ("cores", "memory", "balloon", "hostname", "nameserver", "searchdomain", "ssh_keys")
UNSEEN = ("volumes", "kept")  # of its further disks, which are resources of their own
CLOUD_INIT = ("address", "gateway", "address6", "gateway6")  # of a network


class Machine(Kind):
    name, title, object = "vm.machine", "virtual machine", "machine"
    marked = True

    def canonical(self, state: State) -> State:
        return None if state is None else {name: value for name, value in state.items() if name not in UNSEEN}

    def guard(self, raw: State) -> State:
        return None if raw is None else {**raw, **dict.fromkeys(UNSEEN)}

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        """Where it is, it stays; so do the tags and MAC addresses that it has got since."""
        linked = desired.get("clone") == "linked"
        desired = {name: value for name, value in desired.items() if name not in ("template", "clone")}
        if live is None:
            return {**desired, "sockets": 1, "ciuser": "root" if desired["ssh_keys"] else ""}
        wanted = super().complete(desired, live)
        wanted["sockets"] = 1 if wanted["cores"] % live["sockets"] else live["sockets"]
        wanted["ciuser"] = live["ciuser"] or ("root" if wanted["ssh_keys"] else "")
        wanted["node"] = live["node"]
        if linked:  # its disk lies where its template's does
            wanted["storage"] = live["storage"]
        wanted["tags"] = sorted({*wanted["tags"], *live["tags"]})
        wanted["networks"] = container.networks(wanted, live)
        return wanted

    def options(self, resource: Resource) -> Mapping[str, Any]:
        return {name: resource.desired[name] for name in ("template", "clone")}

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if record.original is not None:
            return Removal({**record.original, "mark": None}, reason="was there before")
        return guest.removal(live, self.canonical(live), record, options, not live.get("kept"))

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        item = change.resource
        if change.removal and change.removal.after is None and change.before["protection"]:
            yield guest.protected(change, f"VM {change.before['vmid']}", "removes it")
        if item is not None and change.before is not None:
            yield from guest.shrinking(change, "its root disk", item.desired["disk"], change.before["disk"])
            yield from guest.chosen(change, "qm disk move")

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        name = change.address.removeprefix(f"{self.name}.")
        yield from guest.drops(change, guest.told(facts, name))
        if not (change.before and change.after and not change.removal and guest.told(facts, name).get("running")):
            return
        late = [key for key in AT_START if change.before[key] != change.after[key]]
        nets = [state["networks"].get("eth0", {}) for state in (change.before, change.after)]
        late += [key for key in CLOUD_INIT if nets[0].get(key) != nets[1].get(key)]
        if late:
            yield f"{' and '.join(late)} {'takes' if len(late) == 1 else 'take'} effect at its next start"
        if change.after["disk"] > change.before["disk"]:
            yield "the file system on its root disk grows at its next start"


KIND = Machine()


def address(gateway: str) -> str:
    return f"{KIND.name}.{gateway}"


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        if gateway.mode == "vm":
            yield Resource(
                address(name),
                KIND.name,
                guest.CLUSTER,
                Key(KIND.object, name),
                _desired(site, name, gateway),
                on_destroy=guest.on_destroy(site, name),
            )


def _desired(site: Site, name: str, gateway: Gateway) -> dict[str, Any]:
    desired = container.common(name, gateway)
    memory = desired["memory"]
    # Memory that virtiofsd shares with the guest can't be taken back from it.
    balloon = 0 if guest.binds(site, name) else gateway.balloon and gateway.balloon >> 20
    return {
        **desired,
        "template": gateway.template or "",
        "clone": gateway.clone,
        "balloon": "" if balloon in (None, memory) else balloon,
        "ssh_keys": sorted(gateway.ssh_keys),
    }
