"""The key with which plans are sealed: whoever does not hold it can't make or alter one that is applied.

It is $SMBPLAN_PLAN_KEY, for plans that are made on one machine and applied on another; else a file beside the site's
runs, made with the first plan that is saved.
"""

import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smbplan.engine.plan import digest
from smbplan.store import files

VARIABLE = "SMBPLAN_PLAN_KEY"
SHORTEST = 32  # characters: 128 bits, in hexadecimal digits
SEAL = "seal"


class BadKey(Exception):
    """In words for a person."""


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The plan with its seal. Raises BadKey and OSError."""
    key = _given() or _kept(document["site"]) or _made(document["site"])
    return {**document, SEAL: _seal(key, document)}


def is_genuine(document: Mapping[str, Any], seal: object) -> bool | None:
    """Whether the seal is that of this document, made with our key; None where there is no key. Raises BadKey."""
    key = _given() or _kept(document["site"])
    return hmac.compare_digest(_seal(key, document).encode(), str(seal).encode(errors="replace")) if key else None


def _seal(key: bytes, document: Mapping[str, Any]) -> str:
    return hmac.new(key, digest(document).encode(), "sha256").hexdigest()


def _given() -> bytes | None:
    text = os.environ.get(VARIABLE, "")
    if text and len(text) < SHORTEST:
        raise BadKey(f"${VARIABLE} has {len(text)} characters, and needs {SHORTEST}: openssl rand -hex 32 makes one")
    return text.encode() or None


def _path(site: str) -> Path:
    return files.home() / site / "plan.key"


def _kept(site: str) -> bytes | None:
    try:
        return _path(site).read_bytes() or None
    except OSError:
        return None


def _made(site: str) -> bytes:
    text = secrets.token_hex(SHORTEST)
    files.write(_path(site), text)
    return text.encode()
