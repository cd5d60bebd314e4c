"""A folder of YAML files becomes a site."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from smbplan.spec.check import DANGEROUS, MANAGED, check
from smbplan.spec.model import Permit, Site
from smbplan.spec.presets import filled
from smbplan.spec.problems import SpecError, from_validation
from smbplan.spec.source import Source, read
from smbplan.spec.types import ACCOUNT, NAME

# What takes the place of a definition that is wrong by itself, so that references to it hold and ask nothing of it.
STAND_INS: dict[str, Any] = {
    "gateways": {"roots": ["/"], "permit": [*get_args(Permit), *sorted(DANGEROUS | MANAGED.keys())]},
    "users": {"external": True},
    "groups": {"external": True},
    "shares": None,
}


@dataclass(frozen=True, slots=True)
class Loaded:
    site: Site
    source: Source


def load(path: Path) -> Loaded:
    """The site at a file or folder. Raises SpecError with every problem that was found."""
    return load_source(read(path))


def load_source(source: Source) -> Loaded:
    """Raises SpecError."""
    try:
        site = Site.model_validate(filled(source.data))
    except ValidationError as error:
        rest = _sound(filled(source.data), error)
        more = check(rest, source.where) if rest else []
        raise SpecError([*from_validation(error, source, Site), *more]) from None
    problems = check(site, source.where)
    if problems:
        raise SpecError(problems)
    return Loaded(site, source)


def _sound(data: Any, error: ValidationError) -> Site | None:
    """The site without what is wrong by itself, so that the rest is checked too. None: not enough is left."""
    wrong = {tuple(map(str, problem["loc"][:2])) for problem in error.errors(include_url=False, include_context=False)}
    if any(len(place) < 2 or place[0] not in STAND_INS for place in wrong - {("version",), ("site",)}):
        return None
    rest = {**data, "version": 1, "site": "site"}
    for section, name in (place for place in wrong if len(place) == 2):
        rest[section] = {key: value for key, value in rest[section].items() if str(key) != name}
        if STAND_INS[section] is not None and re.match(NAME if section == "gateways" else ACCOUNT, str(name)):
            rest[section][name] = STAND_INS[section]
    try:
        return Site.model_validate(rest)
    except ValidationError:
        return None
