"""Who may do what: roles along the path, tokens, pools, and the checks of the handlers."""

import re
from collections.abc import Iterable
from pathlib import Path

from smbplan.lab.pve import privileges, usercfg
from smbplan.lab.pve.errors import ApiError, denied
from smbplan.lab.pve.usercfg import ROOT, UserConfig

DEFAULT_PATHS = ("/", "/access", "/access/groups", "/access/realm", "/nodes", "/pool", "/sdn", "/storage", "/vms")
_VALID_PATH = re.compile(
    r"/|/access(/groups(/[\w.\-]+)?|/realm(/[\w.\-]+)?)?|/nodes(/[\w.\-]+)?|/vms(/[1-9]\d{2,})?"
    r"|/pool(/[\w.\-]+){0,3}|/storage(/[\w.\-]+)?|/mapping(/(dir|pci|usb|hwrng)(/[\w.\-]+)?)?"
    r"|/mapping/notifications(/[\w.\-]+)?|/sdn(/(zones|controllers|dns|ipams)(/[\w.\-]+){0,3}|/fabrics(/[\w.\-]+)?)?"
)


def normal_path(path: str) -> str | None:
    """The path without doubled and trailing slashes; None if rights can't be given there."""
    tidy = "/" + "/".join(part for part in path.split("/") if part)
    return tidy if _VALID_PATH.fullmatch(tidy) else None


def owner(user: str) -> str:
    """The user that a token belongs to; the user itself otherwise."""
    return user.partition("!")[0]


class Rights:
    """The rights of one authenticated user or token, as the configuration is at this moment."""

    def __init__(self, root: Path, dialect: float, user: str):
        self.config: UserConfig = usercfg.load(root)
        self.user = user
        self.known = privileges.roles(dialect)
        self.every = privileges.privileges(dialect)
        self.cache: dict[tuple[str, str], dict[str, int]] = {}

    @property
    def is_root(self) -> bool:
        """root@pam itself, not one of its tokens."""
        return self.user == ROOT

    def privileges_of(self, role: str) -> Iterable[str]:
        """What the role grants."""
        return self.known[role] if role in self.known else self.config.roles.get(role, ())

    def _roles(self, user: str, path: str) -> dict[str, int]:
        """Role to propagation at the path: the entry nearest to it counts, users before groups."""
        groups = [name for name, (members, _) in self.config.groups.items() if user in members]
        parts = [part for part in path.split("/") if part]
        prefixes = ["/", *("/" + "/".join(parts[: n + 1]) for n in range(len(parts)))]
        found: dict[str, int] = {}
        for prefix in prefixes:
            own: dict[str, int] = {}
            by_group: dict[str, int] = {}
            for entry, propagate in self.config.acl.items():
                if entry.path != prefix or not (propagate or prefix == prefixes[-1]):
                    continue
                if entry.kind != "group" and entry.who == user:
                    own[entry.role] = propagate
                elif entry.kind == "group" and entry.who in groups:
                    by_group[entry.role] = propagate
            found = own or by_group or found
        return {"NoAccess": found["NoAccess"]} if "NoAccess" in found else found

    def permissions(self, path: str, user: str | None = None) -> dict[str, int]:
        """Privilege to propagation at the path."""
        user = self.user if user is None else user
        if (user, path) not in self.cache:
            self.cache[user, path] = self._permissions(user, path)
        return self.cache[user, path]

    def _permissions(self, user: str, path: str) -> dict[str, int]:
        if user == ROOT:
            return dict.fromkeys(self.every, 1)
        if "!" in user:
            token = self.config.tokens.get(user)
            if token is None:
                return {}
            of_owner = self.permissions(path, owner(user))
            if not token.privsep:
                return of_owner
            return {name: value for name, value in self._granted(user, path).items() if name in of_owner}
        return self._granted(user, path)

    def _granted(self, user: str, path: str) -> dict[str, int]:
        roles = self._roles(user, path)
        if "NoAccess" not in roles:
            for pool in self._pools_at(path):
                roles = {**self._roles(user, f"/pool/{pool}"), **roles}
        granted: dict[str, int] = {}
        for role, propagate in roles.items():
            for name in self.privileges_of(role):
                granted[name] = granted.get(name, 0) or propagate
        return granted

    def _pools_at(self, path: str) -> list[str]:
        match = re.fullmatch(r"/(vms|storage)/([^/]+)", path)
        if not match:
            return []
        return [
            name
            for name, pool in self.config.pools.items()
            if (match[2] in pool.storages if match[1] == "storage" else match[2] in map(str, pool.vms))
        ]

    def has(self, path: str, names: Iterable[str], *, any_of: bool = False) -> bool:
        """Whether the user has the privileges at the path."""
        held = self.permissions(path)
        return (any if any_of else all)(name in held for name in names)

    def check(self, path: str, names: list[str], *, any_of: bool = False, purpose: str = "") -> None:
        """403 unless `has`."""
        if not self.has(path, names, any_of=any_of):
            raise denied(f"{path}, {('|' if any_of else ', ').join(names)}{purpose}")

    def check_vm(self, vmid: int, pool: str | None, names: list[str]) -> None:
        """Rights on the guest, or on the pool that it is being created in."""
        if not (pool and self.has(f"/pool/{pool}", names)):
            self.check(f"/vms/{vmid}", names)

    def check_pool_exists(self, pool: str) -> None:
        """403 for a pool that isn't there: the real server answers so."""
        if pool not in self.config.pools:
            raise denied(f"pool '{pool}' does not exist")

    def check_user(self, userid: str, names: list[str]) -> None:
        """`userid-group`: rights on all groups, or on one that the user is in."""
        groups = [name for name, (members, _) in self.config.groups.items() if userid in members]
        paths = ["/access/groups", *(f"/access/groups/{name}" for name in groups)]
        if not any(self.has(path, names, any_of=True) for path in paths):
            raise denied(f"/access/groups, {'|'.join(names)}")

    def tasks_refused(self, node: str, user: str, names: list[str]) -> ApiError | None:
        """Tasks belong to who started them; others need rights on the node."""
        mine = self.user == user or ("!" not in self.user and owner(user) == self.user)
        if mine or self.has(f"/nodes/{node}", names):
            return None
        return denied(f"/nodes/{node}, {', '.join(names)}")
