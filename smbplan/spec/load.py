"""A folder of YAML files becomes a site."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from smbplan.spec.check import check
from smbplan.spec.model import Site
from smbplan.spec.presets import filled
from smbplan.spec.problems import SpecError, from_validation
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
        raise SpecError(from_validation(error, source, Site)) from None
    problems = check(site, source.where)
    if problems:
        raise SpecError(problems)
    return Loaded(site, source)
