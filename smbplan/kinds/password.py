"""Samba's password for a local user, compared as a hash on the gateway. smbpasswd(8)"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from smbplan.engine.kind import Change, Kind
from smbplan.engine.resource import Key, Resource, State
from smbplan.engine.step import Call
from smbplan.kinds.names import address, users_on
from smbplan.spec.model import Site


class Password(Kind):
    name, title, object = "samba.user", "Samba user", "password"
    one = True
    sensitive = asked = frozenset({"password"})

    def options(self, resource: Resource) -> Mapping[str, Any]:
        return {"password": resource.desired["secret"]}

    def canonical(self, state: State) -> State:
        """When it was set is for a step, which overwrites no other password than the one that was there."""
        return {name: value for name, value in state.items() if name != "changed"} if state else state

    def complete(self, desired: Mapping[str, Any], live: Any) -> Any:
        return {"password": "current", "disabled": desired["disabled"]}

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        """A user who may not come in any more is not left in."""
        key = change.resource.key if change.resource else change.record.key if change.record else None
        out = change.before is not None and (change.after is None or change.after["disabled"])
        return logoffs([key.name]) if key and out else ()


KIND = Password()


def logoffs(users: Iterable[str]) -> list[tuple[str, Call]]:
    """The calls that end all sessions of these users."""
    return [(f"logoff {user}", Call("logoff", {"user": user})) for user in sorted(users)]


def secret(site: Site, user: str) -> dict[str, Any]:
    """The reference to a user's password."""
    password = site.users[user].password
    assert password is not None
    return {"$secret": password.model_dump(exclude_none=True)}


def expand(site: Site) -> Iterator[Resource]:
    for gateway in site.gateways:
        for name, user in users_on(site, gateway).items():
            if user.external or user.password is None:
                continue
            desired = {"secret": secret(site, name), "disabled": not user.enabled}
            after = (address("user", gateway, name), address("config", gateway))
            yield Resource(
                address("password", gateway, name), KIND.name, gateway, Key(KIND.object, name), desired, after
            )
