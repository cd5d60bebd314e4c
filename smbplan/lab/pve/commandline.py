"""Command lines as calls of the API, and answers as text."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smbplan.lab.pve import api, routing, tasks
from smbplan.lab.pve.errors import ApiError
from smbplan.lab.pve.schema import lookup
from smbplan.lab.pve.site import Site, open_site
from smbplan.lab.pve.usercfg import ROOT

FAILED, MISSING = 255, 2


class Usage(Exception):
    """A command line that makes no sense."""


@dataclass(frozen=True)
class Command:
    """A call with its positional arguments; `{node}` in the path is this node."""

    method: str
    path: str
    positional: tuple[str, ...] = ()


def site_of(environment: Mapping[str, str]) -> Site:
    """The site that the environment names."""
    return open_site(
        Path(environment.get("PVE_ROOT", "/etc/pve")),
        Path(environment.get("PVE_LOCAL", "/var/log/pve")),
        environment.get("PVE_NODE", ""),
        environment.get("PVE_BACKEND", "containers"),
    )


def parse(words: Sequence[str], command: Command) -> dict[str, str]:
    """Positional arguments by name, then `--name value`, `--name=value`, and switches without value."""
    route, _ = api.ROUTES.find(command.method, command.path.replace("{volume}", "x"))
    values: dict[str, str] = {}
    missing = list(command.positional)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            if not missing:
                raise Usage(f"too many arguments: {word}")
            values[missing.pop(0)] = word
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            param = lookup(route.params, name)
            switch = param is not None and param.kind == "boolean" and not (rest and rest[0] in ("0", "1"))
            if not switch and not rest:
                raise Usage(f"option '{name}' needs a value")
            value = "1" if switch else rest.pop(0)
        values[name] = value
    if missing:
        raise Usage(f"not enough arguments: {missing[0]} is missing")
    return values


def call(site: Site, command: Command, values: dict[str, str]) -> Any:
    """The call's data; a task is waited for, its log shown."""
    path = command.path.replace("{node}", site.node)
    for name in command.positional:
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", values.pop(name))
    data = routing.dispatch(site, ROOT, command.method, path, values)
    if isinstance(data, str) and data.startswith("UPID:"):
        follow(site, data)
        return None
    return data


def follow(site: Site, text: str) -> None:
    """Wait for a task, print its log, and fail as it did."""
    outcome = tasks.wait(site, text)
    for line in tasks.log_lines(site, tasks.parse(text))[:-1]:
        print(line)
    if outcome != "OK" and not outcome.startswith("WARNINGS: "):
        raise ApiError(500, outcome)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str, int]]) -> None:
    """Rows below a header; negative widths are right-aligned."""
    for row in [{key: title for key, title, _ in columns}, *rows]:
        cells = (f"{row.get(key, '')!s:{'>' if width < 0 else '<'}{abs(width)}}" for key, _, width in columns)
        print(" ".join(cells).rstrip())


def show(data: Any) -> None:
    """Anything else: JSON."""
    if data is not None:
        print(json.dumps(data, indent=1, sort_keys=True))


def report(error: ApiError) -> int:
    """The error on stderr as the commands print it; the exit code."""
    print(("400 " if error.errors else "") + error.message.rstrip("\n"), file=sys.stderr)
    for name, text in (error.errors or {}).items():
        print(f"{name}: {text.rstrip()}", file=sys.stderr)
    return MISSING if "Configuration file" in error.message and "does not exist" in error.message else FAILED
