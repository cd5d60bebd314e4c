"""smb.conf. On a gateway of our own it is rendered from a template; on a host with foreign shares it gets one line."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from smbplan.engine.kind import Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Call
from smbplan.kinds import controllers
from smbplan.kinds.names import address, domain_of, shares_of, whole
from smbplan.kinds.options import plain
from smbplan.spec.membership import computer
from smbplan.spec.model import Gateway, Site
from smbplan.templates import render

PATH = "/etc/samba/smb.conf"
ADOPTED = "/etc/samba/smbplan.conf"  # our [global] settings on a host that keeps its own smb.conf


class Config(Kind):
    name, title, object = "samba.config", "Samba configuration", "smbconf"
    marked = True
    uses = True

    def canonical(self, state: State) -> State:
        if state is None:
            return None
        return {name: state.get(name) for name in ("mark", "content", "foreign", "include", "registry")}

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        if live and live["foreign"]:
            return {**live, "include": ADOPTED if desired["adopt"] else "registry"}
        return {"content": desired["content"], "foreign": False, "include": "", "registry": {}}

    def claims(self, live: State) -> bool:
        return not live["foreign"]

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        if live["foreign"]:
            return Removal({**live, "include": ""}, reason="the rest of the file stays as it is")
        return Removal(record.original)

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        item = change.resource
        dormant = change.raw["dormant"] if change.raw and change.raw["foreign"] else []
        if item is not None and dormant:
            yield Hazard(
                change.address,
                f"Samba on {change.target} does not read its registry yet, which holds {', '.join(dormant)}",
                "look at `net conf list` there, and drop with `net conf delshare` what is not to be served",
                origin=item.origin,
            )
        if item is not None and change.before and not change.before["foreign"]:
            yield from moved_ids(change, mapped(change.before["content"]), mapped(change.after["content"]))
        if item is not None and change.raw and change.raw["foreign"] and item.desired["adopt"]:
            yield from moved_ids(change, _parsed(change.raw["globals"]), mapped(item.desired["content"]))
        if item is None or not change.after["foreign"] or item.desired["adopt"]:
            return
        if item.alias:
            yield Hazard(
                change.address,
                f"{change.target} has a smb.conf of its own, so that it can't be a node of a cluster",
                "take another host, or move its smb.conf away when nobody needs what it serves",
                origin=item.origin,
            )
            return
        if item.desired["explicit"]:
            yield Hazard(
                change.address,
                f"{change.target} has foreign shares, and {', '.join(item.desired['explicit'])} would change them too",
                f"write globals: adopt at gateways.{change.target}, or leave these keys out",
                origin=item.origin,
            )

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        """winbindd makes its maps when it starts."""
        return (("reload", Call("reload")), *anew(change))


KIND = Config()


def moved_ids(change: Change, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Hazard]:
    """A domain that had ids gets other ones, while it stays a domain of the gateway."""
    if new and any(new.get(key) != value for key, value in old.items()):
        yield Hazard(
            change.address,
            f"users and groups of the domain would have other ids on {change.target}, and their files would not",
            "if none of them has any files yet, use --allow id-map",
            "id-map",
            change.resource.origin if change.resource else None,
        )


def anew(change: Change) -> Sequence[tuple[str, Call]]:
    """winbindd makes its maps of ids when it starts."""
    old, new = (mapped((state or {}).get("content") or "") for state in (change.before, change.after))
    return (("winbind", Call("winbind")),) if old and new and old != new else ()


def mapped(text: str) -> dict[str, str]:
    """How domains get ids."""
    rows = (line.strip().partition(" = ") for line in (text or "").splitlines())
    return {key.lower(): value for key, _, value in rows if key.startswith("idmap config ")}


def _parsed(settings: Mapping[str, str]) -> dict[str, str]:
    """The same of what was read from a file of others."""
    found = {re.sub(r"\s*:\s*", " : ", " ".join(key.lower().split())): value for key, value in settings.items()}
    return {key: value for key, value in found.items() if key.startswith("idmap config ") and "*" not in key}


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        after = (address("packages", name), *((f"file.{name}.globals",) if gateway.globals == "adopt" else ()))
        desired = {
            "content": content(site, name, gateway),
            "adopt": gateway.globals == "adopt",
            "explicit": explicit(gateway),
        }
        yield Resource(address("config", name), KIND.name, name, Key(KIND.object, PATH), desired, after)


def explicit(gateway: Gateway) -> list[str]:
    """The keys that set something in [global]."""
    keys = ("workgroup", "netbios_name", "description", "options", "domain")
    weak = [word for word in gateway.permit if word in ("smb1", "unsigned", "anonymous")]
    return [key for key in keys if getattr(gateway, key)] + [f"permit: {word}" for word in weak]


def content(site: Site, name: str, gateway: Gateway) -> str:
    guests = any(share.guest != "no" for share in shares_of(site, name).values())
    serves = whole(site, name)
    return render(
        "smb.conf.j2",
        gateway=gateway,
        domain=domain_of(site, name),
        clustered=serves != name,
        computer=computer(serves, gateway),
        controllers=controllers.PATH,
        guests=guests,
        options={" ".join(key.lower().split()): plain(value) for key, value in sorted(gateway.options.items())},
    )
