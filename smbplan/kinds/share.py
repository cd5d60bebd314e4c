"""SMB shares in Samba's registry: one transaction, no reload, and none slower for being one of many. smb.conf(5)"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from smbplan.engine.kind import Action, Change, Hazard, Kind
from smbplan.engine.resource import Key, Resource, State
from smbplan.engine.step import Call
from smbplan.kinds import directory, schedule
from smbplan.kinds.names import address, domain_of, foreign, groups_on, levels, members, once, unit
from smbplan.kinds.options import canonical, plain, same, split
from smbplan.kinds.password import secret
from smbplan.kinds.permissions import of_others
from smbplan.kinds.vfs import modules
from smbplan.spec.domain import Domain
from smbplan.spec.membership import computer
from smbplan.spec.model import Lists, Share, Site

GRANTS = ("valid users", "write list", "admin users", "hosts allow")
DENIALS = ("invalid users", "read list", "hosts deny")  # whoever is in a read list may not write


class ShareKind(Kind):
    name, title, object = "samba.share", "share", "share"
    one = True
    marked = True

    def canonical(self, state: State) -> State:
        if state is None:
            return None
        return {"mark": state.get("mark"), "params": canonical(state["params"]), "source": state["source"]}

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        """A list that means the same stays as it is written."""
        have = live["params"] if live else {}
        params = desired["params"]
        if params != have:
            params = params | {key: have[key] for key in params if key in have and same(key, params[key], have[key])}
        return {"params": params, "source": "registry"}

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        """Live sessions lose what was revoked. Undoing a change may revoke as well."""
        if change.action is Action.CREATE:
            return ()
        name = change.resource.key.name if change.resource else change.record.key.name if change.record else ""
        calls = []
        if change.after is None or change.before is None or revoked(change.before, change.after):
            calls.append((f"close {name}", Call("close", {"share": name, "gone": change.after is None})))
        if any(state and state["source"] != "registry" for state in (change.before, change.after)):
            calls.append(("reload", Call("reload")))
        return calls

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        if change.before is None or change.after is None or change.resource is None:
            return
        before, after = change.before["params"], change.after["params"]
        if before.get("path") != after.get("path"):
            yield Hazard(
                change.address,
                f"its data path would move from {before.get('path')} to {after.get('path')}; the data would not",
                "copy the data first, then use --allow path-move",
                "path-move",
                change.resource.origin,
            )
        if _open_to_all(after) and not _open_to_all(before):
            yield Hazard(
                change.address,
                "a share that only some may use would be open to everybody",
                "if that is meant, use --allow acl-widening",
                "acl-widening",
                change.resource.origin,
            )

    def proof(self, resource: Resource) -> Call | None:
        return Call("prove", resource.desired["proof"]) if resource.desired["proof"]["principals"] else None

    def warnings(self, resource: Resource, live: State) -> Iterable[str]:
        names = resource.desired["unproved"]
        if names:
            yield f"{resource.address}: not proved for {', '.join(names)}: smbplan holds no password of theirs"
        elif not resource.desired["proof"]["principals"]:
            yield f"{resource.address}: unproved: smbplan holds no password of anybody who may use it"


KIND = ShareKind()


def revoked(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether somebody who could use the share before may be kept out, or be kept from writing, now."""
    old, new = before["params"], after["params"]
    grants = any(
        set(split(old.get(key, ""))) - set(split(new.get(key, ""))) for key in GRANTS if key in new or key in old
    )
    grants = grants or any(key in new and key not in old for key in ("valid users", "hosts allow"))
    denials = any(set(split(new.get(key, ""))) - set(split(old.get(key, ""))) for key in DENIALS)
    plainly = any(
        old.get(key) != new.get(key) for key in ("read only", "guest ok", "available", "path", "server smb encrypt")
    )
    return grants or denials or plainly


def _open_to_all(params: Mapping[str, str]) -> bool:
    return params.get("guest ok") == "yes" or "valid users" not in params


def expand(site: Site) -> Iterator[Resource]:
    for name, share in site.shares.items():
        yield Resource(
            address("share", name=name),
            KIND.name,
            share.gateway,
            Key(KIND.object, share.name or name),
            {
                "params": params(site, name, share),
                "proof": {
                    "share": share.name or name,
                    "path": share.storage.path + ("/%U" if share.homes else ""),
                    "encrypted": share.encryption == "required",
                    "shared": not share.homes and share.permissions != "keep",
                    "principals": _principals(site, share),
                },
                "unproved": _unproved(site, share.gateway, share.access.lists),
            },
            tuple(dict.fromkeys(_after(site, name, share))),
            unit(name),
            share.prevent_destroy,
        )


def params(site: Site, name: str, share: Share) -> dict[str, str]:
    """The share's section, in canonical form."""
    found: dict[str, str] = {"path": share.storage.path + ("/%U" if share.homes else "")}
    if share.comment:
        found["comment"] = share.comment
    if share.preset != "plain":
        found |= _files(share)
        found |= _features(site, share)
    elif "encryption" in share.model_fields_set:
        found["server smb encrypt"] = share.encryption
    found |= _access(share.access.lists, share.guest)
    if share.hosts.allow:
        found["hosts allow"] = " ".join(["127.0.0.1", *share.hosts.allow])
    if share.hosts.deny:
        found["hosts deny"] = " ".join(share.hosts.deny)
    if share.hidden:
        found["browseable"] = "no"
    if share.max_connections:
        found["max connections"] = str(share.max_connections)
    found |= {" ".join(key.lower().split()): plain(value) for key, value in share.options.items()}
    return canonical(found)


@lru_cache(maxsize=1024)
def _access(lists: Lists, guest: str) -> Mapping[str, str]:
    """Who gets in, and who may write. A list that names * is no list."""
    found = {"read only": "no"}
    if guest != "no":
        found["guest ok"] = "yes"
    if lists.granted and "*" not in lists.granted and guest == "no":
        found["valid users"] = " ".join(_quoted(lists.granted))
    writers = lists.write + lists.admin
    if "*" not in lists.write and guest != "write" and (lists.read or guest == "read" or not writers):
        found["read only"] = "yes"
        if writers:
            found["write list"] = " ".join(_quoted(writers))
    if lists.admin:
        found["admin users"] = " ".join(_quoted(lists.admin))
    if lists.deny:
        found["invalid users"] = " ".join(_quoted(lists.deny))
    return found


def _files(share: Share) -> dict[str, str]:
    """New files get the group's rights; a default ACL on the folder goes before the masks."""
    private, others = share.homes, of_others(share)
    return {
        "create mask": "0600" if private else f"077{others}",
        "directory mask": "0700" if private else f"077{others}",
        "force create mode": "0600" if private else "0660",
        "force directory mode": "0700" if private else "2770",
        "inherit acls": "yes",
    }


def _features(site: Site, share: Share) -> dict[str, str]:
    # A guest has no key to encrypt with: where guests may come, others may ask for encryption.
    encryption = "default" if share.guest != "no" and share.encryption == "desired" else share.encryption
    found = {"server smb encrypt": encryption, **modules(site, share)}
    if share.multi_protocol:
        found |= {"oplocks": "no", "level2 oplocks": "no", "posix locking": "yes", "strict locking": "yes"}
    if share.time_machine:
        found |= {"kernel oplocks": "no", "kernel share modes": "no", "posix locking": "no", "durable handles": "yes"}
    return found


def _quoted(names: Sequence[str]) -> list[str]:
    """Those of a domain are told as SIDs, by the agent: a user's and a group's look the same."""
    return sorted(dict.fromkeys(f'"{name}"' if " " in name else name for name in names))


def _after(site: Site, name: str, share: Share) -> Iterator[str]:
    """What must be there before the share is: its folder, smbd, and everybody whom it names."""
    gateway = share.gateway
    yield from (address("config", gateway), address("smbd", gateway), directory.storage(site, name, share))
    if site.gateways[gateway].nodes and site.gateways[gateway].domain:
        yield address("led", gateway)
    if share.homes:
        yield from (f"directory.{name}.{user}" for user in directory.home_users(site, share))
    passwords, groups = _people(site, gateway, share.access.lists)
    yield from passwords
    if foreign(site, share):
        yield address("principals", gateway)
    yield from groups
    for timer in schedule.timers(site, name, share):
        yield f"service.{name}.{timer.what}"


@once
def _people(site: Site, gateway: str, lists: Lists) -> tuple[Sequence[str], Sequence[str]]:
    """The passwords and groups of ours that access lists stand on."""
    here, named = groups_on(site, gateway), {name[1:] for names in lists for name in names if name[0] == "@"}
    users = [name for name in levels(site, gateway, lists) if not site.users[name].external]
    groups = [name for name in sorted(named & here.keys()) if not here[name].external]
    return [address("password", gateway, name) for name in users], [address("group", gateway, name) for name in groups]


def _principals(site: Site, share: Share) -> Sequence[Mapping[str, Any]]:
    """Those whom a proof of service can log in as."""
    found = _local(site, share.gateway, share.access.lists, share.guest)
    domain = domain_of(site, share.gateway)
    return [*found, *_probes(site, share, domain)] if domain and foreign(site, share) else found


@once
def _local(site: Site, gateway: str, lists: Lists, guest: str) -> Sequence[Mapping[str, Any]]:
    found: list[dict[str, Any]] = [{"user": None, "access": guest}] if guest != "no" else []
    for name, may in levels(site, gateway, lists).items():
        user = site.users[name]
        if user.enabled and not user.external and (may != "none" or guest == "no"):
            found.append({"user": name, "password": secret(site, name), "access": may})
    return found


def _probes(site: Site, share: Share, domain: Domain) -> Iterator[Mapping[str, Any]]:
    access, gateway = share.access, site.gateways[share.gateway]
    lists = {"write": [*access.write, *access.admin], "read": access.read, "none": access.deny}
    for name, probe in domain.probes.items():
        password = {"$secret": probe.password.model_dump(exclude_none=True)}
        who = {"user": f"{domain.netbios}\\{name}", "password": password, "lists": lists}
        who |= {} if share.guest == "no" else {"others": share.guest}
        if not domain.ntlm:
            host = f"{computer(share.gateway, gateway)}.{domain.realm}".lower()
            who |= {"host": host, "realm": domain.realm}
        yield who


@once
def _unproved(site: Site, gateway: str, lists: Lists) -> list[str]:
    found = []
    domain = domain_of(site, gateway)
    probed = bool(domain and domain.probes)
    for name in lists.granted:
        bare = name.removeprefix("@")
        if "\\" in name:
            if not probed:
                found.append(name)
        elif name[0] == "@":
            group = site.groups[bare]
            if group.external or not any(not site.users[user].external for user in members(site, bare)):
                found.append(name)
        elif bare in site.users and site.users[bare].external:
            found.append(name)
    return found
