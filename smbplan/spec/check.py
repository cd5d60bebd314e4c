"""What no single key can tell: references, overlaps, and what a weakness needs before it is allowed."""

import re
from collections.abc import Callable, Collection, Iterator
from typing import get_args

from smbplan.spec import addresses, clusters, membership
from smbplan.spec.model import Gateway, Permit, Share, Site
from smbplan.spec.problems import Problem, nearest

Path = tuple[str | int, ...]
Where = Callable[..., tuple[str, int, int]]
Finding = tuple[Path, str, str]

# Options that hand out more than a share, by running commands, following links or changing who somebody is.
DANGEROUS = {
    "root preexec", "root postexec", "preexec", "postexec", "exec", "magic script", "print command",
    "wide links", "allow insecure wide links", "unix extensions", "force user", "force group", "group",
    "server min protocol", "min protocol", "client min protocol", "server signing", "ntlm auth", "lanman auth",
    "map to guest", "guest account", "restrict anonymous", "null passwords", "username map", "username map script",
    "include", "config file", "copy", "add user script", "delete user script", "add group script",
    "check password script", "passwd program", "panic action", "message command", "dfree command", "root directory",
    "smb encrypt", "server smb encrypt", "encrypt passwords", "security", "guest only", "only guest", "hosts equiv",
    "root", "acl allow execute always", "follow symlinks",
}  # fmt: skip
COMMAND = re.compile(r"\b(command|script|program|exec)$|exec$")  # whatever smbd would run
# Options that have a key of their own.
MANAGED = {
    "path": "storage", "directory": "storage", "valid users": "access", "invalid users": "access.deny",
    "read list": "access.read", "write list": "access.write", "admin users": "access.admin",
    "guest ok": "guest", "public": "guest", "hosts allow": "hosts.allow", "allow hosts": "hosts.allow",
    "hosts deny": "hosts.deny", "deny hosts": "hosts.deny", "vfs objects": "recycle, audit, time_machine …",
    "vfs object": "recycle, audit, time_machine …", "available": "(remove the share)",
    "read only": "access", "writable": "access", "writeable": "access", "write ok": "access",
}  # fmt: skip
VM_MTU = 65520  # qm.conf(5), `net[n]`; a container's may have 65535
# Samba ignores spaces in the names of options.
SPELLED = {"".join(name.split()): name for name in (*DANGEROUS, *MANAGED)}


def check(site: Site, where: Where, damaged: Collection[Path] = ()) -> list[Problem]:
    """Every problem, with its place. Of damaged definitions, from which parts were left out, none about the whole."""
    cluster = site.proxmox is not None or any(path[0] == "proxmox" for path in damaged)
    findings = [
        *_gateways(site, cluster),
        *addresses.check(site),
        *membership.check(site),
        *clusters.check(site),
        *_accounts(site),
        *(finding for name, share in site.shares.items() for finding in _share(site, name, share)),
        *_continued(site),
        *_names(site),
        *_folders(site),
        *_overlaps(site),
    ]
    return [
        Problem(*where(path, key=len(path) == 2), summary, hint)
        for path, summary, hint in findings
        if path not in damaged
    ]


def _gateways(site: Site, cluster: bool) -> Iterator[Finding]:
    hosts: dict[str, str] = {}
    for name, gateway in site.gateways.items():
        yield from _permits(("gateways", name), gateway)
        yield from _options(("gateways", name), gateway, gateway.options, globals_=True)
        if gateway.nodes:
            continue
        if gateway.guest:
            yield from _guest(site, name, gateway, cluster)
            continue
        host = "localhost" if gateway.connection == "local" else f"{gateway.host or name}:{gateway.ssh.port or 22}"
        if host in hosts:
            yield (
                ("gateways", name),
                f"gateways {hosts[host]!r} and {name!r} are the same host",
                "a host has one Samba: put the shares on one gateway",
            )
        hosts[host] = name


def _guest(site: Site, name: str, gateway: Gateway, cluster: bool) -> Iterator[Finding]:
    what = "container" if gateway.mode == "lxc" else "VM"
    if "_" in name or name.endswith("-"):
        words = f"{name!r} is the {what}'s host name, too, and none that DNS knows"
        yield ("gateways", name), words, "use letters, digits and -, and end with a letter or digit"
    far = sorted(user for user, found in site.users.items() if found.uid and found.uid > 65535)
    far += sorted(group for group, found in site.groups.items() if found.gid and found.gid > 65535)
    if far and gateway.node is None and gateway.mode == "lxc":
        words = f"ids above 65535, as {far[0]} has, have to be allowed on the node first"
        yield ("gateways", name), words, "write node: at the gateway"
    if gateway.balloon and gateway.balloon > gateway.memory:
        words = f"balloon is more than the memory of the VM, {gateway.memory >> 20}MiB"
        yield ("gateways", name, "balloon"), words, "write less, leave it out, or write more memory"
    if gateway.mode == "vm" and (gateway.network.mtu or 0) > VM_MTU:
        yield ("gateways", name, "network", "mtu"), f"a VM's interface takes no more than {VM_MTU}", "write less"
    if not cluster:
        yield ("gateways", name, "mode"), f"a {what} needs Proxmox VE", "write proxmox: with endpoint and token"
    same = [other for other, each in site.gateways.items() if each.vmid and each.vmid == gateway.vmid and other < name]
    if same:
        yield ("gateways", name, "vmid"), f"gateway {same[0]!r} has vmid {gateway.vmid} already", "write another one"


def _permits(here: Path, gateway: Gateway) -> Iterator[Finding]:
    known = {*get_args(Permit), *DANGEROUS, *MANAGED}
    for number, word in enumerate(gateway.permit):
        if word not in known and not COMMAND.search(word):
            yield (*here, "permit", number), f"{word!r} needs no permit", nearest(word, [*known])


def _continued(site: Site) -> Iterator[Finding]:
    """A line of smb.conf that ends in a backslash swallows the next one."""
    texts: list[tuple[Path, object]] = []
    for name, gateway in site.gateways.items():
        texts.append((("gateways", name, "description"), gateway.description))
        texts += [(("gateways", name, "options", key), value) for key, value in gateway.options.items()]
    for name, share in site.shares.items():
        texts.append((("shares", name, "comment"), share.comment))
        texts += [(("shares", name, "options", key), value) for key, value in share.options.items()]
    for path, text in texts:
        if isinstance(text, str) and text.rstrip().endswith("\\"):
            yield path, "the text ends in a backslash, which joins lines in smb.conf", "leave the last backslash out"


def _accounts(site: Site) -> Iterator[Finding]:
    for name, user in site.users.items():
        for number, group in enumerate(user.groups):
            if group not in site.groups:
                yield ("users", name, "groups", number), f"unknown group {group!r}", nearest(group, [*site.groups])
        yield from _known_gateways(site, ("users", name), user.gateways)
    for name, group_ in site.groups.items():
        for number, member in enumerate(group_.members):
            if member not in site.users:
                yield ("groups", name, "members", number), f"unknown user {member!r}", nearest(member, [*site.users])
        yield from _known_gateways(site, ("groups", name), group_.gateways)


def _known_gateways(site: Site, path: Path, names: list[str] | None) -> Iterator[Finding]:
    for number, name in enumerate(names or []):
        if name not in site.gateways:
            yield (*path, "gateways", number), f"unknown gateway {name!r}", nearest(name, [*site.gateways])


def _share(site: Site, name: str, share: Share) -> Iterator[Finding]:
    here: Path = ("shares", name)
    gateway = site.gateways.get(share.gateway)
    if gateway is None:
        yield (*here, "gateway"), f"unknown gateway {share.gateway!r}", nearest(share.gateway, [*site.gateways])
        yield from _principals(site, here, share)
        return
    path = share.storage.path
    yield from _storage(site, here, share, gateway)
    if not any(path.startswith(root.rstrip("/") + "/") for root in gateway.roots):
        yield (
            (*here, "storage"),
            f"{path} is outside the roots of gateway {share.gateway!r}",
            f"use a folder below {', '.join(gateway.roots)}, or add its parent to gateways.{share.gateway}.roots",
        )
    yield from _principals(site, here, share)
    yield from _combinations(here, share)
    if share.guest != "no" and "guest" not in gateway.permit:
        yield (
            (*here, "guest"),
            "guests are not permitted, so that nobody gets in without a password",
            f"if that is meant, write permit: [guest] at gateways.{share.gateway}",
        )
    yield from _options(here, gateway, share.options, globals_=False)


def _storage(site: Site, here: Path, share: Share, gateway: Gateway) -> Iterator[Finding]:
    storage, at = share.storage, (*here, "storage")
    if gateway.nodes:
        return
    if not gateway.guest:
        if storage.volume:
            yield at, "only a guest of Proxmox has volumes", "use directory, btrfs or zfs storage, or mode: lxc or vm"
        if storage.ids == "same":
            yield at, "only a container has other ids than its node", "leave ids out"
        return
    if re.search(r"[\s,\\]", storage.path):
        words = f"{storage.path!r} can't be mounted into a guest: Proxmox splits its settings at commas and spaces"
        yield at, words, "use a path without commas, spaces and backslashes"
    if not storage.volume and gateway.node is None:
        yield (
            at,
            "a folder of a node can't be reached before the node is known",
            f"write node: at gateways.{share.gateway}, or use volume: STORAGE and size: 32GiB",
        )
    if gateway.mode == "vm":
        yield from _in_machine(at, share, gateway)
        return
    if share.windows_acls and (share.multi_protocol or storage.ids == "same"):
        yield (
            (*here, "windows_acls"),
            "in a container they stand in user.NTACL, which whoever reaches the files otherwise can write",
            f"leave out {'multi_protocol' if share.multi_protocol else 'ids: same'}, or windows_acls",
        )
    if storage.ids == "same":
        if storage.volume:
            yield at, "nobody else uses a volume, so its ids are the container's", "leave ids out"
        yield from _same_ids(site, at, share)


def _folders(site: Site) -> Iterator[Finding]:
    for name, gateway in site.gateways.items():
        found = [each for each, share in site.shares.items() if share.gateway == name and not share.storage.volume]
        if gateway.mode == "vm" and len(found) > 10:
            words = f"a VM has at most 10 folders of its node, and {name!r} would have {len(found)}"
            yield ("shares", found[10], "storage"), words, "use volume: STORAGE and size: 32GiB, or another gateway"


def _in_machine(at: Path, share: Share, gateway: Gateway) -> Iterator[Finding]:
    storage = share.storage
    if storage.ids == "same":
        yield at, "a VM has the ids of its node anyway", "leave ids out"
    if storage.volume:
        return
    if gateway.balloon:
        words = "a VM with folders of its node shares its memory with virtiofsd, which rules ballooning out"
        yield at, words, f"leave balloon out at gateways.{share.gateway}, or use volume: STORAGE and size: 32GiB"
    if share.windows_acls and share.multi_protocol:
        words = "on virtio-fs they stand in user.NTACL, which whoever reaches the files otherwise can write"
        yield (*at[:-1], "windows_acls"), words, "leave out multi_protocol, or windows_acls"
    if share.previous_versions and storage.zfs:
        words = "a VM can't enter a dataset's snapshots by virtio-fs"
        yield (*at[:-1], "previous_versions"), words, "use btrfs storage, mode: lxc, or leave previous_versions out"


def _same_ids(site: Site, here: Path, share: Share) -> Iterator[Finding]:
    """Ids that are the same on the node have to be known, and be none of those that containers have."""
    named = {*share.access.granted, *share.access.deny}
    groups = {name[1:] for name in named if name[0] == "@" and name[1:] in site.groups}
    members = {name for group in groups for name in site.groups[group].members}
    members |= {name for name, user in site.users.items() if groups & set(user.groups)}
    users = sorted((named | members | (set(site.users) if "*" in named else set())) & site.users.keys())
    wanted = [("users", name, "uid", site.users[name].uid) for name in users if not site.users[name].external]
    wanted += [("groups", name, "gid", site.groups[name].gid) for name in sorted(groups)]
    for section, name, key, number in wanted:
        if number is None:
            hint = f"write {key}: at {section}.{name}, as it is on the node"
            yield here, f"ids: same needs to know the {key} of {name}", hint
        elif number > 59999:
            yield here, f"{key} {number} of {name} can't be the same on the node", "ids: same needs one below 60000"


def _principals(site: Site, here: Path, share: Share) -> Iterator[Finding]:
    for level in ("read", "write", "admin", "deny"):
        for number, name in enumerate(getattr(share.access, level)):
            known = site.groups if name.startswith("@") else site.users
            if name != "*" and "\\" not in name and name.removeprefix("@") not in known:
                what = "group" if name.startswith("@") else "user"
                yield (*here, "access", level, number), f"unknown {what} {name!r}", nearest(name.strip("@"), [*known])
            if name == "*" and level in ("admin", "deny"):
                yield (*here, "access", level, number), f"* is too much for {level}", "name the users or groups"
    if not share.access.granted and share.guest == "no" and share.preset != "plain":
        yield here, "nobody may use this share", "write access: {write: [alice, '@engineers']}, or read, or admin"
    if share.permissions == "keep":
        return
    for entry in share.permissions.acl or []:
        what, name, _ = entry.split(":")
        known = site.users if what == "user" else site.groups
        if name not in known:
            yield (*here, "permissions", "acl"), f"unknown {what} {name!r}", nearest(name, [*known])
    owner, group = share.permissions.owner, share.permissions.group
    if owner not in ("root", "nobody", *site.users):
        yield (*here, "permissions", "owner"), f"unknown user {owner!r}", nearest(owner, ["root", *site.users])
    if group not in (None, "root", "users", "nogroup", *site.groups):
        yield (*here, "permissions", "group"), f"unknown group {group!r}", nearest(group or "", [*site.groups])


def _combinations(here: Path, share: Share) -> Iterator[Finding]:
    if share.preset == "plain":
        for key in ("recycle", "previous_versions", "audit", "time_machine", "multi_protocol"):
            if getattr(share, key):
                yield (*here, key), f"preset plain adds nothing to a share, and {key} would", "use another preset"
    if share.previous_versions and not (share.storage.btrfs or share.storage.zfs):
        yield (
            (*here, "previous_versions"),
            f"a {'volume' if share.storage.volume else 'plain directory'} has no snapshots",
            "use btrfs or zfs storage, or leave previous_versions out",
        )
    if share.previous_versions and share.homes:
        yield (*here, "previous_versions"), "home folders have no previous versions yet", "leave one of them out"
    if share.guest != "no" and share.encryption == "required":
        yield (*here, "encryption"), "guests can't encrypt", "leave guest out, or write encryption: desired"
    if share.time_machine and share.multi_protocol:
        yield (*here, "multi_protocol"), "Time Machine needs a share of its own", "leave multi_protocol out"
    if share.max_size and not share.time_machine:
        yield (*here, "max_size"), "max_size limits Time Machine only", "use storage.quota for other shares"
    if share.homes and (share.guest != "no" or share.permissions == "keep"):
        yield (*here, "homes"), "home folders belong to their users", "leave guest and permissions out"


def _options(here: Path, gateway: Gateway, options: dict[str, str | bool | int], globals_: bool) -> Iterator[Finding]:
    name = here[1] if globals_ else None
    for key in options:
        word = SPELLED.get("".join(key.lower().split()), " ".join(key.lower().split()))
        at = (*here, "options", key)
        if word in MANAGED:
            if "options" not in gateway.permit or word not in gateway.permit:
                yield at, f"{key!r} has a key of its own", f"use {MANAGED[word]} at the shares"
            continue
        if any(letter in key for letter in "=[]#;") or not word or word.startswith("smbplan:"):
            yield at, f"{key!r} is no option name", "write the name as in smb.conf(5), without ="
        elif "options" not in gateway.permit:
            yield at, "options of smb.conf are switched off", "write permit: [options] at the gateway"
        elif (word in DANGEROUS or COMMAND.search(word)) and word not in gateway.permit:
            whose = f"gateways.{name}" if name else "its gateway"
            yield at, f"{key!r} weakens the gateway's security", f"if it is meant, add {word!r} to permit at {whose}"


def _names(site: Site) -> Iterator[Finding]:
    seen: dict[tuple[str, str], str] = {}
    for name, share in site.shares.items():
        visible = (share.gateway, (share.name or name).lower())
        if visible in seen:
            yield (
                ("shares", name),
                f"shares {seen[visible]!r} and {name!r} have one name on gateway {share.gateway!r}",
                "Samba does not tell upper from lower case: give one of them another name",
            )
        seen[visible] = name
        if not share.name:
            from smbplan.spec.types import RESERVED_SHARES

            if name.lower() in RESERVED_SHARES:
                yield ("shares", name), f"{name!r} is reserved by Samba", "give it another key, or a name: of its own"


def _overlaps(site: Site) -> Iterator[Finding]:
    """Two shares on one path or one inside another: sorted, an inner path follows its outer ones."""
    items = sorted(
        (place, share.storage.path + "/", name) for name, share in site.shares.items() for place in _places(site, share)
    )
    outer: list[tuple[str, str, str]] = []
    told = set()
    for place, path, name in items:
        while outer and not (outer[-1][0] == place and path.startswith(outer[-1][1])):
            outer.pop()
        share = site.shares[name]
        for _, around, other in reversed(outer):
            allowed = share.allow_overlap or site.shares[other].allow_overlap
            isolated = around != path and _isolated(site, name, other)
            apart = share.gateway != site.shares[other].gateway and not isolated
            if (apart or not allowed) and name not in told:
                told.add(name)
                relation = "is on the same path as" if around == path else "lies inside"
                way = "move one of them, or write allow_overlap: true"
                way = "put both on one gateway" if apart and allowed else way
                yield ("shares", name, "storage"), f"share {name!r} {relation} share {other!r}", way
        outer.append((place, path, name))


def _isolated(site: Site, *shares: str) -> bool:
    """Whether a VM is between them. What is shared in spite of it, the plan warns of."""
    gateways = (site.gateways.get(site.shares[name].gateway) for name in shares)
    return any(gateway is not None and gateway.mode == "vm" for gateway in gateways)


def _places(site: Site, share: Share) -> Iterator[str]:
    """Where its path counts: on its gateway, and for a container's bind mount on the node, with other containers."""
    gateway = site.gateways.get(share.gateway)
    yield share.gateway
    if gateway and gateway.guest and gateway.node and not share.storage.volume:
        yield f"@{gateway.node}"
