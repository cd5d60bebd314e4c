"""user.cfg: users, tokens, groups, roles, access control lists and pools, in the real file's format."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from smbplan.lab.pve import files

ROOT = "root@pam"


@dataclass
class User:
    """A user; `expire` is in seconds since 1970, 0 for never."""

    enable: int = 1
    expire: int = 0
    firstname: str = ""
    lastname: str = ""
    email: str = ""
    comment: str = ""
    keys: str = ""


@dataclass
class Token:
    """An API token of a user."""

    expire: int = 0
    privsep: int = 1
    comment: str = ""


@dataclass
class Pool:
    """Guests and storages together."""

    comment: str = ""
    vms: set[int] = field(default_factory=set)
    storages: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Entry:
    """One right given: `kind` is user, group or token; a path, who, which role."""

    path: str
    kind: str
    who: str
    role: str


@dataclass
class UserConfig:
    """The whole file. `acl` maps an entry to whether it reaches below its path."""

    users: dict[str, User] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    groups: dict[str, tuple[set[str], str]] = field(default_factory=dict)
    roles: dict[str, set[str]] = field(default_factory=dict)
    acl: dict[Entry, int] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)

    def pool_of(self, vmid: int) -> str | None:
        """The pool a guest is in."""
        return next((name for name, pool in self.pools.items() if vmid in pool.vms), None)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def parse(text: str) -> UserConfig:
    """The file's content; `root@pam` exists without being written."""
    config = UserConfig(users={ROOT: User()})
    for line in text.splitlines():
        kind, *parts = line.split(":")
        parts += [""] * 9
        if kind == "user":
            enable, expire, *texts = parts[1:8]
            config.users[parts[0]] = User(int(enable or 0), int(expire or 0), *map(unquote, texts))
        elif kind == "token":
            config.tokens[parts[0]] = Token(int(parts[1] or 0), int(parts[2] or 0), unquote(parts[3]))
        elif kind == "group":
            config.groups[parts[0]] = (set(_names(parts[1])), unquote(parts[2]))
        elif kind == "role":
            config.roles[parts[0]] = set(_names(parts[1]))
        elif kind == "acl":
            for who in _names(parts[2]):
                sort = "group" if who.startswith("@") else "token" if "!" in who else "user"
                for role in _names(parts[3]):
                    config.acl[Entry(parts[1], sort, who.removeprefix("@"), role)] = int(parts[0])
        elif kind == "pool":
            vms, storages = {int(vmid) for vmid in _names(parts[2])}, set(_names(parts[3]))
            config.pools[parts[0]] = Pool(unquote(parts[1]), vms, storages)
    return config


def _escape(text: str) -> str:
    return quote(text, safe=" !\"#$&'()*+,-./;<=>?@[]^_`{|}~\\")


def render(config: UserConfig) -> str:
    """The inverse of `parse`."""
    lines = []
    for name, user in sorted(config.users.items()):
        texts = (user.firstname, user.lastname, user.email, user.comment, user.keys)
        lines.append(f"user:{name}:{user.enable}:{user.expire}:{':'.join(map(_escape, texts))}:")
    for name, token in sorted(config.tokens.items()):
        lines.append(f"token:{name}:{token.expire}:{token.privsep}:{_escape(token.comment)}:")
    lines.append("")
    for name, (members, comment) in sorted(config.groups.items()):
        lines.append(f"group:{name}:{','.join(sorted(members))}:{_escape(comment)}:")
    for name, pool in sorted(config.pools.items()):
        vms, storages = ",".join(map(str, sorted(pool.vms))), ",".join(sorted(pool.storages))
        lines.append(f"pool:{name}:{_escape(pool.comment)}:{vms}:{storages}:")
    for name, privs in sorted(config.roles.items()):
        lines.append(f"role:{name}:{','.join(sorted(privs))}:")
    for entry, propagate in sorted(config.acl.items(), key=lambda item: (item[0].path, item[0].who, item[0].role)):
        who = "@" + entry.who if entry.kind == "group" else entry.who
        lines.append(f"acl:{propagate}:{entry.path}:{who}:{entry.role}:")
    return "\n".join(lines) + "\n"


def load(root: Path) -> UserConfig:
    """What the cluster has now."""
    return parse(files.read(root / "user.cfg"))


@contextmanager
def changing(root: Path) -> Iterator[UserConfig]:
    """Change the configuration alone; written when the block ends well."""
    with files.cluster_lock(root, "file-user_cfg"):
        config = load(root)
        yield config
        files.write(root / "user.cfg", render(config))
