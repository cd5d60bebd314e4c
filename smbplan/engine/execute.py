"""Walk the graph of steps: forwards what is ready, backwards what belongs to a failed unit.

Both directions use the same edges. A step starts when all it waits for is done. When a step fails, its units fail:
their steps that have not started are cancelled, and each one that took effect (or may have) is undone as soon as
everything that stands on it is settled. A step that another, healthy unit needs too stays. If an undo fails, the step
is stranded and fences what it stands on, which then is stranded as well; the other branches go on.

Targets work at the same time; each one gets all its ready steps as one batch, in a stable order.
"""

import queue
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from smbplan.engine.step import Nature, Op, Status, Step

BATCH = 500  # steps in one request; bounds what one lost answer leaves unknown
SETTLED = {Status.CANCELLED, Status.UNDONE, Status.KEPT}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one operation. Not ok means that its effect is unknown."""

    ok: bool
    summary: str = ""
    detail: str = ""
    hint: str = ""
    output: Any = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal."""

    step: str
    status: Status
    summary: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a step failed, or could not be undone."""

    step: str
    address: str
    summary: str
    detail: str
    hint: str


class Runner(Protocol):
    """Performs operations on targets."""

    def run(self, target: str, ops: Sequence[Op]) -> Sequence[Result]:
        """One result for each operation, in order. Never raises: a lost connection is a failed result."""


class Journal(Protocol):
    def write(self, entries: Sequence[Entry]) -> None:
        """Durable when this returns."""


@dataclass(slots=True)
class Outcome:
    statuses: dict[str, Status]
    problems: list[Problem] = field(default_factory=list)
    stranded: list[Step] = field(default_factory=list)
    interrupted: bool = False

    @property
    def name(self) -> str:
        """applied | partial | rolled_back | stranded"""
        if self.stranded:
            return "stranded"
        if not self.problems and not self.interrupted:
            return "applied"
        return "partial" if Status.DONE in self.statuses.values() else "rolled_back"


def resumed(entries: Iterable[Entry], steps: Sequence[Step]) -> dict[str, Status]:
    """Where a run stood when its journal ends. `doing` and `undoing` mean: unknown, to be undone."""
    last = {entry.step: entry.status for entry in entries}
    unknown = {Status.DOING: Status.FAILED, Status.UNDOING: Status.FAILED, Status.STRANDED: Status.FAILED}
    found = {step.id: last.get(step.id, Status.CANCELLED) for step in steps}
    return {name: unknown.get(status, status) for name, status in found.items()}


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
    ) -> None:
        self._steps = {step.id: step for step in steps}
        self._users: dict[str, list[Step]] = {name: [] for name in self._steps}
        for step in steps:
            for name in step.after:
                self._users[name].append(step)
        self._runner, self._journal, self._watch = runner, journal, watch
        self._parallelism = parallelism
        self._status = dict(start or dict.fromkeys(self._steps, Status.PENDING))
        self._failed_units: set[str] = set()
        self._rerun: set[str] = set()  # brackets that must run again after an undo
        self._outcome = Outcome(self._status)
        if start is not None:
            self._fail(unit for step in steps for unit in step.units)
            self._rerun = {step.id for step in steps if step.bracket and self._status[step.id] is not Status.CANCELLED}

    def run(self) -> Outcome:
        """Until nothing is left to do. Ctrl-C turns the run back."""
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        busy: dict[str, tuple[list[tuple[Step, bool]], Future[Sequence[Result]]]] = {}
        with ThreadPoolExecutor(max_workers=self._parallelism) as pool:
            while True:
                try:
                    for target, batch in self._batches(set(busy)).items():
                        if len(busy) < self._parallelism:
                            busy[target] = (batch, self._submit(pool, target, batch, answers))
                    if not busy:
                        break
                    batch, future = busy.pop(answers.get())
                    self._finish(batch, future.result())
                except KeyboardInterrupt:
                    self._outcome.interrupted = True
                    self._fail(unit for step in self._steps.values() for unit in step.units)
        return self._outcome

    def _submit(
        self,
        pool: ThreadPoolExecutor,
        target: str,
        batch: list[tuple[Step, bool]],
        answers: "queue.SimpleQueue[str]",
    ) -> "Future[Sequence[Result]]":
        self._note([(step, Status.DOING if forward else Status.UNDOING, "", "") for step, forward in batch])
        ops = [step.do if forward else step.undo for step, forward in batch]
        future = pool.submit(self._runner.run, target, [op for op in ops if op is not None])
        future.add_done_callback(lambda _: answers.put(target))
        return future

    def _batches(self, busy: set[str]) -> dict[str, list[tuple[Step, bool]]]:
        """What may start now, by target; settles on the way what never will."""
        self._settle()
        found: dict[str, list[tuple[Step, bool]]] = {}
        for step in self._steps.values():
            if step.target in busy or len(found.get(step.target, ())) >= BATCH:
                continue
            if self._may_do(step):
                found.setdefault(step.target, []).append((step, True))
            elif self._may_undo(step):
                found.setdefault(step.target, []).append((step, False))
        return found

    def _settle(self) -> None:
        """Cancel, keep or strand what needs no work, until nothing more follows from it."""
        moved = True
        while moved:
            notes = [(step, status, "", "") for step in self._steps.values() if (status := self._verdict(step))]
            for step, status, _, _ in notes:
                if status is Status.CANCELLED and not step.bracket:
                    self._fail(step.units)
                if status is Status.STRANDED:
                    self._outcome.stranded.append(step)
            self._note(notes)
            moved = bool(notes)

    def _verdict(self, step: Step) -> Status | None:
        status = self._status[step.id]
        if status is Status.PENDING:
            before = [self._status[name] for name in step.after]
            if step.bracket:
                idle = all(each in SETTLED | {Status.FAILED} for each in before)
                return Status.CANCELLED if idle else None
            broken = any(
                self._status[name] in {Status.FAILED, Status.UNDONE, Status.STRANDED}
                or (self._status[name] is Status.CANCELLED and not self._steps[name].bracket)
                for name in step.after
            )
            return Status.CANCELLED if broken or self._doomed(step) else None
        if not self._doomed(step) or step.bracket or status not in {Status.DONE, Status.FAILED}:
            return None
        users = [self._status[user.id] for user in self._users[step.id] if not user.bracket]
        if Status.STRANDED in users and step.undo is not None:
            return Status.STRANDED
        if step.undo is None and step.nature is not Nature.REVERSIBLE and status is Status.DONE:
            return Status.KEPT
        return None

    def _doomed(self, step: Step) -> bool:
        return bool(self._failed_units) and self._failed_units.issuperset(step.units)

    def _may_do(self, step: Step) -> bool:
        if self._status[step.id] is not Status.PENDING:
            return False
        before = [(self._steps[name], self._status[name]) for name in step.after]
        if step.bracket:
            return all(self._is_settled(each) for each, _ in before)
        return all(status is Status.DONE or (each.bracket and status in SETTLED) for each, status in before)

    def _may_undo(self, step: Step) -> bool:
        if step.undo is None or self._status[step.id] not in {Status.DONE, Status.FAILED}:
            return False
        if step.bracket:
            return step.id in self._rerun and all(self._is_settled(self._steps[name]) for name in step.after)
        return self._doomed(step) and all(user.bracket or self._gone(user) for user in self._users[step.id])

    def _gone(self, user: Step) -> bool:
        """Nothing of it is left that could need what it stood on."""
        status = self._status[user.id]
        return status in SETTLED or (status is Status.FAILED and user.undo is None)

    def _is_settled(self, step: Step) -> bool:
        """Done for good, or gone."""
        status = self._status[step.id]
        if status is Status.DONE:
            return not self._doomed(step) or step.undo is None
        return status in SETTLED | {Status.STRANDED} or (status is Status.FAILED and step.undo is None)

    def _finish(self, batch: Sequence[tuple[Step, bool]], results: Sequence[Result]) -> None:
        notes = []
        for (step, forward), result in zip(batch, results, strict=True):
            if result.ok:
                status = Status.DONE if forward else Status.UNDONE
            else:
                status = Status.FAILED if forward else Status.STRANDED
                self._outcome.problems.append(
                    Problem(step.id, step.address, result.summary, result.detail, result.hint)
                )
            if status is Status.FAILED:
                self._fail(step.units)
            if status is Status.STRANDED:
                self._outcome.stranded.append(step)
            if status in {Status.UNDONE, Status.FAILED}:
                self._rerun |= {user.id for user in self._users[step.id] if user.bracket}
            if step.bracket and status is Status.FAILED:
                self._rerun.add(step.id)
            notes.append((step, status, result.summary, result.detail))
        self._note(notes)

    def _fail(self, units: Iterable[str]) -> None:
        self._failed_units.update(units)

    def _note(self, notes: Sequence[tuple[Step, Status, str, str]]) -> None:
        """Journal first, then act on it."""
        if not notes:
            return
        self._journal.write([Entry(step.id, status, summary, detail) for step, status, summary, detail in notes])
        for step, status, _, _ in notes:
            self._status[step.id] = status
            self._watch(step, status)
