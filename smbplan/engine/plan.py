"""Wanted and live become a plan: changes for a person to review, and the graph of steps that apply walks."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from smbplan.engine import diff, graph, policy, solve
from smbplan.engine.kind import Action, Change, Hazard, Kind, Kinds, Options
from smbplan.engine.resource import STRANGE, Live, Record, Resource, State
from smbplan.engine.step import Step


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a plan is made from."""

    wanted: Sequence[Resource] = ()
    live: Mapping[str, Live] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to happen. `unchanged` counts the resources without a change."""

    site: str
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    unchanged: int
    refused: tuple[Hazard, ...]
    lifted: tuple[Hazard, ...]
    warnings: tuple[str, ...]
    misplaced: tuple[str, ...] = ()  # warnings of what differs, and no step can bring back
    targets: tuple[str, ...] = ()  # to which it is limited
    inputs: Inputs = field(default=Inputs(), repr=False, compare=False)

    @property
    def empty(self) -> bool:
        return not self.changes

    @property
    def differs(self) -> bool:
        return bool(self.changes or self.misplaced)

    @property
    def spec_digest(self) -> str:
        """Says whether anything else is wanted than when the plan was made."""
        wanted = self.inputs.wanted
        return _digest([item.address, item.target, item.key, item.desired, item.after] for item in wanted)

    @property
    def live_digest(self) -> str:
        """Says whether anything that the plan looked at has changed."""
        return _digest(_told(self.inputs.live))

    def count(self, action: Action) -> int:
        return sum(change.action is action for change in self.changes)


def digest(data: Any) -> str:
    """SHA-256 over the canonical JSON form."""
    return _digest([data])


def _digest(parts: Iterable[Any]) -> str:
    """One after the other: all of them at once would be as large as everything else."""
    found, encode = hashlib.sha256(), json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=list).encode
    for part in parts:
        found.update(encode(part).encode())
    return found.hexdigest()


def build(
    site: str,
    wanted: Sequence[Resource],
    live: Mapping[str, Live],
    kinds: Kinds,
    options: Options = Options(),  # noqa: B008 - frozen
) -> Plan:
    """The plan for `site`. Pure: the same input, the same plan. Raises graph.CycleError and solve.UnknownTarget."""
    try:
        return _build(site, wanted, live, kinds, options)
    except STRANGE as error:  # a state looked right by itself, and does not fit what else is there
        return Plan(site, (), (), 0, (_strange("", "one of the targets", error),), (), (), inputs=Inputs((), live))


def _build(site: str, wanted: Sequence[Resource], live: Mapping[str, Live], kinds: Kinds, options: Options) -> Plan:
    wanted = [] if options.destroy else list(wanted)
    names = {item.address for item in wanted}
    graph.check({item.address: item.after for item in wanted})
    changes: list[Change] = []
    hazards: list[Hazard] = []
    warnings: list[str] = []
    for item in wanted:
        try:
            change, found = _compare(site, item, live.get(item.target, Live()), kinds, options, names)
        except STRANGE as error:
            hazards.append(_strange(item.address, item.target, error))
            continue
        changes.append(change)
        hazards += found
        warnings += kinds[item.kind].warnings(item, change.before)
    taken = {(item.target, item.key) for item in wanted}
    units = {item.unit for item in wanted}
    for target in sorted(live):
        for record in live[target].records.values():
            if record.address not in names:
                renamed = (target, record.key) in taken
                # What a unit leaves behind that goes on elsewhere may be its data all the same.
                kept = replace(options, delete_data=False) if record.unit in units else options
                try:
                    changes += _removal(site, target, record, live[target], kinds, kept, renamed)
                except STRANGE as error:
                    hazards.append(_strange(record.address, target, error))
    changes = solve.selected(changes, options.targets)
    changed = _explained([change for change in changes if change.action is not Action.NOOP], live, kinds)
    for change in changed:
        hazards += kinds[change.kind].hazards(change, live.get(change.target, Live()).facts)
    managed = 0 if options.destroy else sum(change.record is not None for change in changes)
    hazards += policy.check(changed, managed)
    refused, lifted = policy.sort(hazards, options.allow)
    return Plan(
        site=site,
        changes=tuple(sorted(changed, key=lambda change: change.address)),
        steps=() if refused else solve.steps(changes, kinds, live, options),
        unchanged=len(changes) - len(changed),
        refused=refused,
        lifted=lifted,
        warnings=tuple(dict.fromkeys(warnings)),
        targets=options.targets,
        inputs=Inputs(wanted, live),
    )


def _strange(address: str, target: str, error: Exception) -> Hazard:
    """The live state is nothing that the agent would tell."""
    words, hint = (
        f"what {target} tells of it can't be understood",
        "look at it there; if nothing is strange about it, this is a bug",
    )
    return Hazard(address, words, hint, detail=f"{type(error).__name__}: {error}"[:400])


def _explained(changed: Sequence[Change], live: Mapping[str, Live], kinds: Kinds) -> list[Change]:
    """The changes with what their kinds have to say of them."""
    by_address = {change.address: change for change in changed}
    found = []
    for change in changed:
        facts = live.get(change.target, Live()).facts
        more = kinds[change.kind].reasons(change, by_address, facts)
        found.append(replace(change, reasons=(*change.reasons, *more)))
    return found


def _told(live: Mapping[str, Live]) -> Iterator[list[Any]]:
    """A record tells its address itself."""
    for target in sorted(live):
        yield [target]
        yield from sorted([*key, state] for key, state in live[target].states.items())
        yield from ([record.as_json()] for _, record in sorted(live[target].records.items()))


def fields(change: Change, kinds: Kinds) -> tuple[diff.Field, ...]:
    """What a person sees of a change."""
    return diff.fields(change.before, change.after, kinds[change.kind].sensitive)


def _compare(
    site: str, item: Resource, live: Live, kinds: Kinds, options: Options, names: set[str]
) -> tuple[Change, list[Hazard]]:
    kind, record = kinds[item.kind], live.records.get(item.address)
    raw = live.states.get(item.key)
    mark = f"{site}/{item.address}"
    theirs = isinstance(raw, dict) and raw.get("mark")
    if theirs and theirs.startswith(f"{site}/") and theirs.removeprefix(f"{site}/") not in names:
        theirs = mark  # the definition was renamed
    ours = (
        theirs == mark
        if kind.marked and theirs
        else record is not None and (not kind.marked or raw is None or record.original is not None)
    )
    before = kind.canonical(raw)
    original = None if before is None else _original(kind, item, live, record, raw, theirs == mark, names)
    after = kind.complete(item.desired, before)
    if kind.marked:
        after = {**after, "mark": mark if raw is None or theirs == mark or kind.claims(raw) else None}
    if after != before:  # which is canonical
        after = kind.canonical(after)
    action, hazards = Action.NOOP, []
    if before is None:
        action = Action.CREATE
    elif theirs and theirs != mark:
        hazards.append(
            Hazard(
                item.address,
                f"{kind.title} {item.key.name} on {item.target} belongs to {theirs}",
                "smbplan never changes what another definition or site owns; choose another name or place",
                origin=item.origin,
            )
        )
    elif not ours and not kind.uses:
        action = Action.ADOPT
        if not options.adopt:
            hazards.append(
                Hazard(
                    item.address,
                    f"{kind.title} {item.key.name} exists on {item.target} and is not managed by smbplan",
                    "take it over with --adopt, or choose another name",
                    origin=item.origin,
                )
            )
    elif before != after or _stale(kind, record, item):
        action = Action.UPDATE
    return Change(item.address, item.kind, item.target, action, before, after, raw, item, record, original), hazards


def _original(
    kind: Kind, item: Resource, live: Live, record: Record | None, raw: State, marked: bool, names: set[str]
) -> State:
    """What stood there before us: as the inventory says, under the former address too where that was renamed."""
    if record is None:
        at_key = (each for each in live.records.values() if each.key == item.key and each.kind == kind.name)
        record = next((each for each in at_key if each.address not in names), None)
    if record is not None:
        return record.original
    return None if marked else raw  # one with our mark was made by us, whatever happened to the inventory


def _stale(kind: Kind, record: Record | None, item: Resource) -> bool:
    """The inventory does not say what it should, so that a later removal would go wrong."""
    if record is None:
        return not kind.uses  # what is used as it stands needs no entry
    return not record.says(item)


def _removal(
    site: str, target: str, record: Record, live: Live, kinds: Kinds, options: Options, renamed: bool
) -> Iterable[Change]:
    kind, raw = kinds.get(record.kind), live.states.get(record.key)
    if kind is None or (record.parked and not options.purge):
        return
    theirs = isinstance(raw, dict) and raw.get("mark")
    foreign = kind.marked and theirs != f"{site}/{record.address}" and record.original is None
    before = kind.canonical(raw)
    change = Change(record.address, record.kind, target, Action.DELETE, before, before, raw, None, record)
    if raw is None or foreign or renamed:
        reason = "no longer there" if raw is None else "renamed" if renamed else "no longer ours"
        yield replace(change, reasons=(reason,))
        return
    removal = kind.removal(raw, record, options)
    yield replace(
        change,
        after=kind.canonical(removal.after),
        removal=removal,
        reasons=(removal.reason,) if removal.reason else (),
    )
