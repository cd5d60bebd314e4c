"""Changes become the graph of steps. Apply walks exactly this graph and never builds another."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smbplan.engine import graph
from smbplan.engine.kind import Action, Change, Kind, Kinds, Options
from smbplan.engine.resource import Live, Record
from smbplan.engine.step import Call, Move, Nature, Step

if TYPE_CHECKING:
    import networkx as nx

ATOMIC = "run"  # the unit of everything under --atomic


class UnknownTarget(Exception):
    """`--target` names no resource and no unit."""


def selected(changes: Sequence[Change], targets: Sequence[str]) -> list[Change]:
    """The changes that `--target` names, with all that has to come before them; the others become no-ops."""
    if not targets:
        return list(changes)
    by_address = {change.address: change for change in changes}
    units = {change.address: _unit(change) for change in changes}
    missing = [target for target in targets if target not in by_address and target not in units.values()]
    if missing:
        raise UnknownTarget(missing[0])
    users: dict[str, list[str]] = {}
    for change in changes:
        for name in _before(change) if change.action is not Action.NOOP else ():
            users.setdefault(name, []).append(change.address)
    chosen: set[str] = set()
    found = [name for name in by_address if name in targets or units[name] in targets]
    while found:
        name = found.pop()
        if name not in chosen and name in by_address:
            chosen.add(name)
            item = by_address[name].resource
            goes = [] if item else [user for each in _names(by_address[name]) for user in users.get(each, ())]
            found += item.after if item else goes  # what goes waits for whatever stands on it
    return [
        change if change.address in chosen else replace(change, action=Action.NOOP, skipped=True) for change in changes
    ]


def steps(changes: Sequence[Change], kinds: Kinds, live: Mapping[str, Live], options: Options) -> tuple[Step, ...]:
    """The steps in a stable topological order."""
    if all(change.action is Action.NOOP for change in changes):
        return ()
    tree = graph.build({change.address: _waits(change) for change in changes})
    units = graph.units(tree, {change.address: _unit(change) for change in changes})
    if options.atomic:
        units = dict.fromkeys(units, (ATOMIC,))
    changed = {change.address: change for change in changes if change.action is not Action.NOOP}
    known = Neighbours.of(changed)
    found = [_main(change, changed, kinds, units, known) for change in changed.values()]
    brackets = list(_brackets(changed.values(), kinds, units))
    found += brackets
    found += _proofs(changes, changed, kinds, tree, units, brackets, known)
    found = _irreversible_last(found)
    by_id = {step.id: step for step in found}
    return tuple(
        by_id[name] for name in graph.order(graph.build({step.id: (*step.after, *step.behind) for step in found}))
    )


def _waits(change: Change) -> tuple[str, ...]:
    if change.resource:
        return change.resource.after
    return change.record.after if change.record else ()


def _unit(change: Change) -> str:
    if change.resource:
        return change.resource.unit
    return change.record.unit if change.record else ""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Of addresses, the changes that come ahead of them, and those of what has stood on them."""

    ahead: Mapping[str, Sequence[str]]
    users: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, changed: Mapping[str, Change]) -> "Neighbours":
        """Looked up for each of ten thousand steps, they are found once."""
        ahead: dict[str, list[str]] = {}
        users: dict[str, list[str]] = {}
        for name, change in changed.items():
            for other in change.resource.ahead if change.resource else ():
                ahead.setdefault(other, []).append(name)
            for other in _before(change):
                users.setdefault(other, []).append(name)
        return cls(ahead, users)

    def before(self, address: str) -> tuple[str, ...]:
        """What comes ahead of a resource, whether it stands on it or not."""
        return tuple(sorted(set(self.ahead.get(address, ()))))


def _main(
    change: Change,
    changed: Mapping[str, Change],
    kinds: Kinds,
    units: Mapping[str, tuple[str, ...]],
    known: Neighbours,
) -> Step:
    """The step that brings the resource where it belongs."""
    kind, item, old = kinds[change.kind], change.resource, change.record
    step = Step(
        id=change.address,
        address=change.address,
        target=change.target,
        title=f"{change.action} {kind.title} {change.address.removeprefix(change.kind + '.')}",
        do=Call(""),
        undo=None,
        units=units[change.address],
    )
    if item is None:
        users = {user for name in _names(change) for user in known.users.get(name, ())}
        users |= {name for name in (change.removal.waits if change.removal else ()) if name in changed}
        users |= {name for name in _before(change) if name in changed and _stays(changed[name], kinds)}
        first = (name for name in old.ahead if name in changed and changed[name].resource is None) if old else ()
        return _remove(change, replace(step, after=tuple(sorted(users)), behind=tuple(sorted(first))), kind)
    record = Record.of(item, change.original)
    move = Move(item.address, item.key, kind.guard(change.raw), change.after, record, kind.options(item))
    return replace(
        step,
        do=move,
        undo=None if kind.nature is Nature.KEPT else move.reversed(old),
        nature=kind.nature,
        why=kind.why,
        after=tuple(sorted(name for name in item.after if name in changed)),
        behind=known.before(item.address),
    )


def _names(change: Change) -> set[str]:
    """What others may have noted of it."""
    return {change.address, *filter(None, [change.record.alias if change.record else ""])}


def _stays(change: Change, kinds: Kinds) -> bool:
    return change.resource is not None and kinds[change.kind].steady


def _before(change: Change) -> tuple[str, ...]:
    """What the resource stood on until now."""
    return change.record.after if change.record else ()


def _remove(change: Change, step: Step, kind: Kind) -> Step:
    assert change.record is not None
    removal = change.removal
    if removal is None:  # nothing of ours is left: only the entry goes
        return replace(
            step,
            title=f"forget {change.address}",
            do=Call("forget", {"address": change.address}),
            undo=Call("remember", {"record": change.record.as_json()}),
        )
    record = replace(change.record, parked="yes") if removal.parked else None
    unseen = kind.asked | removal.open
    before = {**change.raw, **dict.fromkeys(unseen)} if unseen else change.raw
    move = Move(change.address, change.record.key, before, removal.after, record, removal.options)
    lost = removal.nature is Nature.IRREVERSIBLE
    return replace(
        step,
        title=f"{'park' if removal.parked else 'delete'} {change.address}",
        do=move,
        undo=None if lost else move.reversed(change.record),
        nature=removal.nature,
        why=removal.why,
    )


def _brackets(changed: Iterable[Change], kinds: Kinds, units: Mapping[str, tuple[str, ...]]) -> Iterator[Step]:
    calls: dict[tuple[str, str], tuple[Call, list[Change]]] = {}
    for change in changed:
        for name, call in kinds[change.kind].brackets(change):
            calls.setdefault((change.target, name), (call, []))[1].append(change)
    for (target, name), (call, users) in sorted(calls.items()):
        yield Step(
            id=f"{target}:{name}",
            address=users[0].address if len(users) == 1 else f"{target}:{name}",
            target=target,
            title=f"{name} on {target}",
            do=call,
            undo=call,
            after=tuple(sorted(user.address for user in users)),
            units=tuple(sorted({unit for user in users for unit in units[user.address]})),
            bracket=True,
        )


def _proofs(
    changes: Sequence[Change],
    changed: Mapping[str, Change],
    kinds: Kinds,
    tree: "nx.DiGraph[str]",
    units: Mapping[str, tuple[str, ...]],
    brackets: Sequence[Step],
    known: Neighbours,
) -> Iterator[Step]:
    """A proof for every resource that changed or stands on something that did."""
    stands_on: dict[str, frozenset[str]] = {}
    for name in graph.earlier_first(tree):
        below = frozenset().union(*(stands_on[dep] for dep in tree.predecessors(name)))
        stands_on[name] = frozenset({name}) if name in changed else below
    for change in changes:
        item = None if change.skipped else change.resource
        call = kinds[item.kind].proof(item) if item and stands_on[item.address] else None
        if item is None or call is None:
            continue
        mine = set(units[item.address])
        waits = [
            *stands_on[item.address],
            # A bracket that fails takes its units back. One that stands for less than the proof must not take more.
            *(step.id for step in brackets if step.target == item.target and mine <= set(step.units)),
        ]
        yield Step(
            id=f"{item.address}#proof",
            address=item.address,
            target=item.target,
            title=f"prove {kinds[item.kind].title} {item.address.removeprefix(item.kind + '.')}",
            do=call,
            undo=None,
            nature=Nature.KEPT,
            why="a proof leaves nothing behind",
            after=tuple(sorted(waits)),
            units=units[item.address],
            behind=known.before(item.address),
        )


def _irreversible_last(found: Sequence[Step]) -> list[Step]:
    """Irreversible steps wait for all else of their units, and nothing but their like waits for them."""
    lost = {step.id for step in found if step.nature is Nature.IRREVERSIBLE}
    if not lost:
        return list(found)
    by_unit: dict[str, list[str]] = {}
    for step in found:
        for unit in step.units if step.id not in lost else ():
            by_unit.setdefault(unit, []).append(step.id)
    result = []
    for step in found:
        if step.id in lost:
            others = {other for unit in step.units for other in by_unit.get(unit, ())}
            result.append(replace(step, after=tuple(sorted({*step.after, *others}))))
        else:
            after, behind = (tuple(name for name in names if name not in lost) for names in (step.after, step.behind))
            result.append(replace(step, after=after, behind=behind))
    return result
