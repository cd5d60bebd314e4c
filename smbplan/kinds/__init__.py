"""One file per kind of resource. Pure: a kind says what is wanted, how states compare, and how an object goes.

A module here with a `KIND` is a kind, found by itself; its `expand(site)` makes the resources of a site.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from smbplan.engine.kind import Kinds
from smbplan.engine.resource import Resource
from smbplan.kinds import cluster, power, virtiofs
from smbplan.spec.model import Site


@cache
def _modules() -> tuple[object, ...]:
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names)
    return tuple(module for module in modules if hasattr(module, "KIND"))


@cache
def kinds() -> Kinds:
    """All kinds by name."""
    found = [module.KIND for module in _modules()]  # type: ignore[attr-defined]
    return Kinds({kind.name: kind for kind in found})


def expand(site: Site) -> list[Resource]:
    """Every resource of the site, ordered by address. What is inside a guest waits until that runs."""
    inside = {name for name, gateway in site.gateways.items() if gateway.guest}
    found = [
        replace(item, after=(*item.after, power.address(item.target))) if item.target in inside else item
        for item in cluster.shared(site, _expanded(site), kinds())
    ]
    return sorted(virtiofs.first(found), key=lambda item: item.address)


def _expanded(site: Site) -> Iterator[Resource]:
    for module in _modules():
        yield from module.expand(site)  # type: ignore[attr-defined]
