"""Whether a plan still fits what is there."""

from collections.abc import Mapping, Sequence
from typing import Any

from smbplan.drivers.agent.core import is_open, matches
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import who
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.targets import Connect
from smbplan.engine.kind import Hazard
from smbplan.engine.resource import Key, Live
from smbplan.engine.step import Move, Step
from smbplan.errors import Refused, Trouble, trouble
from smbplan.observe import read

STALE = "the plan is stale: this has changed since it was made"
AGAIN = "make a new plan"
SLOW = {"recursive"}  # a walk through all that lies below


def refuse(site: str, steps: Sequence[Step], found: Mapping[str, Endpoint], connect: Connect) -> None:
    """For a saved plan. Raises Refused."""
    with Fleet(site, found, connect) as fleet:
        live, hazards = _seen(fleet, steps)
    if hazards:
        raise Refused(*map(trouble, hazards))
    stale = [step.address for step in steps if isinstance(step.do, Move) and _is_stale(step, step.do, live)]
    if stale:
        raise Refused(*(Trouble(STALE, AGAIN, address=address) for address in stale))


def refuse_made(fleet: Fleet, steps: Sequence[Step]) -> None:
    """Once it is this run's turn. Raises Refused where somebody else has made a change of the plan meanwhile.

    Nothing would be left to do then; but an undo could not tell that change from one of this run.
    """
    undone = [step for step in steps if step.undo is not None]
    live, _ = _seen(fleet, undone, only=True)
    made = [step.address for step in undone if isinstance(step.do, Move) and _is_made(step.do, live[step.target])]
    if made:
        by = next((f" by {who(lease)}" for lease in fleet.met()), "")
        raise Refused(*(Trouble(f"{STALE}{by}", AGAIN, address=address) for address in made))


def _seen(fleet: Fleet, steps: Sequence[Step], only: bool = False) -> tuple[dict[str, Live], list[Hazard]]:
    """What the steps move, as it is now. Raises Refused."""
    keys: dict[str, dict[Key, Mapping[str, Any]]] = {}
    for step in steps:
        if isinstance(step.do, Move):
            options = {name: value for name, value in step.do.options.items() if not (only and name in SLOW)}
            keys.setdefault(step.target, {})[step.do.key] = options
    live: dict[str, Live] = {}
    hazards: list[Hazard] = []
    read(fleet, keys, live, hazards, only=only)
    return live, hazards


def _is_made(move: Move, seen: Live) -> bool:
    if seen.facts.get("absent") or is_open(move.before) or is_open(move.after) or move.key not in seen.states:
        return False
    now = seen.states[move.key]
    before, after = (_told(state, now) for state in (move.before, move.after))
    return matches(now, after) and not matches(now, before)


def _told(state: Any, now: Any) -> Any:
    """Of a state that fields which were looked at."""
    both = isinstance(state, dict) and isinstance(now, dict)
    return {name: value for name, value in state.items() if name in now} if both else state


def _is_stale(step: Step, move: Move, live: Mapping[str, Live]) -> bool:
    seen = live[step.target]
    if seen.facts.get("absent") or is_open(move.before):
        return False  # nobody could look when it was planned, either; the step compares
    before = step.undo.record if isinstance(step.undo, Move) else None
    return not matches(seen.states.get(move.key), move.before) or (
        step.undo is not None and seen.records.get(move.address) != before
    )
