"""Walk the graph of steps: forwards what is ready, backwards what belongs to a failed unit.

Both directions use the same edges. A step starts when all it waits for is done. When a step fails, its units fail:
their steps that have not started are cancelled, and each one that took effect (or may have) is undone as soon as
everything that stands on it is settled. A step that another, healthy unit needs too stays; one that waited for a step
which goes, goes too (the removal of what a rolled back share still needs). If an undo fails, the step is stranded and
fences what it stands on, which then is stranded as well; the other branches go on.

An irreversible step is a point of no return: from its start on, what it stands on is pinned and stays. When its effect
is unknown (a lost answer, a crash), it is probed; one that had none lets go of its pins.

Targets work at the same time; each one gets all its ready steps as one batch, in a stable order.
"""

import queue
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from smbplan.engine.outcome import Entry, Journal, Outcome, Problem, Result, Runner, Warned
from smbplan.engine.step import Nature, Status, Step, Way, Work

BATCH = 500  # steps in one request; bounds what one lost answer leaves unknown
REPEATS = 2  # of an undo or a probe whose answer was lost
SETTLED = {Status.CANCELLED, Status.UNDONE, Status.KEPT}
UNSTABLE = {Status.PENDING, Status.DOING, Status.UNDOING}
Batch = list[tuple[Step, bool]]  # steps, and whether forwards


class Execution:
    """One walk over the steps of a plan."""

    def __init__(
        self,
        steps: Sequence[Step],
        runner: Runner,
        journal: Journal,
        parallelism: int = 10,
        watch: Callable[[Step, Status], None] = lambda step, status: None,
        start: Mapping[str, Status] | None = None,
        ended: bool = False,
    ) -> None:
        """`start` is where an earlier walk stopped. It is taken back; of one that had `ended`, what failed then."""
        self._steps = {step.id: step for step in steps}
        self._users: dict[str, list[Step]] = {name: [] for name in self._steps}
        for step in steps:
            for name in step.after:
                self._users[name].append(step)
        self._followers = {
            name: [step for step in steps if name in step.behind] for step in steps for name in step.behind
        }
        self._runner, self._journal, self._watch = runner, journal, watch
        self._parallelism = parallelism
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()  # targets that have answered; "" asks to stop
        self._status = dict(start or dict.fromkeys(self._steps, Status.PENDING))
        self._failed_units: set[str] = set()
        self._doomed: set[str] = set()  # steps that must not start, or have to go again
        self._fenced: set[str] = set()  # steps that a stranded one stands on
        self._unsure: dict[str, Problem | None] = {}  # irreversible steps that may have had their effect
        self._repeated: dict[str, int] = {}  # undos and probes whose answers were lost
        self._due: set[str] = set()  # brackets to run, since a step before them took effect, or may have
        self._outcome = Outcome(self._status, brackets=frozenset(step.id for step in steps if step.bracket))
        if start is not None:
            self._outcome.interrupted = True
            self._unsure = {name: None for name, status in start.items() if status is Status.DOING}
            good = {Status.DONE, Status.KEPT} if ended else set()
            self._fail(unit for step in steps if not step.bracket and start[step.id] not in good for unit in step.units)
            self._due = {
                step.id
                for step in steps
                if step.bracket and start[step.id] is not Status.UNDONE and self._was_begun(step)
            }

    def stop(self) -> None:
        """Turn the run back as soon as what is under way has answered. Safe in a signal handler."""
        self._answers.put("")

    def run(self) -> Outcome:
        """Until nothing is left to do."""
        busy: dict[str, tuple[Batch, Future[Sequence[Result]]]] = {}
        with ThreadPoolExecutor(max_workers=self._parallelism) as pool:
            while True:
                for target, batch in self._batches(set(busy)).items():
                    if len(busy) < self._parallelism:
                        busy[target] = (batch, self._submit(pool, target, batch))
                if not busy:
                    break
                target = self._answers.get()
                if target:
                    batch, future = busy.pop(target)
                    self._finish(batch, future.result())
                else:
                    self._outcome.interrupted = True
                    self._turn_back()
        place = {name: number for number, name in enumerate(self._steps)}
        self._outcome.stranded.sort(key=lambda step: (step.bracket, -place[step.id]))
        return self._outcome

    def _submit(self, pool: ThreadPoolExecutor, target: str, batch: Batch) -> "Future[Sequence[Result]]":
        self._due.difference_update(step.id for step, _ in batch)
        fresh = [(step, forward) for step, forward in batch if step.id not in self._unsure]
        self._note([(step, Status.DOING if forward else Status.UNDOING, "", "") for step, forward in fresh])
        future = pool.submit(self._runner.run, target, [self._work(step, forward) for step, forward in batch])
        future.add_done_callback(lambda _: self._answers.put(target))
        return future

    def _work(self, step: Step, forward: bool) -> Work:
        if step.id in self._unsure:
            return Work(step, Way.PROBE, step.probe)
        if forward:
            return Work(step, Way.DO, step.do)
        assert step.undo is not None
        return Work(step, Way.UNDO, step.undo)

    def _batches(self, busy: set[str]) -> dict[str, Batch]:
        """What may start now, by target; settles on the way what never will."""
        self._settle()
        return self._ready(busy, self._is_awaited) or ({} if busy else self._ready(busy, lambda step: False))

    def _ready(self, busy: set[str], awaited: Callable[[Step], bool]) -> dict[str, Batch]:
        found: dict[str, Batch] = {}
        for step in self._steps.values():
            if step.target in busy or len(found.get(step.target, ())) >= BATCH:
                continue
            if self._may_do(step):
                found.setdefault(step.target, []).append((step, True))
            elif self._may_undo(step) and not awaited(step):
                found.setdefault(step.target, []).append((step, False))
        return found

    def _settle(self) -> None:
        """Cancel, keep or strand what needs no work, until nothing more follows from it."""
        moved = True
        while moved:
            notes = [(step, status, "", "") for step in self._steps.values() if (status := self._verdict(step))]
            for step, status, _, _ in notes:
                if status is Status.CANCELLED and not step.bracket and step.id not in self._doomed:
                    self._fail(step.units)  # a bracket failed before it
                if status is Status.STRANDED:
                    self._strand(step)
            self._note(notes)
            moved = bool(notes)

    def _verdict(self, step: Step) -> Status | None:
        status = self._status[step.id]
        if status is Status.PENDING:
            if step.bracket:
                idle = step.id not in self._due and self._is_quiet(step)
                return Status.CANCELLED if idle else None
            failed = {Status.FAILED, Status.STRANDED}
            broken = any(self._steps[name].bracket and self._status[name] in failed for name in step.after)
            return Status.CANCELLED if broken or step.id in self._doomed else None
        if step.id not in self._doomed or step.bracket or status not in {Status.DONE, Status.FAILED}:
            return None
        if step.undo is not None:
            return Status.STRANDED if step.id in self._fenced else None
        stays = step.nature is not Nature.REVERSIBLE and status is Status.DONE
        return Status.KEPT if stays and (step.id in self._fenced or self._is_bare(step)) else None

    def _may_do(self, step: Step) -> bool:
        if self._status[step.id] is not Status.PENDING:
            return step.id in self._unsure
        if step.bracket:
            return step.id in self._due and self._is_quiet(step)
        first = all(self._is_settled(self._steps[name]) for name in step.behind)
        return first and all(self._carries(self._steps[name]) for name in step.after)

    def _carries(self, step: Step) -> bool:
        """What waits for it may start."""
        status = self._status[step.id]
        if step.bracket:
            return step.id not in self._due and status in SETTLED | {Status.DONE}
        return status is Status.DONE

    def _may_undo(self, step: Step) -> bool:
        status = self._status[step.id]
        if step.undo is None:
            return False
        if step.bracket:
            again = status is not Status.STRANDED and status not in UNSTABLE
            return again and step.id in self._due and self._is_quiet(step)
        first = all(self._stays(follower) for follower in self._followers.get(step.id, ()))
        return step.id in self._doomed and status in {Status.DONE, Status.FAILED} and first and self._is_bare(step)

    def _is_awaited(self, step: Step) -> bool:
        """A bracket is still to run for what has stood on it, as on a guest that runs: no need, but better order."""
        for name in self._brackets_above.get(step.id, ()):
            status = self._status[name]
            running = status in {Status.DOING, Status.UNDOING}
            if running or (name in self._due and status is not Status.STRANDED):
                return True
        return False

    @cached_property
    def _brackets_above(self) -> dict[str, list[str]]:
        """Of each step, the brackets that follow what stands on it."""
        found: dict[str, list[str]] = {}
        for bracket in (step for step in self._steps.values() if step.bracket):
            for name in self._strictly_below(bracket):
                found.setdefault(name, []).append(bracket.id)
        return found

    def _stays(self, follower: Step) -> bool:
        """It is not about to be undone, so that what it came behind need not wait for that."""
        status = self._status[follower.id]
        going = follower.id in self._doomed and follower.undo is not None and status in {Status.DONE, Status.FAILED}
        return not going and status not in {Status.DOING, Status.UNDOING}

    def _is_bare(self, step: Step) -> bool:
        """Nothing stands on it any more."""
        return all(user.bracket or self._gone(user) for user in self._users[step.id])

    def _gone(self, user: Step) -> bool:
        """Nothing of it is left that could need what it stood on."""
        status = self._status[user.id]
        return status in SETTLED or (status is Status.FAILED and user.undo is None)

    def _is_quiet(self, bracket: Step) -> bool:
        """Every step before the bracket is done for good, or gone."""
        return all(self._is_settled(self._steps[name]) for name in bracket.after)

    def _is_settled(self, step: Step) -> bool:
        status = self._status[step.id]
        if status is Status.DONE:
            return step.id not in self._doomed or step.undo is None
        return status in SETTLED | {Status.STRANDED} or (status is Status.FAILED and step.undo is None)

    def _was_begun(self, bracket: Step) -> bool:
        return any(self._status[name] is not Status.CANCELLED for name in (bracket.id, *bracket.after))

    def _finish(self, batch: Batch, results: Sequence[Result]) -> None:
        notes = []
        for (step, forward), result in zip(batch, results, strict=True):
            problem = Problem(step.id, step.address, result.summary, result.detail, result.hint)
            self._outcome.warnings += [Warned(step.address, text) for text in result.warnings]
            probed, earlier = step.id in self._unsure, self._unsure.pop(step.id, None)
            status = self._verdict_of(step, forward, result, probed)
            if status is None:
                self._unsure[step.id] = None if result.lost else problem
                continue
            if status is Status.STRANDED and result.lost and self._is_asked_again(step):
                if probed:
                    self._unsure[step.id] = earlier
                    continue
                status = Status.FAILED
            elif earlier or not result.ok:
                self._outcome.problems.append(earlier or problem)
            self._status[step.id] = status  # before its units fail: a step without effect pins nothing any more
            if forward and status is not Status.DONE:
                self._fail(step.units)
            if status is Status.STRANDED:
                self._strand(step)
            self._due |= {user.id for user in self._users[step.id] if user.bracket}
            if step.bracket and status is Status.FAILED:
                self._due.add(step.id)
            notes.append((step, status, result.summary, result.detail))
        self._note(notes)

    @staticmethod
    def _verdict_of(step: Step, forward: bool, result: Result, probed: bool) -> Status | None:
        """What a result makes of its step. None: that has to be found out first."""
        if result.ok:
            return Status.DONE if forward else Status.UNDONE
        if result.untouched and forward and not (probed and result.lost):
            return Status.CANCELLED
        if step.nature is Nature.IRREVERSIBLE and not probed:
            return None
        return Status.FAILED if forward and not probed else Status.STRANDED

    def _is_asked_again(self, step: Step) -> bool:
        """Undos and probes may be repeated: they look first. A target may be back a moment later."""
        self._repeated[step.id] = self._repeated.get(step.id, 0) + 1
        return self._repeated[step.id] <= REPEATS

    def _turn_back(self) -> None:
        self._fail(unit for step in self._steps.values() for unit in step.units)

    def _fail(self, units: Iterable[str]) -> None:
        """These units go, with every step that no other unit needs, and with what waited for such a step."""
        self._failed_units.update(units)
        pinned = self._pinned()
        found = [step for step in self._steps.values() if self._failed_units.issuperset(step.units)]
        while found:
            step = found.pop()
            if step.id not in self._doomed and step.id not in pinned:
                self._doomed.add(step.id)
                found += [] if step.bracket else self._users[step.id]

    def _strand(self, step: Step) -> None:
        """Nothing that it stands on may be touched any more."""
        self._outcome.stranded.append(step)
        self._fenced |= set() if step.bracket else self._below([step])

    def _strictly_below(self, bracket: Step) -> set[str]:
        """What that which it follows stands on, but for what stands on some of that itself."""
        follows = {*bracket.after}
        return {
            name for name in self._below([bracket]) - follows if follows.isdisjoint(self._below([self._steps[name]]))
        }

    def _pinned(self) -> set[str]:
        """The irreversible steps that took effect, or may have, and what they stand on."""
        gone = [
            step
            for step in self._steps.values()
            if step.nature is Nature.IRREVERSIBLE
            and self._status[step.id] in (Status.DOING, Status.DONE, Status.STRANDED)
        ]
        return {step.id for step in gone} | self._below(gone)

    def _below(self, steps: Iterable[Step]) -> set[str]:
        """What steps stand on, over however many others; for a bracket they only wait."""
        found: set[str] = set()
        below = [name for step in steps for name in step.after]
        while below:
            name = below.pop()
            if name not in found and not self._steps[name].bracket:
                found.add(name)
                below += self._steps[name].after
        return found

    def _note(self, notes: Sequence[tuple[Step, Status, str, str]]) -> None:
        """Journal first, then act on it."""
        if not notes:
            return
        self._journal.write([Entry(step.id, status, summary, detail) for step, status, summary, detail in notes])
        for step, status, _, _ in notes:
            self._status[step.id] = status
            self._watch(step, status)
