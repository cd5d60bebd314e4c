"""Whether a saved plan still fits what is there."""

from collections.abc import Mapping, Sequence
from typing import Any

from smbplan.drivers.agent.core import is_open, matches
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.targets import Connect
from smbplan.engine.kind import Hazard
from smbplan.engine.resource import Key, Live
from smbplan.engine.step import Move, Step
from smbplan.errors import Refused, Trouble, trouble
from smbplan.observe import read


def refuse(site: str, steps: Sequence[Step], found: Mapping[str, Endpoint], connect: Connect) -> None:
    """Raises Refused."""
    moves = [(step.target, step.do) for step in steps if isinstance(step.do, Move)]
    keys: dict[str, dict[Key, Mapping[str, Any]]] = {}
    for target, move in moves:
        keys.setdefault(target, {})[move.key] = move.options
    live: dict[str, Live] = {}
    hazards: list[Hazard] = []
    with Fleet(site, found, connect) as fleet:
        read(fleet, keys, live, hazards)
    if hazards:
        raise Refused(*map(trouble, hazards))
    stale = [step.address for step in steps if isinstance(step.do, Move) and _is_stale(step, step.do, live)]
    if stale:
        raise Refused(
            *(
                Trouble("the plan is stale: this has changed since it was made", "make a new plan", address=address)
                for address in stale
            )
        )


def _is_stale(step: Step, move: Move, live: Mapping[str, Live]) -> bool:
    seen = live[step.target]
    if seen.facts.get("absent") or is_open(move.before):
        return False  # nobody could look when it was planned, either; the step compares
    before = step.undo.record if isinstance(step.undo, Move) else None
    return not matches(seen.states.get(move.key), move.before) or (
        step.undo is not None and seen.records.get(move.address) != before
    )
