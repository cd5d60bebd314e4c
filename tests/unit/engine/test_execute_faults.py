"""Random graphs, random faults: the laws hold. Ten thousand of them, larger, with faults of undos and of targets."""

from collections.abc import Sequence

import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from unit.engine import laws
from unit.engine.faults import Faults, Runner, walk
from unit.engine.things import Case, cases, plan, resource, there
from unit.simulated import Notes, World

from smbplan.engine.execute import Execution
from smbplan.engine.outcome import Result
from smbplan.engine.step import Status, Way, Work

DATA = st.data()
GRAPHS, PARTS = 10_000, 8


@given(cases(), DATA)
def test_faults(case: Case, data: st.DataObject) -> None:
    laws.all_that_hold_after_faults(*laws.ran(case, data, undo=False))


@given(cases(), DATA)
def test_faults_of_undos_and_targets(case: Case, data: st.DataObject) -> None:
    laws.all_that_hold_after_faults_of_undos(*laws.ran(case, data, undo=True, gone=True))


@given(cases(), DATA)
def test_atomic_is_all_or_nothing(case: Case, data: st.DataObject) -> None:
    before, world, run = laws.ran(case, data, undo=False, atomic=True)
    assert all(step.units == ("run",) for step in run.steps)
    if run.outcome.name == "applied":
        return
    assert run.outcome.name == "rolled_back"
    for step in run.steps:
        status = run.outcome.statuses[step.id]
        assert step.bracket or status is not Status.DONE
        if laws.step_of_a_resource(step) and not laws.keeps(step, status):
            assert laws.objects(world, step) == laws.objects(before, step), step.id


@given(cases())
@settings(max_examples=100)
def test_without_faults_everything_is_applied_and_stays(case: Case) -> None:
    world = case.world()
    first = walk(world, plan(world, case.wanted).steps)
    assert first.outcome.name == "applied"
    assert first.runner.wrong == []
    assert not {Status.FAILED, Status.UNDONE} & set(first.outcome.statuses.values())
    again = plan(world, case.wanted)
    assert again.changes == ()
    assert again.steps == ()


@pytest.mark.parametrize("part", range(PARTS))
def test_ten_thousand_graphs(part: int) -> None:
    count = 0

    @seed(part)
    @settings(max_examples=GRAPHS // PARTS, derandomize=False, phases=[Phase.generate, Phase.shrink])
    @given(cases(size=8), DATA, st.booleans())
    def hold(case: Case, data: st.DataObject, undo: bool) -> None:
        nonlocal count
        count += 1
        law = laws.all_that_hold_after_faults_of_undos if undo else laws.all_that_hold_after_faults
        law(*laws.ran(case, data, undo=undo, gone=undo))

    hold()
    assert count >= GRAPHS // PARTS


class Deaf(Runner):
    """The answers to so many undos and probes are lost."""

    lost = 0

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        results = super().run(target, works)
        again = any(work.way is not Way.DO for work in works)
        if not again or not self.lost:
            return results
        self.lost -= 1
        return [Result(False, "no answer", lost=True)] * len(results)


@pytest.mark.parametrize(("lost", "name"), [(1, "rolled_back"), (2, "rolled_back"), (3, "stranded")])
@pytest.mark.parametrize("kind", ["thing", "lasting"])
def test_an_undo_or_a_probe_whose_answer_is_lost_is_repeated(kind: str, lost: int, name: str) -> None:
    """One of what is made, the other of what is deleted for good."""
    world = World()
    items = [resource(f"{kind}.a", unit="u"), resource("thing.b", 1, f"{kind}.a", unit="u")]
    if kind == "lasting":
        there(world, items)
    before = world.snapshot()
    steps = plan(world, [] if kind == "lasting" else items).steps
    journal = Notes()
    runner = Deaf(world, steps, journal, Faults({steps[-1].id: "refused" if kind == "thing" else "before"}))
    runner.lost = lost
    outcome = Execution(steps, runner, journal).run()
    assert outcome.name == name
    assert runner.wrong == []
    assert name == "stranded" or world.snapshot() == before
