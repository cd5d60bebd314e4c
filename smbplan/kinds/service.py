"""systemd units: smbd, the network view's daemons, and the timers of shares."""

from collections.abc import Iterator, Sequence

from smbplan.engine.kind import Change, Kind
from smbplan.engine.resource import Key, Resource, State
from smbplan.engine.step import Call
from smbplan.kinds import mounts, schedule, updates
from smbplan.kinds.names import address, unit
from smbplan.spec.clusters import ClusterNode
from smbplan.spec.model import Site

RUNNING = {"active": True, "enabled": True}
LED = {"active": None, "enabled": False}  # of what CTDB starts and stops


class Service(Kind):
    name, title, object = "service", "service", "service"
    uses = True

    def blank(self, resource: Resource) -> State:
        """A unit that smbplan writes is not there before; one of a package, nobody knows."""
        written = resource.key.name.startswith(schedule.PREFIX) or resource.key.name.endswith(".mount")
        return dict.fromkeys(RUNNING, False if written else None)

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        """smbd is to find winbindd when it becomes a member."""
        item = change.resource or change.record
        led = item is not None and bool(item.alias)  # on a node of a cluster, CTDB starts and stops it
        return (("restart", Call("restart")),) if change.address.endswith(".winbind") and not led else ()


KIND = Service()


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        packages, config = address("packages", name), address("config", name)
        for daily in updates.timers(gateway):
            key, needed = Key("service", f"{daily}.timer"), (updates.file(name),)
            yield Resource(updates.timer(name, daily), KIND.name, name, key, RUNNING, needed)
        led = isinstance(gateway, ClusterNode)
        state = LED if led else RUNNING
        if gateway.domain:
            joined = () if led else (address("member", name),)
            key = Key("service", "winbind")
            yield Resource(address("winbind", name), KIND.name, name, key, state, (packages, config, *joined))
        after = (packages, config, *(updates.timer(name, daily) for daily in updates.timers(gateway)))
        after += (address("winbind", name), f"host.nss.{name}") if gateway.domain else ()
        yield Resource(address("smbd", name), KIND.name, name, Key("service", "smbd"), state, after)
        if gateway.discovery:
            yield Resource(
                f"service.{name}.wsdd",
                KIND.name,
                name,
                Key("service", "wsdd"),
                RUNNING,
                (packages,),
                f"discovery.{name}",
            )
            yield Resource(
                f"service.{name}.avahi-daemon",
                KIND.name,
                name,
                Key("service", "avahi-daemon"),
                RUNNING,
                (packages, f"file.{name}.mdns"),
                f"discovery.{name}",
            )
    for mount in mounts.of_machines(site):
        key, after = Key("service", mount.name), (mounts.file(mount.share), mount.after)
        where = mounts.address(site, mount.share, site.shares[mount.share])
        yield Resource(where, KIND.name, mount.target, key, RUNNING, after, unit(mount.share))
    for name, share in site.shares.items():
        for timer in schedule.timers(site, name, share):
            files = tuple(f"file.{name}.{file}" for file in timer.files())
            yield Resource(
                f"service.{name}.{timer.what}",
                KIND.name,
                timer.target,
                Key("service", timer.name),
                RUNNING,
                files,
                unit(name),
            )
