"""Single cases of the walk, each with its exact outcome."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from unit.engine.faults import Faults, Runner, walk
from unit.engine.things import plan, resource, there
from unit.simulated import Notes, World

from smbplan.engine.execute import BATCH, Execution
from smbplan.engine.outcome import Entry, Outcome, Result
from smbplan.engine.resource import Key
from smbplan.engine.step import Call, Move, Nature, Status, Step, Work

BASE = [resource("thing.base", unit=""), resource("thing.x", 1, "thing.base", unit="x", proof=True)]
TWO = [*BASE, resource("thing.y", 1, "thing.base", unit="y", proof=True)]


def made(*wanted: object, **options: bool) -> tuple[World, tuple[Step, ...]]:
    world = World()
    return world, plan(world, wanted, **options).steps  # type: ignore[arg-type]


def failing(world: World, steps: Sequence[Step], *names: str, undo: Sequence[str] = ()) -> Outcome:
    return walk(world, steps, Faults(dict.fromkeys(names, "after"), frozenset(undo))).outcome


def words(outcome: Outcome) -> dict[str, str]:
    return {name: str(status) for name, status in outcome.statuses.items()}


def test_all_done() -> None:
    world, steps = made(*TWO)
    outcome = walk(world, steps).outcome
    assert (outcome.name, set(words(outcome).values()), outcome.problems) == ("applied", {"done"}, [])


def test_a_failing_unit_goes_and_the_shared_resource_stays_for_the_other() -> None:
    world, steps = made(*TWO)
    outcome = failing(world, steps, "thing.x")
    assert outcome.name == "partial"
    assert words(outcome) == {
        "thing.base": "done",
        "thing.x": "undone",
        "thing.x#proof": "cancelled",
        "thing.y": "done",
        "thing.y#proof": "done",
    }
    assert [(each.step, each.address) for each in outcome.problems] == [("thing.x", "thing.x")]


def test_the_shared_resource_goes_with_its_last_user() -> None:
    world, steps = made(*TWO)
    outcome = failing(world, steps, "thing.x#proof", "thing.y#proof")
    assert outcome.name == "rolled_back"
    assert words(outcome)["thing.base"] == "undone"
    assert world.snapshot() == {}


def test_atomic_takes_the_healthy_unit_along() -> None:
    world, steps = made(*TWO, atomic=True)
    assert failing(world, steps, "thing.x").name == "rolled_back"
    assert world.snapshot() == {}


def test_a_failed_removal_takes_only_its_unit_back() -> None:
    world = World()
    there(world, TWO)
    outcome = failing(world, plan(world, []).steps, "thing.x")
    assert words(outcome) == {"thing.x": "undone", "thing.y": "done", "thing.base": "cancelled"}
    assert outcome.name == "partial"


def test_what_a_rolled_back_unit_needs_is_not_removed_under_it() -> None:
    """The removal of the base is done when the proof of its former user's change fails."""
    world = World()
    there(world, BASE)
    steps = plan(world, [resource("thing.x", 2, unit="x", proof=True)]).steps
    order = {step.id: step for step in steps}
    assert order["thing.base"].after == ("thing.x",)
    outcome = failing(world, steps, "thing.x#proof")
    assert outcome.name == "rolled_back"
    assert world.target("t").states()[Key("thing", "thing.base")] == {"value": 1, "reload": False}


def test_an_undo_that_fails_fences_all_below_even_over_what_is_kept() -> None:
    world, steps = made(
        resource("thing.a"),
        resource("kept.b", 1, "thing.a"),
        resource("thing.c", 1, "kept.b"),
        resource("thing.d", 1, "thing.c", proof=True),
        resource("thing.other", 1, "thing.d"),
    )
    outcome = failing(world, steps, "thing.d#proof", undo=["thing.d"])
    assert [step.id for step in outcome.stranded] == ["thing.d", "thing.c", "thing.a"]
    assert words(outcome)["thing.other"] == "undone"
    assert outcome.name == "stranded"


def bracketed() -> tuple[World, tuple[Step, ...]]:
    return made(
        resource("thing.x", unit="x", reload=True, proof=True), resource("thing.y", unit="y", reload=True, proof=True)
    )


def test_a_bracket_runs_once_in_each_direction_and_not_on_its_own_account() -> None:
    world, steps = bracketed()
    outcome = failing(world, steps, "thing.x#proof", "thing.y#proof")
    assert world.calls.count(("t", "reload")) == 2
    assert outcome.name == "rolled_back"
    assert words(outcome)["t:reload"] == "undone"


def test_a_failure_before_the_bracket_does_not_hurt_the_other_unit() -> None:
    world, steps = bracketed()
    outcome = failing(world, steps, "thing.x")
    assert world.calls.count(("t", "reload")) == 1
    assert words(outcome)["thing.y#proof"] == "done"
    assert outcome.name == "partial"


def test_a_bracket_runs_again_for_every_later_undo() -> None:
    world = World()
    first = [resource("thing.x", unit="x", reload=True, proof=True)]
    later = [
        resource("thing.y", unit="y", reload=True),
        resource("thing.z", 1, "thing.y", unit="y", target="u", proof=True),
    ]
    steps = plan(world, first + later).steps
    outcome = failing(world, steps, "thing.x#proof", "thing.z#proof")
    assert world.calls.count(("t", "reload")) >= 2
    assert outcome.name == "rolled_back"
    assert world.snapshot() == {}


def test_a_bracket_that_fails_takes_its_units_back() -> None:
    world, steps = bracketed()
    outcome = failing(world, steps, "t:reload")
    assert outcome.name == "rolled_back"
    assert words(outcome)["t:reload"] == "undone"


def test_a_bracket_that_fails_both_ways_strands_nothing_but_itself() -> None:
    world, steps = bracketed()
    outcome = failing(world, steps, "t:reload", undo=["t:reload"])
    assert [step.id for step in outcome.stranded] == ["t:reload"]
    assert world.snapshot() == {}


def test_what_waits_for_a_stranded_bracket_is_not_proved_and_goes() -> None:
    """The reload fails after one unit was undone, while the other one still waits for another target."""
    world, steps = made(
        resource("thing.x", unit="x", reload=True, proof=True),
        resource("thing.y", unit="y", reload=True),
        resource("thing.far", unit="y", target="u"),
        resource("thing.z", 1, "thing.y", "thing.far", unit="y", reload=True, proof=True),
    )
    told = Faults({"thing.x#proof": "refused"}, frozenset({"t:reload"}))
    late = replace(next(step for step in steps if step.id == "t:reload"), after=("thing.x", "thing.y"))
    steps = tuple(late if step.id == "t:reload" else step for step in steps)
    journal = Notes()
    runner = Runner(world, steps, journal, told)

    class Far:
        def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
            for _ in range(1000 if target == "u" else 0):
                if Entry("t:reload", Status.STRANDED, "undo failed") in journal.entries:
                    break
                threading.Event().wait(0.01)
            return runner.run(target, works)

    outcome = Execution(steps, Far(), journal).run()
    assert [step.id for step in outcome.stranded] == ["t:reload"]
    assert words(outcome)["thing.z#proof"] == "cancelled"
    assert world.snapshot() == {}


def test_a_bracket_of_one_share_does_not_hold_up_another() -> None:
    calls = {step.id: step.after for step in bracketed()[1]}
    assert calls["thing.x#proof"] == ("t:reload", "thing.x")
    _, steps = made(resource("thing.x", unit="x", reload=True), resource("thing.y", unit="y", proof=True))
    assert {step.id: step.after for step in steps}["thing.y#proof"] == ("thing.y",)


def test_a_target_that_goes_away_strands_what_was_done_there() -> None:
    world, steps = made(*BASE, resource("thing.v", target="u"), resource("thing.w", 1, "thing.v", target="u"))
    outcome = walk(world, steps, Faults(gone={"u": 1})).outcome
    assert [step.id for step in outcome.stranded] == ["thing.w", "thing.v"]
    assert words(outcome)["thing.base"] == "done"


@pytest.mark.parametrize("fault", ["refused", "before", "after", "lost"])
def test_whether_or_not_the_step_took_effect_its_undo_is_right(fault: str) -> None:
    world = World()
    there(world, BASE)
    before = world.snapshot()
    steps = plan(world, [resource("thing.base", 2)]).steps
    walk(world, [step for step in steps if step.id == "thing.base"], Faults({"thing.base": fault}))
    assert world.snapshot() == before


class Slow:
    """Answers when told to, and records how much it is asked at a time."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        self.batches.append(len(works))
        return [Result(True)] * len(works)


def plain(name: str, target: str = "t", *after: str) -> Step:
    move = Move(name, Key("thing", name), None, {"value": 1})
    return Step(name, name, target, name, move, move.reversed(None), after=after, units=(name,))


def test_ready_steps_of_a_target_go_as_one_batch_up_to_the_limit() -> None:
    runner = Slow()
    steps = [plain(f"s{number:04}") for number in range(BATCH + 20)]
    assert Execution(steps, runner, Notes()).run().name == "applied"
    assert runner.batches == [BATCH, 20]


def test_no_more_targets_at_once_than_allowed() -> None:
    now, most, guard = 0, 0, threading.Lock()

    class Counting:
        def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
            nonlocal now, most
            with guard:
                now += 1
                most = max(most, now)
            threading.Event().wait(0.01)
            with guard:
                now -= 1
            return [Result(True)] * len(works)

    steps = [plain(f"s{number}", f"t{number}") for number in range(8)]
    assert Execution(steps, Counting(), Notes(), parallelism=3).run().name == "applied"
    assert most == 3


class Interrupting(Notes):
    """Asks to stop in the middle of a write to the journal."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.stop: Callable[[], None] = lambda: None

    def write(self, entries: Sequence[Entry]) -> None:
        self.at -= 1
        if self.at == 0:
            self.stop()
        super().write(entries)


@pytest.mark.parametrize("at", range(1, 9))
def test_a_stop_at_any_moment_turns_the_run_back(at: int) -> None:
    world, steps = made(resource("thing.a"), *(resource(f"thing.{x}", 1, f"thing.{y}") for x, y in ("ba", "cb", "dc")))
    journal = Interrupting(at)
    execution = Execution(steps, Runner(world, steps, journal), journal)
    journal.stop = execution.stop
    outcome = execution.run()
    if at == 8:  # nothing was left to turn back
        assert (outcome.name, outcome.interrupted) == ("applied", False)
    else:
        assert (outcome.name, outcome.interrupted) == ("rolled_back", True)
        assert world.snapshot() == {}


def test_a_stop_during_the_way_back_changes_nothing() -> None:
    world, steps = made(*TWO)
    journal = Notes()
    execution = Execution(steps, Runner(world, steps, journal, Faults({"thing.x": "after"})), journal)
    execution.stop()
    execution.stop()
    assert execution.run().name == "rolled_back"
    assert world.snapshot() == {}


def test_the_journal_and_the_watcher_see_the_same() -> None:
    world, steps = made(*TWO)
    seen: list[tuple[str, Status]] = []
    journal = Notes()
    told = Faults({"thing.y": "before"})
    Execution(
        steps, Runner(world, steps, journal, told), journal, 1, lambda step, status: seen.append((step.id, status))
    ).run()
    assert seen == [(entry.step, entry.status) for entry in journal.entries]


def test_one_at_a_time_the_journal_is_always_the_same() -> None:
    def once() -> list[Entry]:
        world, steps = made(*TWO, resource("thing.z", target="u"))
        journal = Notes()
        told = Faults({"thing.y": "after"})
        Execution(steps, Runner(world, steps, journal, told), journal, 1).run()
        return journal.entries

    assert once() == once()


@pytest.mark.parametrize(
    ("statuses", "failed", "name"),
    [
        ({"a": Status.DONE}, False, "applied"),
        ({}, False, "applied"),
        ({"a": Status.DONE, "b": Status.UNDONE}, True, "partial"),
        ({"a": Status.CANCELLED, "b": Status.UNDONE, "c": Status.KEPT}, True, "rolled_back"),
        ({"a": Status.UNDONE, "bracket": Status.DONE}, True, "rolled_back"),
    ],
)
def test_names_of_outcomes(statuses: dict[str, Status], failed: bool, name: str) -> None:
    outcome = Outcome(statuses, interrupted=failed, brackets=frozenset({"bracket"}))
    assert outcome.name == name
    outcome.stranded.append(Step("x", "x", "t", "x", Call("x"), None, Nature.KEPT))
    assert outcome.name == "stranded"
