"""The table of calls: path, parameters, rights, and who handles it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from smbplan.lab.pve import schema
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import ApiError
from smbplan.lab.pve.schema import Param, Table
from smbplan.lab.pve.site import Site

PATH_PARAMS: dict[str, Param] = {
    "node": Param(optional=False, format="node"),
    "vmid": Param("integer", optional=False, format="vmid"),
    "storage": Param(optional=False, format="storage-id"),
    "userid": Param(optional=False, format="user-id", longest=64),
    "poolid": Param(optional=False, format="pool"),
}


@dataclass(frozen=True)
class Need:
    """Privileges at a path, in which `{name}` stands for a parameter."""

    path: str
    names: tuple[str, ...]
    any_of: bool = False


@dataclass
class Call:
    """One request as a handler sees it: verified parameters, and the rights of who asks."""

    site: Site
    rights: Rights
    params: dict[str, Any]
    raw: Mapping[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  # goes beside `data` in the answer

    @property
    def user(self) -> str:
        """Who asks: `user@realm` or `user@realm!token`."""
        return self.rights.user

    def take(self, name: str, default: Any = None) -> Any:
        """Remove a parameter from those that are left."""
        return self.params.pop(name, default)


Handler = Callable[[Call], Any]
Check = Callable[[Call], None]


@dataclass(frozen=True)
class Route:
    """One row. `need` None: any authenticated user may call (the handler filters or checks)."""

    method: str
    path: str
    handler: Handler
    params: Table
    need: Need | Check | None
    world: bool
    at: str = ""

    def node(self, uri: Mapping[str, str], raw: Mapping[str, Any]) -> str | None:
        """The node that must answer: of the path, or of the parameter `at`."""
        if self.path.startswith("/nodes/{node}/"):
            return uri["node"]
        return str(raw[self.at]) if self.at in raw else None


class Routes:
    """All rows, and finding one."""

    def __init__(self) -> None:
        self.rows: list[tuple[re.Pattern[str], Route]] = []

    def add(
        self,
        method: str,
        path: str,
        params: Table | None = None,
        need: Need | Check | None = None,
        *,
        world: bool = False,
        at: str = "",
    ) -> Callable[[Handler], Handler]:
        """Decorate a handler; `{name}` matches one part of the path, `{volume}` the rest of it.

        `at` is the parameter that names the node to answer, where the path doesn't.
        """

        def keep(handler: Handler) -> Handler:
            names = re.findall(r"\{(\w+)\}", path)
            table = {name: PATH_PARAMS.get(name, schema.NEED) for name in names} | dict(params or {})
            pattern = re.sub(r"\{(\w+)\}", lambda m: rf"(?P<{m[1]}>{'.+' if m[1] == 'volume' else '[^/]+'})", path)
            self.rows.append((re.compile(pattern), Route(method, path, handler, table, need, world, at)))
            return handler

        return keep

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The row and the path's parameters; 501 without one."""
        for pattern, route in self.rows:
            match = pattern.fullmatch(path)
            if match and route.method == method:
                return route, {name: unquote(value) for name, value in match.groupdict().items()}
        raise ApiError(501, f"Method '{method} {path}' not implemented")


ROUTES = Routes()
route = ROUTES.add


def check_rights(found: Route, rights: Rights, uri: Mapping[str, str], site: Site, raw: Mapping[str, Any]) -> None:
    """403 if the row's declared rights are missing; before the parameters are looked at, as in the real server."""
    if isinstance(found.need, Need):
        known = {name: schema.as_text(value) for name, value in {**raw, **uri}.items()}
        path = re.sub(r"\{(\w+)\}", lambda m: known.get(m[1], ""), found.need.path)
        rights.check(path, list(found.need.names), any_of=found.need.any_of)
    elif found.need is not None:
        found.need(Call(site, rights, dict(uri), {**raw, **uri}))


def perform(
    found: Route, site: Site, rights: Rights, uri: Mapping[str, str], raw: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Verify the parameters and run the handler; its data, and what goes beside it."""
    values = schema.verify({**raw, **uri}, found.params, site.dialect)
    call = Call(site, rights, values, {**raw, **uri})
    return found.handler(call), call.extra


def dispatch(site: Site, user: str, method: str, path: str, params: Mapping[str, Any]) -> Any:
    """A call from inside, as the node's own commands make it."""
    found, uri = ROUTES.find(method, path)
    rights = Rights(site.root, site.dialect, user)
    check_rights(found, rights, uri, site, params)
    return perform(found, site, rights, uri, params)[0]
