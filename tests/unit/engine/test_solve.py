"""The graph of steps: edges, units, brackets, proofs, and what comes last."""

from dataclasses import replace

from hypothesis import given
from unit.engine.things import Case, cases, plan, resource, there
from unit.simulated import World, moved

from smbplan.engine.kind import Action
from smbplan.engine.plan import Plan
from smbplan.engine.step import Call, Move, Nature, Step


def edges(made: Plan) -> dict[str, tuple[str, ...]]:
    return {step.id: step.after for step in made.steps}


def by_id(made: Plan) -> dict[str, Step]:
    return {step.id: step for step in made.steps}


def test_steps_wait_only_for_what_changes() -> None:
    world = World()
    there(world, [resource("thing.base")])
    made = plan(
        world, [resource("thing.base"), resource("thing.a", 1, "thing.base"), resource("thing.b", 1, "thing.a")]
    )
    assert edges(made) == {"thing.a": (), "thing.b": ("thing.a",)}


def test_titles_targets_and_moves() -> None:
    (step,) = plan(World(), [resource("thing.a", target="u")]).steps
    assert (step.title, step.target, step.address) == ("create thing a", "u", "thing.a")
    assert (moved(step.do).before, moved(step.do).after) == (None, {"value": 1, "reload": False})
    assert (moved(step.undo).before, moved(step.undo).after) == (moved(step.do).after, moved(step.do).before)


def test_what_is_kept_has_no_undo_but_a_reason() -> None:
    (step,) = plan(World(), [resource("kept.a")]).steps
    assert (step.undo, step.nature, step.why) == (None, Nature.KEPT, "harmless")


def test_a_bracket_stands_for_all_changes_of_its_target_that_name_it() -> None:
    items = [
        resource("thing.a", unit="x", reload=True),
        resource("thing.b", unit="y", reload=True),
        resource("thing.c", unit="z"),
        resource("thing.d", unit="x", target="u", reload=True),
    ]
    made = by_id(plan(World(), items))
    assert {name for name, step in made.items() if step.bracket} == {"t:reload", "u:reload"}
    assert (made["t:reload"].after, made["t:reload"].units) == (("thing.a", "thing.b"), ("x", "y"))
    assert (made["t:reload"].address, made["u:reload"].address) == ("t:reload", "thing.d")
    assert made["t:reload"].do == made["t:reload"].undo == Call("reload")


def test_a_proof_waits_for_all_that_changed_below_it_and_for_the_brackets_of_its_unit() -> None:
    world = World()
    there(world, [resource("thing.mid", 1, "thing.base"), resource("thing.top", 1, "thing.mid", proof=True)])
    items = [
        resource("thing.base", reload=True),
        resource("thing.mid", 1, "thing.base"),
        resource("thing.top", 1, "thing.mid", unit="x", proof=True),
    ]
    made = plan(world, items)
    proof = by_id(made)["thing.top#proof"]
    assert proof.after == ("t:reload", "thing.top")
    assert (proof.undo, proof.nature, proof.units) == (None, Nature.KEPT, ("x",))
    there(world, items[1:])
    unchanged = plan(world, items)
    assert "thing.top" not in edges(unchanged)
    assert edges(unchanged)["thing.top#proof"] == ("t:reload", "thing.base")


def test_a_proof_of_what_two_units_share_does_not_wait_for_the_bracket_of_one() -> None:
    items = [
        resource("thing.base", unit="x", proof=True),
        resource("thing.user", 1, "thing.base", unit="y", reload=True, proof=True),
    ]
    found = edges(plan(World(), items))
    assert found["thing.base#proof"] == ("thing.base",)
    assert found["thing.user#proof"] == ("t:reload", "thing.user")


def test_nothing_is_proved_that_does_not_stand_on_a_change() -> None:
    world = World()
    there(world, [resource("thing.a", proof=True)])
    assert edges(plan(world, [resource("thing.a", proof=True), resource("thing.b")])) == {"thing.b": ()}


def test_irreversible_steps_wait_for_all_else_of_their_unit() -> None:
    world = World()
    there(world, [resource("lasting.a", unit="x"), resource("thing.b", 1, "lasting.a", unit="x")])
    wanted = [resource("thing.new", unit="x", proof=True), resource("thing.other", unit="y")]
    found = edges(plan(world, wanted))
    assert found["lasting.a"] == ("thing.b", "thing.new", "thing.new#proof")
    assert found["thing.other"] == ()


def test_nothing_but_their_like_waits_for_irreversible_steps() -> None:
    world = World()
    there(
        world,
        [
            resource("thing.base"),
            resource("lasting.low", 1, "thing.base", unit="x"),
            resource("lasting.high", 1, "lasting.low", unit="x"),
        ],
    )
    found = edges(plan(world, []))
    assert found == {"thing.base": (), "lasting.high": ("thing.base",), "lasting.low": ("lasting.high", "thing.base")}


def test_atomic_makes_one_unit_and_puts_irreversible_steps_after_everything() -> None:
    world = World()
    there(world, [resource("lasting.a", unit="x")])
    made = plan(world, [resource("thing.b", unit="y"), resource("thing.c", target="u")], atomic=True)
    assert {step.units for step in made.steps} == {("run",)}
    assert edges(made)["lasting.a"] == ("thing.b", "thing.c")


def test_a_change_that_needs_no_move_is_forgotten_reversibly() -> None:
    world = World()
    there(world, [resource("thing.a")])
    world.target("t").boxes.clear()
    (step,) = plan(world, []).steps
    assert (step.do, step.title) == (Call("forget", {"address": "thing.a"}), "forget thing.a")
    assert isinstance(step.undo, Call)
    assert step.undo.arguments["record"]["key"] == ["thing", "thing.a"]


def test_a_removal_comes_after_the_change_of_what_used_it() -> None:
    world = World()
    base, user = resource("thing.base"), resource("thing.user", 1, "thing.base", unit="x")
    there(world, [base, user])
    made = plan(world, [replace(user, after=())])
    assert {change.address: change.action for change in made.changes} == {
        "thing.base": Action.DELETE,
        "thing.user": Action.UPDATE,
    }
    assert edges(made) == {"thing.user": (), "thing.base": ("thing.user",)}


@given(cases())
def test_every_graph_is_well_formed(case: Case) -> None:
    made = plan(case.world(), case.wanted)
    seen: set[str] = set()
    for step in made.steps:
        assert set(step.after) <= seen, "not in topological order"
        assert step.units
        assert list(step.after) == sorted(set(step.after))
        assert step.undo is not None or step.why
        assert step.nature is not Nature.IRREVERSIBLE or step.undo is None
        seen.add(step.id)
    assert len(seen) == len(made.steps)
    assert {change.address for change in made.changes} == {
        step.id for step in made.steps if isinstance(step.do, Move) or step.do.name == "forget"
    }
