"""Guardrails. Each one refuses a plan with the way out in its message; `--allow NAME` lifts exactly one."""

from collections.abc import Iterable, Iterator, Sequence

from smbplan.engine.kind import Action, Change, Hazard

FRACTION = 0.3  # of what is managed
AT_LEAST = 10  # managed resources; below that everything is a large part


def check(changes: Sequence[Change], managed: int) -> Iterator[Hazard]:
    """The guardrails that look at the plan as a whole (`managed` resources are there now), and those for every kind."""
    yield from _too_many([change for change in changes if change.record and not _returns(change)], managed)
    for change in changes:
        if change.action is Action.DELETE and change.record and change.record.prevent_destroy:
            yield Hazard(
                change.address,
                "prevent_destroy is set, and this plan removes it",
                "apply once with prevent_destroy: false, or use --allow prevent-destroy",
                "prevent-destroy",
            )


def _returns(change: Change) -> bool:
    """It was parked, and is wanted again."""
    return bool(change.record and change.record.parked) and change.action is Action.UPDATE


def _too_many(changes: Sequence[Change], managed: int) -> Iterator[Hazard]:
    if managed < AT_LEAST:
        return
    for action in (Action.UPDATE, Action.DELETE):
        count = sum(change.action is action for change in changes)
        if count > FRACTION * managed:
            yield Hazard(
                "",
                f"{count} of {managed} resources would be {action}d, more than {FRACTION:.0%}",
                f"if that is meant, use --allow many-{action}s",
                f"many-{action}s",
            )


def sort(hazards: Iterable[Hazard], allow: frozenset[str]) -> tuple[tuple[Hazard, ...], tuple[Hazard, ...]]:
    """What refuses the plan, and what was lifted by name."""
    every = sorted(set(hazards), key=lambda hazard: (hazard.address, hazard.summary))
    return (
        tuple(hazard for hazard in every if hazard.guardrail not in allow or not hazard.guardrail),
        tuple(hazard for hazard in every if hazard.guardrail and hazard.guardrail in allow),
    )
