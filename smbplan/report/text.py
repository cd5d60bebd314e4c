"""Reports for a terminal. Every function is pure and gives the whole text, without a line end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

from smbplan.engine.kind import Action, Change, Hazard, Kinds
from smbplan.engine.outcome import Outcome, Problem
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Location
from smbplan.engine.step import Call, Nature, Status, Step
from smbplan.kinds.guest import CLUSTER
from smbplan.report import guests, manual
from smbplan.report.terminal import columns, explained, indented, paint, plural, safe
from smbplan.report.words import STYLES, SYMBOLS, nature, notes, rows

View = Literal["plan", "drift", "destroy"]
NOTHING = {
    "plan": "No differences: the live state is as defined.",
    "drift": "No drift: the live state is as defined.",
    "destroy": "Nothing to destroy: nothing of this site is left.",
}
BY_HAND = "Nothing that an apply can change; what differs stands in the warnings."
COUNTED = {
    "plan": {action: f"to {action}" for action in (Action.CREATE, Action.UPDATE, Action.DELETE, Action.ADOPT)},
    "drift": {
        Action.CREATE: "missing",
        Action.UPDATE: "changed",
        Action.DELETE: "not defined any more",
        Action.ADOPT: "there, but not managed",
    },
}
DRIFTED = {
    Action.CREATE: "is defined, but missing",
    Action.DELETE: "is there, but not defined any more",
    Action.ADOPT: "is there, but not managed",
}
SIGNS = {"+": "green", "-": "red"}
LISTED = 20


def plan(made: Plan, kinds: Kinds, colour: bool = False, view: View = "plan") -> str:
    """What would be done, or what has drifted: by gateway, then by unit."""
    parts = [body(made, kinds, colour, view)]
    parts += [paint(f"Warning: {safe(warning)}", "yellow", colour) for warning in made.warnings]
    if view != "drift":
        parts += [_lifted(item, colour) for item in made.lifted]
    parts += [_refused(item, colour) for item in made.refused]
    parts.append(paint(summary(made, view), "bold", colour))
    return "\n\n".join(part for part in parts if part)


def summary(made: Plan, view: View = "plan") -> str:
    """One line with the counts."""
    if made.empty:
        return "Refused." if made.refused else BY_HAND if made.misplaced else NOTHING[view]
    words = COUNTED["drift" if view == "drift" else "plan"]
    counts = [f"{made.count(action)} {word}" for action, word in words.items() if made.count(action)]
    if made.unchanged:
        counts.append(f"{made.unchanged} {'as defined' if view == 'drift' else 'unchanged'}")
    title = {"plan": "Plan", "drift": "Drift", "destroy": "Destroy"}[view]
    return f"{title}: {', '.join(counts)}." + (" Refused: nothing is applied." if made.refused else "")


def body(made: Plan, kinds: Kinds, colour: bool = False, view: View = "plan") -> str:
    """The changes with their fields."""
    parts = []
    if view == "drift" and made.changes:
        parts.append("What is live differs from what is defined (live → as defined).")
    ordered = sorted(made.changes, key=lambda item: (item.target, unit(item), item.address))
    for target, of_target in groupby(ordered, key=lambda item: item.target):
        title = "Proxmox VE" if target == CLUSTER else f"Gateway {safe(target)}"
        parts.append(paint(title, "bold", colour))
        for name, of_unit in groupby(of_target, key=unit):
            lines = [paint(f"  {safe(name).replace('.', ' ', 1)}", "dim", colour)] if name else []
            parts.append("\n".join([*lines, *(_change(item, kinds, colour, view) for item in of_unit)]))
    return "\n\n".join(parts)


def unit(change: Change) -> str:
    """The definition that the change belongs to; empty: it serves several."""
    return change.resource.unit if change.resource else change.record.unit if change.record else ""


def _change(change: Change, kinds: Kinds, colour: bool, view: View) -> str:
    words = [DRIFTED[change.action]] if view == "drift" and change.action in DRIFTED else notes(change, kinds)
    lost = view != "drift" and change.resource is None and nature(change, kinds) is Nature.IRREVERSIBLE
    mark = "!" if lost else " "
    head = paint(f"{mark} {SYMBOLS[change.action]} {safe(change.address)}", STYLES[change.action], colour)
    if words:
        head += paint(f"  ({'; '.join(words)})", "red" if lost else "dim", colour)
    shown = () if view == "drift" and change.action is Action.CREATE else rows(change, kinds)
    lines = [
        f"      {row.text}" if row.sign == " " else paint(f"        {row.sign} {row.text}", SIGNS[row.sign], colour)
        for row in shown
    ]
    return "\n".join([head, *lines])


def _lifted(hazard: Hazard, colour: bool) -> str:
    subject = f"{safe(hazard.address)}: " if hazard.address else ""
    return paint(f"Guardrail {hazard.guardrail} is lifted: {subject}{safe(hazard.summary)}", "yellow", colour)


def _refused(hazard: Hazard, colour: bool) -> str:
    lines = [paint(f"Refused: {_subject(hazard.address, hazard.origin)}{safe(hazard.summary)}", "red", colour)]
    if hazard.hint:
        lines.append(f"  Hint: {safe(hazard.hint)}")
    if hazard.detail:
        lines.append(indented(hazard.detail, "  "))
    return "\n".join(lines)


def _subject(address: str, origin: Location | None) -> str:
    place = f" ({safe(origin.file)}:{origin.line})" if origin else ""
    return f"{safe(address)}{place}: " if address else ""


def applied(run: str, steps: Sequence[Step], outcome: Outcome, colour: bool = False) -> str:
    """How a run ended: what failed and why, what was rolled back, what stays, what a person must do."""
    if not steps:
        return "Nothing was to be done."
    at = {status: [step for step in steps if outcome.statuses.get(step.id) is status] for status in Status}
    parts = [paint(f"Warning: {safe(item.address)}: {safe(item.text)}", "yellow", colour) for item in outcome.warnings]
    parts += [_problem(problem, colour) for problem in outcome.problems]
    if outcome.name != "applied":
        parts.append(_addresses("Rolled back", at[Status.UNDONE]))
        parts.append(_addresses("Never started", at[Status.CANCELLED]))
        kept = [step for step in (*at[Status.DONE], *at[Status.KEPT]) if step.nature is Nature.KEPT]
        parts.append(_addresses("Kept (harmless)", [step for step in kept if not isinstance(step.do, Call)]))
    gone = guests.gone(at[Status.DONE])
    parked = [each for each in at[Status.DONE] if each.nature is Nature.PARKED and not guests.within(each, gone)]
    parts.append(_addresses("Parked (--purge removes it)", parked))
    parts.append(_by_hand(outcome, colour))
    parts.append(paint(_ended(run, steps, outcome), "green" if outcome.name == "applied" else "red", colour))
    return "\n\n".join(part for part in parts if part)


def _ended(run: str, steps: Sequence[Step], outcome: Outcome) -> str:
    counts = Counter(outcome.statuses.values())
    undone, done = counts[Status.UNDONE], counts[Status.DONE] + counts[Status.KEPT]
    cut = "Interrupted. " if outcome.interrupted else ""
    words = {
        "applied": f"Applied: {plural(done, 'step')} done.",
        "rolled_back": f"Rolled back: {plural(undone, 'step')} undone, nothing else is changed.",
        "partial": f"Partly applied: {plural(done, 'step')} done, {undone} undone with what failed.",
        "stranded": f"Stranded: {plural(counts[Status.STRANDED], 'step')} must be finished by hand.",
    }
    return f"{cut}{words[outcome.name]} Run {run}."


def _problem(problem: Problem, colour: bool) -> str:
    return explained(f"Error: {problem.address}: {problem.summary}", problem.hint, problem.detail, colour)


def _addresses(title: str, steps: Sequence[Step]) -> str:
    """Each address once; only the first ones of a long list."""
    names = list(dict.fromkeys(safe(step.address) for step in steps))
    if not names:
        return ""
    more = [f"  … and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return "\n".join([f"{title}: {plural(len(names), 'resource')}", *(f"  {name}" for name in names[:LISTED]), *more])


def _by_hand(outcome: Outcome, colour: bool) -> str:
    commands = manual.commands(outcome.stranded, outcome.homes)
    if not commands:
        return ""
    title = paint(f"{manual.TITLE} (gateway# command):", "bold", colour)
    return "\n".join([title, "", *(indented(command, "    ") for command in commands)])


def timings(data: Mapping[str, Mapping[str, Any]]) -> str:
    """document.timings as a table."""
    keys = list(next(iter(data.values())))
    head = ["gateway", *(key.replace("calls", "API calls").replace("_", " ") for key in keys)]
    return "\n".join(columns(head, [[target, *(str(row[key]) for key in keys)] for target, row in data.items()]))
