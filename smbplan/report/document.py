"""The JSON documents. Readers ignore keys that they don't know; a major bump of the format is refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from smbplan.drivers.channel import Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.engine import diff
from smbplan.engine import plan as planning
from smbplan.engine.encoding import step_to_json
from smbplan.engine.kind import Action, Change, Kinds
from smbplan.engine.outcome import Outcome
from smbplan.engine.plan import Plan
from smbplan.engine.step import Nature, Status, Step
from smbplan.errors import Trouble
from smbplan.report import manual
from smbplan.store.codec import FORMAT


def plan(made: Plan, kinds: Kinds, endpoints: Mapping[str, Endpoint]) -> dict[str, Any]:
    """A plan: what a person reviews, and, once it is sealed, what apply takes."""
    return {
        "format_version": FORMAT,
        "site": made.site,
        "targets": list(made.targets),
        "summary": summary(made),
        "changes": [change(item, kinds, made.steps) for item in made.changes],
        "steps": [step_to_json(step) for step in made.steps],
        "warnings": list(made.warnings),
        "refused": [
            {name: getattr(item, name) for name in ("address", "summary", "detail", "hint", "guardrail")}
            for item in made.refused
        ],
        "lifted": sorted({item.guardrail for item in made.lifted}),
        "spec_digest": made.spec_digest,
        "live_digest": made.live_digest,
        "endpoints": {name: at.as_json() for name, at in sorted(endpoints.items())},
    }


def summary(made: Plan) -> dict[str, int]:
    counts = {str(action): made.count(action) for action in Action if action is not Action.NOOP}
    return {**counts, "unchanged": made.unchanged}


def change(item: Change, kinds: Kinds, steps: Sequence[Step]) -> dict[str, Any]:
    sensitive = kinds[item.kind].sensitive
    nature = next((step.nature for step in steps if step.id == item.address), Nature.REVERSIBLE)
    return {
        "address": item.address,
        "kind": item.kind,
        "action": str(item.action),
        "before": diff.masked(item.before, sensitive),
        "after": diff.masked(item.after, sensitive),
        "fields": [
            {"path": field.path, "before": field.before, "after": field.after} for field in planning.fields(item, kinds)
        ],
        "reversibility": str(nature),
        "reasons": list(item.reasons),
    }


def applied(run: str, steps: Sequence[Step], outcome: Outcome) -> dict[str, Any]:
    """How a run ended."""
    return {
        "format_version": FORMAT,
        "outcome": outcome.name,
        "run": run or None,
        "steps": [
            {"id": step.id, "address": step.address, "status": str(outcome.statuses.get(step.id, Status.PENDING))}
            for step in steps
        ],
        "errors": [
            {"address": item.address, "summary": item.summary, "detail": item.detail, "hint": item.hint}
            for item in outcome.problems
        ],
        "warnings": [{"address": item.address, "text": item.text} for item in outcome.warnings],
        "manual": manual.commands(outcome.stranded, outcome.homes),
    }


def errors(troubles: Sequence[Trouble]) -> dict[str, Any]:
    """What any command prints when it fails."""
    return {
        "format_version": FORMAT,
        "errors": [
            {
                name: value
                for name in ("address", "file", "line", "column", "summary", "detail", "hint", "guardrail")
                if (value := getattr(item, name)) or name == "summary"
            }
            for item in troubles
        ],
    }


COUNTED = ("connections", "round_trips", "commands", "calls", "operations", "sent", "received")


def timings(counts: Mapping[str, Counts]) -> dict[str, Any]:
    """Exact counts, and seconds spent waiting for the target."""
    return {
        target: {name: getattr(each, name) for name in COUNTED} | {"seconds": round(each.seconds, 3)}
        for target, each in sorted(counts.items())
    }
