"""Samba's registry, by the Python binding that comes with Samba."""

from __future__ import annotations

from typing import Any

from .core import Refused, has_database, samba_settings

MARK = "smbplan:mark"


def connect(create: bool = False) -> Any:
    """The binding's object, or None while there is no Samba, or no registry and none is to be made."""
    try:
        from samba.samba3 import smbconf

        settings = samba_settings()
    except ImportError:
        return None  # no Samba yet, so no shares
    if create or has_database(settings, settings.state_path("registry.tdb")):
        return smbconf.init_reg(None)
    return None


def stored(registry: Any, name: str) -> dict[str, str] | None:
    """A share as it is stored, the mark included. Raises Refused."""
    try:
        return dict(registry.get_share(name)[1])
    except Exception as error:  # the binding raises its own untyped error
        if "NO_SUCH_SERVICE" in str(error):
            return None
        raise Refused(f"Samba's registry can't be read: {error}") from None


def unmarked() -> list[str]:
    """The shares, and "global" if it sets anything, that no smbplan has made."""
    registry = connect()
    if registry is None:
        return []
    found = {name: stored(registry, name) or {} for name in registry.share_names()}
    return sorted(name for name, params in found.items() if MARK not in params and (params or name != "global"))


def globals_() -> dict[str, str]:
    """What the registry's own [global] sets, which our smb.conf includes. Raises Refused."""
    found = connect()
    return {} if found is None else stored(found, "global") or {}


def set_globals(params: dict[str, str]) -> None:
    found = connect(create=bool(params))
    if found is not None and stored(found, "global") is not None:
        found.delete_share("global")
    if params:
        found.create_set_share("global", list(params.items()))
