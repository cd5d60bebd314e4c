"""Saved plans. A file without our seal, or of another major format, is refused."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smbplan.engine.encoding import step_from_json
from smbplan.engine.resource import STRANGE
from smbplan.engine.step import Step
from smbplan.store import seal

FORMAT = "1.0"
AGAIN = "make a new one with smbplan plan --out"
SITE = re.compile("[A-Za-z0-9][A-Za-z0-9_-]*")  # no path


class BadPlan(Exception):
    """A plan file that can't be used."""

    def __init__(self, summary: str, hint: str) -> None:
        super().__init__(summary)
        self.summary, self.hint = summary, hint


@dataclass(frozen=True, slots=True)
class Saved:
    """A plan as apply needs it."""

    site: str
    steps: tuple[Step, ...]
    endpoints: Mapping[str, Mapping[str, Any]]
    document: Mapping[str, Any]


def read(path: Path) -> Saved:
    """Raises BadPlan."""
    document = _parsed(path)
    stated, site = document.pop(seal.SEAL, None), document.get("site")
    if not isinstance(site, str) or not SITE.fullmatch(site):
        raise BadPlan(f"{path} is not a complete plan", AGAIN)
    try:
        genuine = seal.is_genuine(document, stated)
    except STRANGE:
        raise BadPlan(f"{path} is not a saved plan", AGAIN) from None
    except seal.BadKey as error:
        raise BadPlan(str(error), AGAIN) from None
    if not genuine:
        reason = "was made elsewhere: there is no key here" if genuine is None else "was altered, or made elsewhere"
        raise BadPlan(f"{path} {reason}", f"{AGAIN} here; or let both machines have the same ${seal.VARIABLE}")
    try:
        saved = Saved(
            site, tuple(step_from_json(step) for step in document["steps"]), dict(document["endpoints"]), document
        )
    except STRANGE:
        raise BadPlan(f"{path} is not a complete plan", AGAIN) from None
    if not _is_sound(saved):
        raise BadPlan(f"{path} is not a complete plan", AGAIN)
    return saved


def _parsed(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadPlan(f"{path}: {error.strerror}", AGAIN) from None
    except STRANGE:
        raise BadPlan(f"{path} is not a saved plan", AGAIN) from None
    if not isinstance(document, dict) or "format_version" not in document:
        raise BadPlan(f"{path} is not a saved plan", AGAIN)
    if str(document["format_version"]).split(".", 1)[0] != FORMAT.split(".", 1)[0]:
        raise BadPlan(f"{path} has format {document['format_version']}; this smbplan reads {FORMAT}", AGAIN)
    return document


def _is_sound(saved: Saved) -> bool:
    """Every step waits for earlier ones only and has a target."""
    known: set[str] = set()
    for step in saved.steps:
        if step.id in known or not known.issuperset({*step.after, *step.behind}) or step.target not in saved.endpoints:
            return False
        known.add(step.id)
    return True
