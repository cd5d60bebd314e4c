"""What a plan says: actions, refusals, records, and that the same input gives the same plan."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.faults import walk
from unit.engine.things import KINDS, Case, Thing, cases, plan, resource, there
from unit.simulated import World, moved

from smbplan.engine import plan as planning
from smbplan.engine.kind import Action, Kinds, Options, Removal
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Key, Live, Record, Resource, State
from smbplan.engine.solve import UnknownTarget
from smbplan.engine.step import Call, Move, Nature

KEY = Key("thing", "marked.a")
STATE = {"value": 1, "reload": False}


def said(made: Plan) -> dict[str, str]:
    return {change.address: str(change.action) for change in made.changes}


def put(state: object, key: Key = KEY) -> World:
    """A world with one object that no inventory knows."""
    world = World()
    world.target("t").box(key.type).states[key.name] = state
    return world


def test_create_update_delete_and_nothing() -> None:
    world = World()
    there(world, [resource("thing.same"), resource("thing.other"), resource("thing.old")])
    made = plan(world, [resource("thing.same"), resource("thing.other", 2), resource("thing.new")])
    assert said(made) == {"thing.new": "create", "thing.old": "delete", "thing.other": "update"}
    assert (made.unchanged, made.count(Action.CREATE), made.empty) == (1, 1, False)
    assert [(field.path, field.before, field.after) for field in planning.fields(made.changes[2], KINDS)] == [
        ("value", 1, 2)
    ]


def test_nothing_to_do_is_an_empty_plan() -> None:
    world = World()
    there(world, [resource("thing.a")])
    made = plan(world, [resource("thing.a")])
    assert (made.empty, made.steps, made.unchanged) == (True, (), 1)


@pytest.mark.parametrize("owner", ["other/marked.a", "site/marked.b", "site-two/marked.a"])
def test_what_bears_a_foreign_mark_is_refused_whatever_is_allowed(owner: str) -> None:
    world = put({**STATE, "mark": owner})
    wanted = [resource("marked.a", 2), resource("marked.b")]
    made = plan(world, wanted, adopt=True, allow=frozenset({""}))
    assert [(hazard.address, hazard.guardrail) for hazard in made.refused] == [("marked.a", "")]
    assert f"belongs to {owner}" in made.refused[0].summary
    assert made.steps == ()


def test_an_unmarked_one_is_taken_over_only_when_asked() -> None:
    world = put({**STATE, "mark": None})
    refused = plan(world, [resource("marked.a")])
    assert "not managed by smbplan" in refused.refused[0].summary
    assert "--adopt" in refused.refused[0].hint
    made = plan(world, [resource("marked.a")], adopt=True)
    assert said(made) == {"marked.a": "adopt"}
    before = world.snapshot()
    walk(world, made.steps)
    assert world.target("t").states()[KEY]["mark"] == "site/marked.a"
    assert plan(world, [resource("marked.a")]).empty
    walk(world, plan(world, []).steps)
    assert world.snapshot() == before


def test_what_was_there_is_used_and_put_back_but_never_owned() -> None:
    key = Key("thing", "thing.a")
    world = put(dict(STATE), key)
    assert plan(world, [resource("thing.a")]).empty
    before = world.snapshot()
    made = plan(world, [resource("thing.a", 2)])
    assert said(made) == {"thing.a": "update"}
    walk(world, made.steps)
    assert world.target("t").records["thing.a"].original == STATE
    walk(world, plan(world, [resource("thing.a", 3)]).steps)
    assert world.target("t").records["thing.a"].original == STATE
    walk(world, plan(world, []).steps)
    assert world.snapshot() == before


def test_a_copy_without_our_seal_is_foreign_even_where_the_inventory_knows_it() -> None:
    world = World()
    there(world, [resource("marked.a")])
    world.target("t").box("thing").states["marked.a"]["mark"] = None
    assert "not managed by smbplan" in plan(world, [resource("marked.a")]).refused[0].summary
    made = plan(world, [])
    assert [change.reasons for change in made.changes] == [("no longer ours",)]
    assert isinstance(made.steps[0].do, Call)


def test_a_lost_inventory_is_made_anew_and_the_thing_goes_with_its_definition() -> None:
    world = World()
    there(world, [resource("marked.a")])
    world.target("t").records.clear()
    made = plan(world, [resource("marked.a")])
    assert said(made) == {"marked.a": "update"}
    walk(world, made.steps)
    walk(world, plan(world, []).steps)
    assert world.snapshot() == {}


def test_a_renamed_definition_keeps_its_object_and_its_history() -> None:
    world = put({**STATE, "mark": None})
    before = world.snapshot()
    walk(world, plan(world, [resource("marked.a", 2)], adopt=True).steps)
    new = replace(resource("marked.b", 2), key=KEY)
    made = plan(world, [new])
    assert said(made) == {"marked.a": "delete", "marked.b": "update"}
    assert [change.reasons for change in made.changes] == [("renamed",), ()]
    walk(world, made.steps)
    assert list(world.target("t").records) == ["marked.b"]
    assert world.target("t").states()[KEY] == {"value": 2, "reload": False, "mark": "site/marked.b"}
    assert plan(world, [new]).empty
    walk(world, plan(world, []).steps)
    assert world.snapshot() == before


def test_a_renamed_definition_of_a_new_object_goes_wholly() -> None:
    world = World()
    walk(world, plan(world, [resource("marked.a")]).steps)
    walk(world, plan(world, [replace(resource("marked.b"), key=KEY)]).steps)
    walk(world, plan(world, []).steps)
    assert world.snapshot() == {}


def test_orphans_are_found_by_records_on_targets_that_are_defined_no_more() -> None:
    world = World()
    there(world, [resource("thing.a", target="dropped"), resource("thing.gone", target="dropped")])
    del world.target("dropped").box("thing").states["thing.gone"]
    made = plan(world, [resource("thing.a", target="t")])
    assert said(made) == {"thing.a": "create", "thing.gone": "delete"}
    assert made.changes[1].reasons == ("no longer there",)
    made = plan(world, [])
    assert [(step.id, step.target, type(step.do)) for step in made.steps] == [
        ("thing.a", "dropped", Move),
        ("thing.gone", "dropped", Call),
    ]


def test_records_of_kinds_that_are_not_known_are_left_alone() -> None:
    world = World()
    world.target("t").records["future.x"] = Record("future.x", "future", Key("future", "x"))
    assert plan(world, []).empty


def test_parked_things_are_left_until_purge_and_come_back_when_wanted() -> None:
    world = World()
    walk(world, plan(world, [resource("parked.a")]).steps)
    made = plan(world, [])
    assert [(step.title, step.nature) for step in made.steps] == [("park parked.a", Nature.PARKED)]
    walk(world, made.steps)
    assert world.target("t").records["parked.a"].parked
    assert plan(world, []).empty
    assert said(plan(world, [], purge=True)) == {"parked.a": "delete"}
    again = plan(world, [resource("parked.a")])
    assert said(again) == {"parked.a": "update"}
    walk(world, again.steps)
    assert not world.target("t").records["parked.a"].parked
    assert plan(world, [resource("parked.a")]).empty


def test_a_removal_waits_for_what_stood_on_it() -> None:
    world = World()
    there(world, [resource("thing.base"), resource("thing.user", 1, "thing.base")])
    made = plan(world, [])
    assert {step.id: step.after for step in made.steps} == {"thing.user": (), "thing.base": ("thing.user",)}


def chain() -> list[Resource]:
    return [
        resource("thing.base"),
        resource("thing.x", 1, "thing.base", unit="share.x"),
        resource("thing.x2", 1, "thing.x", unit="share.x"),
        resource("thing.y", 1, "thing.base", unit="share.y"),
    ]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("thing.y",), {"thing.base", "thing.y"}),
        (("share.x",), {"thing.base", "thing.x", "thing.x2"}),
        (("thing.x", "thing.y"), {"thing.base", "thing.x", "thing.y"}),
        (("thing.base",), {"thing.base"}),
    ],
)
def test_a_target_takes_along_what_it_stands_on(targets: tuple[str, ...], expected: set[str]) -> None:
    made = plan(World(), chain(), targets=targets)
    assert set(said(made)) == expected
    assert made.unchanged == 4 - len(expected)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("share.y",), {"thing.y"}),
        (("thing.x",), {"thing.x", "thing.x2"}),
        (("thing.base",), {"thing.base", "thing.x", "thing.x2", "thing.y"}),
    ],
)
def test_a_target_that_goes_takes_along_what_stands_on_it(targets: tuple[str, ...], expected: set[str]) -> None:
    world = World()
    there(world, chain())
    assert set(said(plan(world, chain(), destroy=True, targets=targets))) == expected


def test_an_unknown_target_is_an_error() -> None:
    with pytest.raises(UnknownTarget, match="nowhere"):
        plan(World(), chain(), targets=("share.x", "nowhere"))


def test_refused_plans_have_no_steps() -> None:
    world = World()
    there(world, [resource("thing.a", prevent_destroy=True)])
    made = plan(world, [])
    assert ([hazard.guardrail for hazard in made.refused], made.steps) == (["prevent-destroy"], ())
    made = plan(world, [], allow=frozenset({"prevent-destroy"}))
    assert ([hazard.guardrail for hazard in made.lifted], len(made.steps)) == (["prevent-destroy"], 1)


def test_too_many_updates_are_counted_against_what_is_managed() -> None:
    world = World()
    items = [resource(f"thing.{number}") for number in range(10)]
    there(world, items)
    changed = [resource(f"thing.{number}", 2) for number in range(4)] + items[4:]
    assert [hazard.guardrail for hazard in plan(world, changed).refused] == ["many-updates"]
    assert plan(world, [*changed[:3], *items[3:]]).refused == ()
    assert [hazard.guardrail for hazard in plan(world, items[4:]).refused] == ["many-deletes"]
    assert plan(world, [], destroy=True).refused == ()


def test_digests_follow_their_inputs() -> None:
    world = World()
    first = plan(world, [resource("thing.a")])
    assert first.spec_digest != plan(world, [resource("thing.a", 2)]).spec_digest
    assert first.spec_digest != plan(world, [resource("thing.a", target="u")]).spec_digest
    there(world, [resource("thing.z")])
    second = plan(world, [resource("thing.a")])
    assert (second.spec_digest, second.live_digest != first.live_digest) == (first.spec_digest, True)
    world.target("t").records["thing.z"] = replace(world.target("t").records["thing.z"], unit="u")
    assert plan(world, [resource("thing.a")]).live_digest != second.live_digest


def test_undo_puts_the_inventory_back_too() -> None:
    world = World()
    there(world, [resource("thing.a")])
    (step,) = plan(world, [resource("thing.a", 2, unit="x")]).steps
    assert moved(step.do).record == Record("thing.a", "thing", Key("thing", "thing.a"), unit="x")
    assert moved(step.undo).record == Record("thing.a", "thing", Key("thing", "thing.a"))


@given(cases(), st.randoms())
def test_the_same_input_in_any_order_is_the_same_plan(case: Case, shuffle: random.Random) -> None:
    world, other = case.world(), World()
    items, wanted = list(case.before), list(case.wanted)
    shuffle.shuffle(items)
    shuffle.shuffle(wanted)
    there(other, items)
    first, second = plan(world, case.wanted), plan(other, wanted)
    assert (first.changes, first.steps, first.refused) == (second.changes, second.steps, second.refused)
    assert (first.live_digest, first.unchanged) == (second.live_digest, second.unchanged)


@given(cases())
def test_building_a_plan_changes_nothing_it_was_given(case: Case) -> None:
    live = {target: Live() for target in ("t", "u")} | case.world().live()
    again = {target: Live() for target in ("t", "u")} | case.world().live()
    planning.build("site", case.wanted, live, KINDS, Options())
    assert live == again


class Stored(Thing):
    """Whose removal tells whether its data would go."""

    name, title = "stored", "stored thing"

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        return Removal(None, reason=f"data goes: {options.delete_data}")


@pytest.mark.parametrize("goes_on", [True, False])
def test_data_of_a_unit_that_goes_on_elsewhere_is_never_deleted(goes_on: bool) -> None:
    kinds, state = Kinds({kind.name: kind for kind in (Stored(), Thing())}), {"value": 1, "reload": False}
    record = Record("stored.a@old", "stored", Key("stored", "a"), unit="share.a")
    live = {"old": Live({}, {record.key: state}, {record.address: record})}
    new = Resource("thing.a", "thing", "new", Key("thing", "a"), state, unit="share.a")
    options = Options(purge=True, delete_data=True)
    made = planning.build("site", [new] if goes_on else [], live, kinds, options)
    (change,) = [each for each in made.changes if each.address == record.address]
    assert change.reasons == (f"data goes: {not goes_on}",)
