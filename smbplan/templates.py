"""Texts for gateways, rendered from the package's templates (`templates/` in a checkout)."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent


def data(name: str) -> Path:
    """A folder that comes with smbplan: `templates`, `schemas` or `examples`, in a wheel or in a checkout."""
    packaged = HERE / "data" / name
    return packaged if packaged.is_dir() else HERE.parent / name


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(data("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=lambda name: bool(name and name.endswith(".xml.j2")),
    )


def render(name: str, **values: Any) -> str:
    """The template `name` with its values; a missing value is an error of smbplan's."""
    return _environment().get_template(name).render(**values)
