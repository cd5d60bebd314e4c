"""Steps and plans as JSON, and back. A file without our seal, or of another major format, is refused."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smbplan.engine.resource import Key, Record
from smbplan.engine.step import Call, Move, Nature, Op, Step
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


def step_to_json(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "address": step.address,
        "target": step.target,
        "title": step.title,
        "reversibility": step.nature.value,
        "do": op_to_json(step.do),
        "undo": op_to_json(step.undo) if step.undo else None,
        "why": step.why,
        "after": list(step.after),
        **({"behind": list(step.behind)} if step.behind else {}),
        "units": list(step.units),
        "bracket": step.bracket,
    }


def step_from_json(data: Mapping[str, Any]) -> Step:
    """Raises KeyError, TypeError or ValueError for data that is no step."""
    return Step(
        id=_text(data["id"]),
        address=_text(data["address"]),
        target=_text(data["target"]),
        title=_text(data["title"]),
        do=op_from_json(data["do"]),
        undo=op_from_json(data["undo"]) if data["undo"] else None,
        nature=Nature(data["reversibility"]),
        why=_text(data["why"]),
        after=tuple(map(_text, data["after"])),
        behind=tuple(map(_text, data.get("behind", ()))),
        units=tuple(map(_text, data["units"])),
        bracket=bool(data["bracket"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def op_to_json(op: Op) -> dict[str, Any]:
    if isinstance(op, Call):
        return {"call": op.name, "arguments": dict(op.arguments)}
    return {
        "set": list(op.key),
        "address": op.address,
        "before": op.before,
        "after": op.after,
        "record": op.record.as_json() if op.record else None,
        "options": dict(op.options),
    }


def op_from_json(data: Mapping[str, Any]) -> Op:
    if "call" in data:
        return Call(_text(data["call"]), dict(data["arguments"]))
    key = Key(*map(_text, data["set"]))
    record = Record.from_json(data["record"]) if data["record"] else None
    return Move(_text(data["address"]), key, data["before"], data["after"], record, dict(data["options"]))


def read(path: Path) -> Saved:
    """Raises BadPlan."""
    document = _parsed(path)
    stated, site = document.pop(seal.SEAL, None), document.get("site")
    if not isinstance(site, str) or not SITE.fullmatch(site):
        raise BadPlan(f"{path} is not a complete plan", AGAIN)
    try:
        genuine = seal.is_genuine(document, stated)
    except RecursionError:
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
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadPlan(f"{path} is not a complete plan", AGAIN) from None
    if not _is_sound(saved):
        raise BadPlan(f"{path} is not a complete plan", AGAIN)
    return saved


def _parsed(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadPlan(f"{path}: {error.strerror}", AGAIN) from None
    except (ValueError, RecursionError):
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
