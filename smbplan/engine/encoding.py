"""Steps as JSON, and back: for saved plans, and for what a run writes down."""

from collections.abc import Mapping
from typing import Any

from smbplan.engine.resource import Key, Record
from smbplan.engine.step import Call, Move, Nature, Op, Step


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
