"""What is left of definitions that are partly wrong, so that a person gets to know all problems at once."""

import copy
import re
from collections.abc import Callable, Iterable
from typing import Any, get_args

from pydantic import ValidationError

from smbplan.spec.check import DANGEROUS, MANAGED
from smbplan.spec.model import Permit, Site
from smbplan.spec.types import ACCOUNT, NAME

Path = tuple[Any, ...]  # of names and numbers, as in the data
OPEN = {"roots": ["/"], "permit": [*get_args(Permit), *sorted(DANGEROUS | MANAGED.keys())]}
# What takes the place of a definition that is wrong by itself, so that references to it hold and ask nothing of it.
STAND_INS: dict[str, Any] = {
    "gateways": OPEN,
    "users": {"external": True},
    "groups": {"external": True},
    "shares": None,
}


def sound(data: dict[str, Any], error: ValidationError) -> Site | None:
    """The site without the keys that are wrong, and without the definitions that are so even then.

    None when a whole section has another shape: whatever refers to it would be told as unknown.
    """
    rest = copy.deepcopy({**data, "version": 1, "site": "site"})
    for leave_out in (_key, _definition):
        paths = [path for path in places(error) if path[0] not in ("version", "site")]
        if any(len(path) == 1 and path[0] in STAND_INS for path in paths):
            return None
        without(rest, paths, leave_out)
        try:
            return Site.model_validate(rest)
        except ValidationError as still:
            error = still
    return None


def places(error: ValidationError) -> list[Path]:
    """Where the errors are, the last of a list first, so that leaving one out moves no other."""
    found = {tuple(problem["loc"]) for problem in error.errors(include_url=False, include_context=False)}
    return sorted(found, key=lambda path: [(isinstance(part, str), str(part).zfill(9)) for part in path], reverse=True)


def without(
    data: dict[str, Any], paths: Iterable[Path], leave_out: Callable[[dict[str, Any], Path], None] | None = None
) -> None:
    """Take what is at these paths out of the data; of definitions, as `leave_out` does."""
    for path in paths:
        if leave_out and len(path) > 1 and path[0] in STAND_INS:
            leave_out(data, path)
        else:
            _drop(data, path)


def _key(data: dict[str, Any], path: Path) -> None:
    """The deepest part that is there; a gateway that lacks something gets what asks nothing of its shares."""
    section, name = path[:2]
    found = data[section].get(name)
    if len(path) < 3 or not isinstance(found, dict) or path[2] not in found:
        return
    _drop(found, path[2:])
    if section == "gateways":
        data[section][name] = {**found, **copy.deepcopy(OPEN)}


def _definition(data: dict[str, Any], path: Path) -> None:
    section, name = path[:2]
    data[section].pop(name, None)
    stand_in, rule = STAND_INS[str(section)], NAME if section == "gateways" else ACCOUNT
    if stand_in is not None and re.match(rule, str(name)):
        data[section][name] = copy.deepcopy(stand_in)


def _drop(data: Any, path: Path) -> None:
    """Pydantic's path names the members of unions too, which the data doesn't have."""
    held, last, here = None, path[0], data
    for part in path:
        known = part in here if isinstance(here, dict) else isinstance(here, list) and part in range(len(here))
        if known:
            held, last, here = here, part, here[part]
    if isinstance(held, list):
        held[last] = "*"  # a name in an access list: that it is empty without is no news
    elif held is not None:
        del held[last]
