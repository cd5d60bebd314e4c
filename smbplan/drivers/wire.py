"""What goes to an agent, and what comes back, as the engine has it."""

from collections.abc import Mapping
from typing import Any

from smbplan.drivers.errors import ChannelError, as_error, understanding, word
from smbplan.drivers.secrets import references
from smbplan.engine.encoding import step_to_json
from smbplan.engine.outcome import Result
from smbplan.engine.resource import Key, Live, Record
from smbplan.engine.step import Move, Op, Way, Work


def live(target: str, answer: Mapping[str, Any]) -> tuple[Live, dict[Key, dict[str, str]]]:
    if any(True for _ in references([answer["states"], answer["records"]])):  # they would be resolved when sent back
        words = f"{target} tells of secrets of this machine, which smbplan never puts there"
        raise ChannelError(words, "", "somebody has written that there: look at its notes and /var/lib/smbplan")
    states: dict[Key, Any] = {}
    errors: dict[Key, dict[str, str]] = {}
    for type_, name, found in answer["states"]:
        if "error" in found:
            errors[Key(type_, name)] = {word: str(found["error"][word]) for word in ("summary", "detail", "hint")}
        else:
            states[Key(type_, name)] = found["state"]
    records = {address: Record.from_json(data) for address, data in answer["records"].items()}
    return Live(dict(answer["facts"]), states, records, dict(answer["peers"])), errors


def note(work: Work) -> dict[str, Any]:
    """What the journal on a target is told of it; secrets are references there."""
    found = {"step": work.step.id, "way": work.way.value}
    return {**found, "words": step_to_json(work.step)} if work.way is Way.DO else found


def encode(op: Op) -> dict[str, Any]:
    """An operation as the agent takes it."""
    if isinstance(op, Move):
        return {
            "type": op.key.type,
            "name": op.key.name,
            "before": op.before,
            "after": op.after,
            "record": op.record.as_json() if op.record else None,
            "address": op.address,
            "options": dict(op.options),
        }
    return {"call": op.name, "arguments": dict(op.arguments)}


def answers_of(target: str, told: Any, count: int) -> list[dict[str, Any]]:
    """What a target answers to so many operations. Raises ChannelError where it is not one answer for each."""
    with understanding(target):
        if not isinstance(told, list) or len(told) != count:
            raise ValueError(f"{count} operations have as many answers")
    return [answer_of(target, each) for each in told]


def answer_of(target: str, told: Any) -> dict[str, Any]:
    """One that `result` takes. Of one that can't be understood, nobody knows what was done."""
    try:
        with understanding(target):
            if "error" in told:
                words = {name: word(told["error"][name]) for name in ("summary", "detail", "hint")}
                return {"error": words, **({"untouched": True} if "untouched" in told else {})}
            return {"ok": told["ok"], "warnings": [word(each) for each in told.get("warnings", ())]}
    except ChannelError as error:
        return {"error": as_error(error), "lost": True}


def result(answer: Mapping[str, Any]) -> Result:
    if "error" in answer:
        return Result(False, **answer["error"], untouched="untouched" in answer, lost="lost" in answer)
    return Result(True, output=answer["ok"], warnings=answer["warnings"])
