"""Files that are wholly ours: units, scripts, announcements. The mark is a comment in their first line."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind
from smbplan.engine.resource import Key, Resource
from smbplan.engine.step import Call
from smbplan.kinds import config, mounts, schedule, updates
from smbplan.kinds.names import address, domain_of, shares_of, unit
from smbplan.spec.model import Site
from smbplan.templates import render

KERBEROS = "/etc/krb5.conf"
MDNS = "/etc/avahi/services/smbplan.service"


class File(Kind):
    name, title, object = "file", "file", "file"
    marked = True

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        """systemd keeps what it has read of a unit until it is told."""
        key = change.resource.key if change.resource else change.record.key if change.record else None
        if key is not None and key.name == config.ADOPTED:
            return (("reload", Call("reload")), *config.anew(change))
        units = key is not None and key.name.startswith(schedule.UNITS)
        return (("daemon-reload", Call("daemon-reload")),) if units else ()

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        """What is included into an smb.conf of others counts as if it stood there."""
        if change.resource and change.before and change.resource.key.name == config.ADOPTED:
            yield from config.moved_ids(
                change, config.mapped(change.before["content"]), config.mapped(change.after["content"])
            )


KIND = File()


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        shares, packages = shares_of(site, name), (address("packages", name),)
        if gateway.discovery:
            backups = [share.name or key for key, share in shares.items() if share.time_machine]
            text = render("mdns.xml.j2", backups=backups)
            yield _file(f"file.{name}.mdns", name, MDNS, text, packages, f"discovery.{name}")
        domain = domain_of(site, name)
        if domain:
            text = render("krb5.conf.j2", domain=domain)
            yield _file(f"file.{name}.krb5", name, KERBEROS, text, packages, "")
        if gateway.globals == "adopt":
            text = config.content(site, name, gateway)
            yield _file(f"file.{name}.globals", name, config.ADOPTED, text, packages, "")
        if gateway.guest:
            yield _file(updates.file(name), name, updates.PATH, updates.settings(gateway), packages, "")
    for mount in mounts.of_machines(site):
        path = f"{schedule.UNITS}{mount.name}"
        yield _file(mounts.file(mount.share), mount.target, path, mount.content, (), unit(mount.share))
    timers = [timer for name, share in site.shares.items() for timer in schedule.timers(site, name, share)]
    for target, what in sorted({(timer.target, timer.what) for timer in timers}):
        text = render(f"{what}.sh.j2")
        yield _file(_script(target, what), target, schedule.script(what), text, (), "", "0755")
    for timer in timers:
        for what, (path, text) in timer.files().items():
            after = (_script(timer.target, timer.what),)
            yield _file(f"file.{timer.share}.{what}", timer.target, path, text, after, unit(timer.share))


def _script(target: str, what: str) -> str:
    return f"file.{target.removeprefix('@')}.{what}"


def _file(
    address: str, gateway: str, path: str, content: str, after: tuple[str, ...], unit: str, mode: str = "0644"
) -> Resource:
    desired = {"content": content, "mode": mode}
    return Resource(address, KIND.name, gateway, Key(KIND.object, path), desired, after, unit)
