"""A run that is killed at any write to its journal is taken back, as often as that is killed itself."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.faults import Faults, Killed, Mortal, Runner, Walk, faults, walk
from unit.engine.things import Case, cases, plan, resource, there
from unit.simulated import Notes, World

from smbplan.engine.execute import Execution
from smbplan.engine.outcome import Entry, Outcome, Result, completed, resumed
from smbplan.engine.resource import Key
from smbplan.engine.step import Call, Move, Nature, Status, Step, Work


def killed(world: World, steps: Sequence[Step], told: Faults, journal: Mortal, recovery: bool = False) -> bool:
    """One run, or its recovery, that may be killed on its way."""
    start = resumed(journal.entries, steps) if recovery else None
    runner = Runner(world, steps, journal, told)
    try:
        Execution(steps, runner, journal, 10, start=start).run()
    except Killed:
        return True
    finally:
        assert runner.wrong == []
    return False


def recovered(world: World, steps: Sequence[Step], entries: Sequence[Entry]) -> Outcome:
    journal = Notes()
    journal.entries += entries
    return Execution(steps, Runner(world, steps, journal), journal, start=resumed(entries, steps)).run()


@given(cases(), st.data())
def test_recovery_puts_everything_back(case: Case, data: st.DataObject) -> None:
    world, before = case.world(), case.world()
    steps = plan(world, case.wanted).steps
    writes = st.integers(0, 4 * len(steps))
    journal = Mortal(data.draw(writes), data.draw(st.booleans()))
    told = data.draw(st.one_of(st.just(Faults()), faults(steps, undo=False)))
    killed(world, steps, told, journal)
    for _ in range(data.draw(st.integers(0, 3))):
        again = Mortal(data.draw(writes), data.draw(st.booleans()), journal.entries)
        killed(world, steps, Faults(), again, recovery=True)
        journal = again
    entries = list(journal.entries)
    outcome = recovered(world, steps, entries)
    assert outcome.stranded == []
    begun = {entry.step for entry in entries if entry.status is Status.DOING}
    pinned = Walk(steps, journal, outcome, Runner(world, steps, journal)).pinned()
    assert {name for name, status in outcome.statuses.items() if status is Status.DONE} <= pinned
    for step in steps:
        if step.id in pinned:
            continue
        if isinstance(step.do, Move) and not (step.undo is None and step.id in begun):
            here, was = world.target(step.target), before.target(step.target)
            assert here.states().get(step.do.key) == was.states().get(step.do.key), step.id
            assert here.records.get(step.address) == was.records.get(step.address), step.id


@given(cases(), st.data())
def test_brackets_run_after_what_a_recovery_undid(case: Case, data: st.DataObject) -> None:
    world = case.world()
    steps = plan(world, case.wanted).steps
    journal = Mortal(data.draw(st.integers(0, 2 * len(steps))), durable=True)
    killed(world, steps, Faults(), journal)
    first = len(journal.entries)
    runner_journal = Notes()
    runner_journal.entries += journal.entries
    runner = Runner(world, steps, runner_journal)
    Execution(steps, runner, runner_journal, start=resumed(journal.entries, steps)).run()
    undone = [entry.step for entry in runner_journal.entries[first:] if entry.status is Status.UNDONE]
    for bracket in (step for step in steps if step.bracket):
        positions = [undone.index(name) for name in bracket.after if name in undone]
        if positions:
            assert max(at for at, name in enumerate(undone) if name == bracket.id) > max(positions)


def test_a_bracket_that_was_due_when_the_process_died_is_run() -> None:
    steps = plan(World(), [resource("thing.a", reload=True)]).steps
    entries = [Entry("thing.a", each) for each in (Status.DOING, Status.DONE, Status.UNDOING, Status.UNDONE)]
    world = World()
    assert recovered(world, steps, entries).name == "rolled_back"
    assert world.calls == [("t", "reload")]
    world = World()
    recovered(world, steps, [])
    assert world.calls == []


def step(name: str, **rest: bool) -> Step:
    return Step(name, name, "t", name, Call("x"), Call("y"), units=("a",), **rest)


@pytest.mark.parametrize(
    ("journal", "status"),
    [
        ([], Status.CANCELLED),
        ([Status.DOING], Status.FAILED),
        ([Status.DOING, Status.DONE], Status.DONE),
        ([Status.DOING, Status.FAILED], Status.FAILED),
        ([Status.DOING, Status.DONE, Status.UNDOING], Status.FAILED),
        ([Status.DOING, Status.DONE, Status.UNDOING, Status.UNDONE], Status.UNDONE),
        ([Status.DOING, Status.DONE, Status.UNDOING, Status.STRANDED], Status.FAILED),
        ([Status.DOING, Status.DONE, Status.KEPT], Status.KEPT),
        ([Status.CANCELLED], Status.CANCELLED),
    ],
)
def test_where_a_run_stood(journal: list[Status], status: Status) -> None:
    entries = [Entry("one", each) for each in journal]
    assert resumed(entries, [step("one"), step("two")]) == {"one": status, "two": Status.CANCELLED}


def test_a_stranded_run_can_be_recovered_later() -> None:
    world = World()
    steps = plan(world, [resource("thing.a"), resource("thing.b", 1, "thing.a", proof=True)]).steps
    journal = Notes()
    told = Faults({"thing.b#proof": "refused"}, frozenset({"thing.b"}))
    outcome = Execution(steps, Runner(world, steps, journal, told), journal).run()
    assert [each.id for each in outcome.stranded] == ["thing.b", "thing.a"]
    assert recovered(world, steps, journal.entries).name == "rolled_back"
    assert world.snapshot() == {}


def test_a_stranded_run_that_is_recovered_leaves_what_went_well() -> None:
    world = World()
    steps = plan(world, [resource("thing.a", unit="a"), resource("thing.b", unit="b", proof=True)]).steps
    journal = Notes()
    told = Faults({"thing.b#proof": "refused"}, frozenset({"thing.b"}))
    outcome = Execution(steps, Runner(world, steps, journal, told), journal).run()
    assert [each.id for each in outcome.stranded] == ["thing.b"]
    start = resumed(journal.entries, steps)
    again = Execution(steps, Runner(world, steps, journal), journal, start=start, ended=True).run()
    assert (again.name, again.statuses["thing.a"]) == ("partial", Status.DONE)
    assert list(world.target("t").records) == ["thing.a"]


def test_there_is_no_way_back_behind_an_irreversible_step() -> None:
    world = World()
    there(world, [resource("lasting.a"), resource("thing.b", 1, "lasting.a")])
    steps = plan(world, []).steps
    assert {each.id: each.nature for each in steps}["lasting.a"] is Nature.IRREVERSIBLE
    journal = Notes()
    Execution(steps, Runner(world, steps, journal), journal).run()
    outcome = recovered(world, steps, journal.entries)
    assert outcome.statuses == {"thing.b": Status.DONE, "lasting.a": Status.DONE}


@pytest.mark.parametrize(
    ("fault", "effect", "name"),
    [("before", False, "rolled_back"), ("after", True, "partial"), ("lost", True, "applied")],
)
def test_an_irreversible_step_of_unknown_effect_is_probed(fault: str, effect: bool, name: str) -> None:
    world = World()
    there(world, [resource("lasting.a", unit="u"), resource("thing.b", unit="u")])
    steps = plan(world, []).steps
    run = walk(world, steps, Faults({"lasting.a": fault}))
    assert run.outcome.name == name
    assert (world.target("t").states() == {}) is effect


@pytest.mark.parametrize("effect", [False, True])
def test_a_recovery_probes_the_irreversible_step_that_it_was_killed_in(effect: bool) -> None:
    world = World()
    there(world, [resource("lasting.a", unit="u"), resource("thing.b", unit="u")])
    steps = plan(world, []).steps
    for step in steps if effect else steps[:1]:
        world.perform("t", step.do)
    entries = [Entry(steps[0].id, Status.DONE), Entry("lasting.a", Status.DOING)]
    outcome = recovered(world, steps, entries)
    assert outcome.name == ("partial" if effect else "rolled_back")
    assert bool(world.target("t").states()) is not effect


def test_an_irreversible_step_whose_target_is_lost_strands_and_keeps_the_rest() -> None:
    world = World()
    there(world, [resource("lasting.a", unit="u"), resource("thing.b", unit="u")])
    steps = plan(world, []).steps
    run = walk(world, steps, Faults(gone={"t": 1}))
    assert [each.id for each in run.outcome.stranded] == ["lasting.a"]
    assert run.outcome.statuses["thing.b"] is Status.DONE


def test_what_waits_for_an_irreversible_step_of_unknown_effect_never_starts() -> None:
    world = World()
    there(world, [resource("lasting.a"), resource("lasting.b", 1, "lasting.a")])
    run = walk(world, plan(world, []).steps, Faults(gone={"t": 0}))
    assert run.outcome.statuses == {"lasting.b": Status.STRANDED, "lasting.a": Status.CANCELLED}


@pytest.mark.parametrize(
    ("journal", "done"),
    [([], False), ([Status.DOING], False), ([Status.DOING, Status.DONE], True), ([Status.DONE, Status.UNDOING], False)],
)
def test_whether_a_run_was_complete(journal: list[Status], done: bool) -> None:
    assert completed([Entry("one", each) for each in journal], [step("one")]) is done


def test_of_a_run_that_is_done_only_brackets_were_left_out() -> None:
    """A cancelled step that is none may be work that was never begun."""
    steps = [step("one"), replace(step("two"), bracket=True)]
    done, cancelled = Entry("one", Status.DONE), Entry("two", Status.CANCELLED)
    assert completed([done, cancelled], steps)
    assert not completed([done, cancelled], [steps[0], step("two")])
    assert not completed([done], steps)


def test_what_a_bracket_is_still_to_run_on_is_there_until_then() -> None:
    """A guest is stopped when what runs in it has been told, not meanwhile."""
    power = Move("power", Key("power", "box"), None, {"on": True})
    file = Move("file", Key("file", "/f"), None, {"mark": None})
    steps = (
        Step("power", "power", "cluster", "", power, power.reversed(None), units=("s",)),
        Step("file", "file", "box", "", file, file.reversed(None), after=("power",), units=("s",)),
        Step("tell", "file", "box", "", Call("tell"), Call("tell"), after=("file",), units=("s",), bracket=True),
    )
    told: list[str] = []

    class Told:
        def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
            told.extend(work.step.id for work in works)
            return [Result(True)] * len(works)

    start = {"power": Status.DONE, "file": Status.UNDONE, "tell": Status.FAILED}
    outcome = Execution(steps, Told(), Notes(), start=start).run()
    assert (outcome.name, told) == ("rolled_back", ["tell", "power"])
