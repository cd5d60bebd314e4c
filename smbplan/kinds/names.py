"""Who is on which gateway, and what resources are called."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, TypeVar

from smbplan.spec.clusters import ClusterNode
from smbplan.spec.domain import Domain
from smbplan.spec.model import Group, Lists, Permissions, Share, Site, User

T = TypeVar("T")
P = ParamSpec("P")
ADDRESSES = {
    "packages": "packages.{gateway}",
    "config": "samba.config.{gateway}",
    "smbd": "service.{gateway}.smbd",
    "user": "posix.user.{gateway}.{name}",
    "group": "posix.group.{gateway}.{name}",
    "password": "samba.user.{gateway}.{name}",
    "share": "samba.share.{name}",
    "member": "domain.member.{gateway}",
    "principals": "domain.principals.{gateway}",
    "winbind": "service.{gateway}.winbind",
    "led": "ctdb.winbind.{gateway}",
}


def once(find: Callable[Concatenate[Site, P], T]) -> Callable[Concatenate[Site, P], T]:
    """What is asked for each of a thousand shares is found once for their site; the last one is remembered."""
    known: tuple[Site | None, dict[tuple[object, ...], T]] = (None, {})

    @wraps(find)
    def found(site: Site, /, *of: P.args, **named: P.kwargs) -> T:
        nonlocal known
        if known[0] is not site:
            known = (site, {})
        answers = known[1]
        asked = (*of, *named.items()) if named else of
        if asked not in answers:
            answers[asked] = find(site, *of, **named)
        return answers[asked]

    return found


@lru_cache(maxsize=4096)
def address(what: str, gateway: str = "", name: str = "") -> str:
    return ADDRESSES[what].format(gateway=gateway, name=name)


def unit(share: str) -> str:
    """The unit of a share: what fails and is undone together."""
    return f"share.{share}"


def whole(site: Site, gateway: str) -> str:
    """The cluster that a node belongs to; any other gateway is one by itself."""
    found = site.gateways[gateway]
    return found.of if isinstance(found, ClusterNode) else gateway


@once
def shares_of(site: Site, gateway: str) -> Mapping[str, Share]:
    serves = whole(site, gateway)
    return {name: share for name, share in site.shares.items() if share.gateway == serves}


@once
def members(site: Site, group: str) -> Sequence[str]:
    """Members by the group's list, and by the users' own."""
    return sorted({*site.groups[group].members, *_by_group(site).get(group, ())})


@once
def _by_group(site: Site) -> Mapping[str, Sequence[str]]:
    """Members by the users' own lists."""
    found: dict[str, list[str]] = {}
    for name, user in site.users.items():
        for group in user.groups:
            found.setdefault(group, []).append(name)
    return found


def principals(share: Share) -> list[str]:
    """Everybody whom the share names."""
    found = [*share.access.granted, *share.access.deny]
    if isinstance(share.permissions, Permissions):
        for entry in share.permissions.acl or []:
            what, name, _ = entry.split(":")
            found.append(name if what == "user" else f"@{name}")
        found += [share.permissions.owner, f"@{share.permissions.group}"]
    return found


@once
def _named_on(site: Site, gateway: str) -> frozenset[str]:
    return frozenset(name for share in shares_of(site, gateway).values() for name in principals(share))


@once
def groups_on(site: Site, gateway: str) -> Mapping[str, Group]:
    """The groups that a gateway needs, by name, external ones too."""
    named = {name[1:] for name in _named_on(site, gateway) if name[0] == "@"}
    told = {name for name, group in site.groups.items() if whole(site, gateway) in (group.gateways or [])}
    return {name: site.groups[name] for name in sorted((named | told) & site.groups.keys())}


@once
def users_on(site: Site, gateway: str) -> Mapping[str, User]:
    """The users that a gateway needs, by name, external ones too."""
    named = _named_on(site, gateway)
    named = named | site.users.keys() if "*" in named else named
    for group in groups_on(site, gateway):
        named = named.union(members(site, group))
    here = whole(site, gateway)
    told = {name for name, user in site.users.items() if here in (user.gateways or [])}
    elsewhere = {name for name, user in site.users.items() if user.gateways and here not in user.gateways}
    return {name: site.users[name] for name in sorted(((named | told) & site.users.keys()) - elsewhere)}


def level(site: Site, lists: Lists, user: str) -> str:
    """What a user may do by access lists: write, read, none (denied), or "" (not named)."""
    return _levels(site, lists).get(user, "")


@once
def levels(site: Site, gateway: str, lists: Lists) -> Mapping[str, str]:
    """What the users on a gateway may do by access lists, in the order of their names; only those who are named."""
    here, found = users_on(site, gateway), _levels(site, lists)
    return {name: found[name] for name in sorted(found.keys() & here.keys())}


@once
def _levels(site: Site, lists: Lists) -> Mapping[str, str]:
    found: dict[str, str] = {}
    alone = [name for names in lists for name in names if name[0] not in "@*"]
    # Who is denied is; else, who may write may.
    for what, names in (("read", lists.read), ("write", lists.write + lists.admin), ("none", lists.deny)):
        for name in names:
            meant = (*site.users, *alone) if name == "*" else _members(site, name[1:]) if name[0] == "@" else (name,)
            found.update(dict.fromkeys(meant, what))
    return found


def _members(site: Site, group: str) -> Sequence[str]:
    return members(site, group) if group in site.groups else ()


def domain_of(site: Site, gateway: str) -> Domain | None:
    """The domain that a gateway is a member of."""
    return site.domains.get(site.gateways[gateway].domain or "")


def foreign(site: Site, share: Share) -> list[str]:
    """The users and groups of a domain that a share names, as DOMAIN\\name and @DOMAIN\\name."""
    return sorted({name for name in principals(share) if "\\" in name}) if site.domains else []


def foreign_on(site: Site, gateway: str) -> list[str]:
    return sorted({name for share in shares_of(site, gateway).values() for name in foreign(site, share)})
