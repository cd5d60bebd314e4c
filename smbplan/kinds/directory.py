"""Directories: the root of a share, and the folders in it that belong to one user each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from smbplan.engine.kind import Action, Change, Hazard, Kind, Options, Removal
from smbplan.engine.resource import Key, Record, Resource, State
from smbplan.engine.step import Nature
from smbplan.kinds import guest, ids, mounts, permissions
from smbplan.kinds.names import address, foreign, groups_on, levels, once, principals, shares_of, unit, users_on
from smbplan.spec.model import Share, Site

NO_STATE = ("recursive", "mounted", "ids", "top")  # what a definition says besides


class Directory(Kind):
    """Also the base of the other kinds of storage."""

    name, title, object = "directory", "directory", "directory"
    one = True
    marked = True
    uses = True
    asked = frozenset({"deviating", "mapped", "unmapped"})

    def canonical(self, state: State) -> State:
        if state is None:
            return None
        hidden = {"path", "empty", "unmapped", *(permissions.OPEN if "mapped" in state else ())}
        return {name: value for name, value in state.items() if name not in hidden}

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        wanted = super().complete({name: value for name, value in desired.items() if name not in NO_STATE}, live)
        return {**wanted, **({"mapped": True} if "ids" in desired else {})}

    def blank(self, resource: Resource) -> State:
        """The root of a new volume is there, and belongs to root."""
        return {"mark": None, **permissions.OPEN} if resource.desired.get("mounted") else None

    def guard(self, raw: State) -> State:
        return None if raw is None else {**raw, "empty": None}  # files come and go

    def options(self, resource: Resource) -> Mapping[str, Any]:
        mapped = {"mapped": resource.desired["ids"]} if "ids" in resource.desired else {}
        mapped |= {"top": True} if "top" in resource.desired else {}  # what lies below is no matter of ours
        return {**mapped, **({"recursive": True} if resource.desired.get("deviating") == 0 else {})}

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        live = {name: value for name, value in live.items() if name not in self.asked}
        if record.original is not None:
            former = {name: value for name, value in record.original.items() if name != "mapped"}
            inside = frozenset(permissions.OPEN) if "@" in record.address else frozenset()  # the container's own matter
            reason = "was there before; gets its permissions back"
            return Removal({**self.canonical(former), "mark": None}, reason=reason, open=inside)
        if live["empty"]:
            return Removal(None)
        if record.on_destroy != "delete" or not options.delete_data:
            return Removal({**self.canonical(live), "mark": None}, reason="holds data, which stays")
        if not options.purge:
            return Removal(
                self.canonical(live),
                Nature.PARKED,
                reason="holds data; --purge deletes it with --delete-data",
                parked=True,
            )
        return Removal(
            None,
            Nature.IRREVERSIBLE,
            "deleted data can't be brought back",
            options={"delete_data": True},
            open=frozenset({"owner", "group", "acl", "default", "empty"}),  # its accounts go first, and files come
        )

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        known = (
            change.action is Action.UPDATE and change.before.get("acl") is not None
        )  # of a new container, nothing is
        if known and not change.raw["empty"] and _everybody(change.after) > _everybody(change.before):
            yield Hazard(
                change.address,
                "everybody on the gateway would get access to data that only some may see",
                "if that is meant, use --allow acl-widening",
                "acl-widening",
                change.resource.origin if change.resource else None,
            )
        foreign = change.raw.get("unmapped") if change.raw else None
        if foreign and change.resource:
            yield Hazard(
                change.address,
                f"what lies in {change.resource.key.name} belongs to ids that the container does not have: {foreign}",
                "chown it to 100000 plus the ids in the container, or write ids: same at the storage; "
                "--allow unmapped-ids leaves it to nobody",
                "unmapped-ids",
                change.resource.origin,
            )


KIND = Directory()


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        node = next(iter(gateway.nodes), "")
        if node and gateway.ha and site.gateways[node].guest:  # any node of Proxmox can give it to all containers
            key, desired = Key(KIND.object, gateway.ha.shared), {"ids": ids.mapped(site, node), "top": True}
            yield Resource(shared(name), KIND.name, guest.host(site, node), key, desired)
    for name, share in site.shares.items():
        if site.gateways[share.gateway].guest:
            mount = mounts.address(site, name, share)
            inside = root(site, name, share, KIND, share.storage.path, {"mounted": mount})
            yield replace(inside, after=(*inside.after, mount))
        if share.storage.directory:
            yield data(site, name, share, KIND, share.storage.directory, {})
        if share.homes:
            yield from _homes(site, name, share)


def shared(cluster: str) -> str:
    """The address of what the containers of a cluster share."""
    return f"{KIND.name}.{cluster}@shared"


def data(site: Site, name: str, share: Share, kind: Kind, key: str, extra: Mapping[str, Any]) -> Resource:
    """Where the data of a share lies: on its gateway, or on the node below a container, for ids of that."""
    if not site.gateways[share.gateway].guest:
        return root(site, name, share, kind, key, extra)
    return Resource(
        below(site, name, share),
        kind.name,
        guest.host(site, share.gateway),
        Key(kind.object, key),
        {**extra, "ids": ids.mapped(site, share.gateway)},
        tuple(below(site, other, outer) for other, outer in _outer(site, share)),
        unit(name),
        share.prevent_destroy,
        share.storage.on_destroy,
        ahead=(guest.power(share.gateway),),  # what runs has its data until it is off
    )


def root(site: Site, name: str, share: Share, kind: Kind, key: str, extra: Mapping[str, Any]) -> Resource:
    """The root of a share on any kind of storage."""
    return Resource(
        f"{kind.name}.{name}",
        kind.name,
        share.gateway,
        Key(kind.object, key),
        {**extra, **permissions.of_share(site, share)},
        (*_accounts(site, share), *_around(site, share)),
        unit(name),
        share.prevent_destroy,
        share.storage.on_destroy,
    )


def _around(site: Site, share: Share) -> Iterator[str]:
    """The storage of other shares that this one lies in; it has to be there first."""
    return (storage(site, name, other) for name, other in _outer(site, share))


@once
def _overlap(site: Site) -> bool:
    return any(share.allow_overlap for share in site.shares.values())


def _outer(site: Site, share: Share) -> Iterator[tuple[str, Share]]:
    if share.allow_overlap or _overlap(site):
        for name, other in shares_of(site, share.gateway).items():
            if share.storage.path.startswith(other.storage.path + "/"):
                yield name, other


def storage(site: Site, name: str, share: Share) -> str:
    """The address of a share's storage, as its gateway has it."""
    if site.gateways[share.gateway].guest:
        return f"{KIND.name}.{name}"
    return f"{_kind(share)}.{name}"


def below(site: Site, name: str, share: Share) -> str:
    """The address of the storage of a container's share on the node."""
    return f"{_kind(share)}.{name}@{site.gateways[share.gateway].node}"


def _kind(share: Share) -> str:
    return "btrfs.subvolume" if share.storage.btrfs else "zfs.dataset" if share.storage.zfs else KIND.name


def home_users(site: Site, share: Share) -> list[str]:
    here = levels(site, share.gateway, share.access.lists)
    return [user for user, may in here.items() if may in ("read", "write")]


def _homes(site: Site, name: str, share: Share) -> Iterator[Resource]:
    for user in home_users(site, share):
        before = [storage(site, name, share)]
        if not site.users[user].external:
            before.append(address("user", share.gateway, user))
        yield Resource(
            f"{KIND.name}.{name}.{user}",
            KIND.name,
            share.gateway,
            Key(KIND.object, f"{share.storage.path}/{user}"),
            permissions.of_home(user),
            tuple(before),
            unit(name),
            share.prevent_destroy,
            share.storage.on_destroy,
        )


def _accounts(site: Site, share: Share) -> tuple[str, ...]:
    """The users and groups that its ACL names."""
    found = _of_ours(site, share.gateway, tuple(principals(share)))
    return (address("principals", share.gateway), *found) if foreign(site, share) else found


@once
def _of_ours(site: Site, gateway: str, names: Sequence[str]) -> tuple[str, ...]:
    users, groups = users_on(site, gateway), groups_on(site, gateway)
    found = []
    for name in dict.fromkeys(names):
        what, bare = ("group", name[1:]) if name[0] == "@" else ("user", name)
        known = groups.get(bare) if what == "group" else users.get(bare)
        if known and not known.external:
            found.append(address(what, gateway, bare))
    return tuple(found)


def _everybody(state: State) -> int:
    """The rights of others, as a number that grows with them."""
    entry = next((text for text in state.get("acl") or [] if text.startswith("other:")), "other::---")
    return sum(letter != "-" for letter in entry.rsplit(":", 1)[1])
