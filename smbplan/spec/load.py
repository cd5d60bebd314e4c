"""A folder of YAML files becomes a site."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smbplan.spec import salvage
from smbplan.spec.check import check
from smbplan.spec.clusters import clustered
from smbplan.spec.model import Site
from smbplan.spec.presets import filled
from smbplan.spec.problems import Problem, SpecError, from_validation
from smbplan.spec.source import Source, read


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
        raise SpecError(_problems(source, error)) from None
    problems = check(site, source.where)
    if problems:
        raise SpecError(problems)
    return Loaded(clustered(site), source)


def _problems(source: Source, error: ValidationError) -> list[Problem]:
    """Wrong types, and wrong references of all that is sound. What is wrong in `defaults` is told once, and there."""
    data, found = source.data, []
    own = _error({"version": 1, "site": "site", "defaults": data.get("defaults") or {}})
    if own:
        found += from_validation(own, source, Site)
        data = copy.deepcopy(data)
        salvage.without(data, salvage.places(own))
    rest = _error(filled(data)) if own else error
    if rest is None:
        return [*found, *check(Site.model_validate(filled(data)), source.where)]
    site = salvage.sound(filled(data), rest)
    damaged = {path[:2] for path in salvage.places(rest)}
    return [*found, *from_validation(rest, source, Site), *(check(site, source.where, damaged) if site else [])]


def _error(data: Any) -> ValidationError | None:
    try:
        Site.model_validate(data)
    except ValidationError as error:
        return error
    return None
