"""What holds after every run, whatever failed and when."""

from hypothesis import strategies as st
from unit.engine.faults import Walk, faults, walk
from unit.engine.things import Case, plan
from unit.simulated import World

from smbplan.engine.step import Call, Move, Nature, Status, Step

EFFECT = {Status.DONE, Status.FAILED, Status.UNDONE}
GONE = {Status.CANCELLED, Status.UNDONE, Status.KEPT}


def ran(case: Case, data: st.DataObject, undo: bool, gone: bool = False, **options: bool) -> tuple[World, World, Walk]:
    """The world before, the world after, and the run."""
    world = case.world()
    steps = plan(world, case.wanted, allow=frozenset({"many-updates", "many-deletes"}), **options).steps
    told = data.draw(faults(steps, undo, gone))
    return case.world(), world, walk(world, steps, told, data.draw(st.sampled_from([1, 10])))


def keeps(step: Step, status: Status) -> bool:
    """It may have left something that nothing takes back."""
    return step.undo is None and status is not Status.CANCELLED


def step_of_a_resource(step: Step) -> bool:
    return not step.bracket and not step.id.endswith("#proof")


def objects(world: World, step: Step) -> object:
    """What the world has of a step."""
    target = world.target(step.target)
    key = step.do.key if isinstance(step.do, Move) else None
    return (target.states().get(key) if key else None, target.records.get(step.address))


def nothing_starts_early_in_either_direction(run: Walk) -> None:
    now: dict[str, Status] = {}
    for entry in run.journal.entries:
        step = run.by_id[entry.step]
        if entry.status is Status.DOING and not step.bracket:
            for name in step.after:
                allowed = {Status.DONE, *GONE} if run.by_id[name].bracket else {Status.DONE}
                assert now.get(name) in allowed, (entry.step, name)
        if entry.status is Status.UNDOING and not step.bracket:
            for user in run.users(entry.step):
                half = now.get(user.id) is Status.FAILED and user.undo is None
                assert half or now.get(user.id) in GONE, (entry.step, user.id)
        now[entry.step] = entry.status


def failed_units_are_as_before_and_the_others_applied(before: World, world: World, run: Walk) -> None:
    doomed = run.doomed()
    assert not run.outcome.stranded
    for step in run.steps:
        status = run.outcome.statuses[step.id]
        if not step_of_a_resource(step):
            continue
        if step.id in doomed:
            assert keeps(step, status) or objects(world, step) == objects(before, step), step.id
            assert status in GONE or (status is Status.FAILED and step.undo is None), (step.id, status)
        else:
            assert status is Status.DONE, step.id
            assert isinstance(step.do, Call) or objects(world, step)[0] == step.do.after


def what_is_kept_is_listed(before: World, world: World, run: Walk) -> None:
    for step in run.steps:
        if step_of_a_resource(step) and step.id in run.doomed() and objects(world, step) != objects(before, step):
            assert run.outcome.statuses[step.id] in (Status.KEPT, Status.FAILED)
            assert step.why


def a_failed_undo_fences_what_is_below_and_nothing_else(before: World, world: World, run: Walk) -> None:
    fenced, doomed = run.fenced(), run.doomed()
    for step in run.steps:
        status = run.outcome.statuses[step.id]
        history = [entry.status for entry in run.journal.entries if entry.step == step.id]
        if not step_of_a_resource(step):
            continue
        if step.id in fenced:
            assert Status.UNDOING not in history, step.id
            assert step.id not in doomed or step.undo is None or status in (Status.STRANDED, Status.CANCELLED)
        elif step.id not in doomed:
            assert status is Status.DONE or run.failed_undo(step)
        elif not run.failed_undo(step) and not keeps(step, status):
            assert objects(world, step) == objects(before, step)
            assert status in GONE
    assert (run.outcome.name == "stranded") == any(run.failed_undo(step) for step in run.steps)
    assert len({step.id for step in run.outcome.stranded}) == len(run.outcome.stranded)


def brackets_follow_what_they_stand_for(run: Walk) -> None:
    for bracket in (step for step in run.steps if step.bracket):
        now: dict[str, Status] = {}
        due = False
        for entry in run.journal.entries:
            if entry.step == bracket.id and entry.status in (Status.DOING, Status.UNDOING):
                assert due, "ran for nothing"
                due = False
                for name in bracket.after:
                    half = now.get(name) is Status.FAILED and run.by_id[name].undo is None
                    assert half or now.get(name) in {Status.DONE, Status.STRANDED, *GONE}, name
            tried = entry.status is Status.STRANDED and now.get(entry.step) is Status.UNDOING
            if entry.step in bracket.after and (tried or entry.status in EFFECT):
                due = True
            if entry.step == bracket.id and entry.status is Status.FAILED:
                due = True
            now[entry.step] = entry.status
        assert not due or run.outcome.statuses[bracket.id] is Status.STRANDED


def runs_end_and_no_step_is_done_twice(run: Walk) -> None:
    assert run.runner.wrong == []
    assert not {Status.PENDING, Status.DOING, Status.UNDOING} & set(run.outcome.statuses.values())
    done = [entry.step for entry in run.journal.entries if entry.status is Status.DOING]
    undone = [step.id for step in run.steps if not step.bracket and undone_twice(run, step)]
    assert undone == []
    assert len(set(done)) == len(done)


def undone_twice(run: Walk, step: Step) -> bool:
    """But for an undo whose answer was lost."""
    history = [entry.status for entry in run.journal.entries if entry.step == step.id]
    tries = [history[place - 1] for place, status in enumerate(history) if status is Status.UNDOING]
    return any(before is not Status.FAILED for before in tries[1:])


def the_outcome_says_what_is_left(run: Walk) -> None:
    outcome = run.outcome
    left = any(outcome.statuses[step.id] is Status.DONE for step in run.steps if not step.bracket)
    failed = any(run.failed(step.id) or run.done_in_spite_of_an_error(step) for step in run.steps)
    stranded = Status.STRANDED in outcome.statuses.values()
    name = "stranded" if stranded else "partial" if left else "rolled_back"
    assert outcome.name == (name if failed or stranded else "applied")
    assert bool(outcome.problems) == (outcome.name != "applied")


def irreversible_steps_start_last_in_their_unit(run: Walk) -> None:
    done: set[str] = set()
    for entry in run.journal.entries:
        step = run.by_id[entry.step]
        if step.nature is Nature.IRREVERSIBLE and entry.status is Status.DOING:
            others = [each for each in run.steps if set(each.units) & set(step.units) and not each.bracket]
            assert done >= {each.id for each in others if each.nature is not Nature.IRREVERSIBLE}
        if entry.status is Status.DONE:
            done.add(entry.step)
        if entry.status is Status.UNDONE:
            done.discard(entry.step)


def all_that_hold_after_faults(before: World, world: World, run: Walk) -> None:
    failed_units_are_as_before_and_the_others_applied(before, world, run)
    what_is_kept_is_listed(before, world, run)
    irreversible_steps_start_last_in_their_unit(run)
    nothing_starts_early_in_either_direction(run)
    brackets_follow_what_they_stand_for(run)
    runs_end_and_no_step_is_done_twice(run)
    the_outcome_says_what_is_left(run)


def all_that_hold_after_faults_of_undos(before: World, world: World, run: Walk) -> None:
    """Restored, or exactly the stuck step and what it stands on remain."""
    a_failed_undo_fences_what_is_below_and_nothing_else(before, world, run)
    nothing_starts_early_in_either_direction(run)
    brackets_follow_what_they_stand_for(run)
    runs_end_and_no_step_is_done_twice(run)
    the_outcome_says_what_is_left(run)
