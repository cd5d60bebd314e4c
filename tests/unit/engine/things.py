"""Kinds that are nothing but their natures, and random sites of them: what was applied before, and what is wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from unit.simulated import World

from smbplan.engine import plan as planning
from smbplan.engine.kind import Change, Kind, Kinds, Options, Removal
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Key, Live, Record, Resource, State
from smbplan.engine.step import Call, Nature


class Thing(Kind):
    """State: {value, reload}."""

    name, title, object = "thing", "thing", "thing"
    uses = True

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        return {name: desired[name] for name in ("value", "reload")}

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        asked = any(state and state["reload"] for state in (change.before, change.after))
        return [("reload", Call("reload"))] if asked else []

    def proof(self, resource: Resource) -> Call | None:
        return Call("prove") if resource.desired.get("proof") else None


class Kept(Thing):
    name, title = "kept", "kept thing"
    nature, why = Nature.KEPT, "harmless"


class Parked(Thing):
    name, title = "parked", "parked thing"

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        return Removal({**live, "value": 0}, Nature.PARKED, parked=True)


class Lasting(Thing):
    name, title = "lasting", "lasting thing"

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        return Removal(None, Nature.IRREVERSIBLE, "gone is gone")


class Marked(Thing):
    """State: {value, reload, mark}."""

    name, title = "marked", "marked thing"
    marked, uses = True, False


KINDS = Kinds({kind.name: kind for kind in (Thing(), Kept(), Parked(), Lasting(), Marked())})


def resource(
    address: str,
    value: int | str = 1,
    *after: str,
    unit: str = "",
    target: str = "t",
    reload: bool = False,
    proof: bool = False,
    **rest: Any,
) -> Resource:
    """A wanted thing; the kind is the first word of its address."""
    desired = {"value": value, "reload": reload, "proof": proof}
    kind = address.partition(".")[0]
    return Resource(address, kind, target, Key("thing", address), desired, after, unit, **rest)


def there(world: World, items: Sequence[Resource], site: str = "site") -> None:
    """Put the resources into the world as an earlier run of ours left them."""
    for item in items:
        state = {name: item.desired[name] for name in ("value", "reload")}
        if KINDS[item.kind].marked:
            state["mark"] = f"{site}/{item.address}"
        target = world.target(item.target)
        target.box(item.key.type).states[item.key.name] = state
        target.records[item.address] = Record.of(item, None)


def plan(world: World, wanted: Sequence[Resource], **options: Any) -> Plan:
    live = {item.target: Live() for item in wanted} | world.live()
    return planning.build("site", wanted, live, KINDS, Options(**options))


@dataclass(frozen=True)
class Case:
    """A world as an earlier run left it, and what is wanted now."""

    before: tuple[Resource, ...]
    wanted: tuple[Resource, ...]

    def world(self) -> World:
        world = World()
        there(world, self.before)
        return world


@st.composite
def cases(draw: st.DrawFn, size: int = 7) -> Case:
    """Random graphs: created, changed and removed things of all natures, with units, brackets and proofs."""
    versions: tuple[list[Resource], list[Resource]] = ([], [])
    for number in range(draw(st.integers(2, size))):
        kind = draw(st.sampled_from(["thing", "thing", "kept", "parked", "lasting", "marked"]))
        item = resource(
            f"{kind}.{number}",
            unit=draw(st.sampled_from(["", "", "a", "b", "c"])),
            target=draw(st.sampled_from(["t", "u"])),
            reload=draw(st.booleans()),
            proof=draw(st.booleans()),
        )
        for version, values in zip(versions, ([0, 1], [0, 1, 2]), strict=True):
            value = draw(st.sampled_from(values))
            if value:
                earlier = [each.address for each in version]
                after = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
                version.append(replace(item, desired={**item.desired, "value": value}, after=tuple(after)))
                for place, other in enumerate(version[:-1]):  # an order against no other
                    if other.address not in after and draw(st.integers(0, 5)) == 5:
                        version[place] = replace(other, ahead=(*other.ahead, item.address))
    return Case(tuple(versions[0]), tuple(versions[1]))
