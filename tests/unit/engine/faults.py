"""A runner that fails where it is told to, a journal that dies where it is told to, and what must hold afterwards."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import strategies as st
from unit.simulated import Notes, World

from smbplan.engine.execute import Execution
from smbplan.engine.outcome import Entry, Outcome, Result
from smbplan.engine.step import Call, Move, Nature, Status, Step, Way, Work

FORWARD = ("refused", "before", "after", "lost")  # no effect (twice), effect, effect of all that started with it

ENDLESS = 1000  # batches
UNKNOWN = [Status.DOING, Status.STRANDED]  # the history of an irreversible step that can't be probed


class Killed(BaseException):
    """The end of the process."""


class Mortal(Notes):
    """A journal whose process is killed at a write, before or after it is durable."""

    def __init__(self, writes: int, durable: bool, entries: Sequence[Entry] = ()) -> None:
        super().__init__()
        self.entries += entries
        self.left, self.durable = writes, durable

    def write(self, entries: Sequence[Entry]) -> None:
        self.left -= 1
        if self.left < 0 and not self.durable:
            raise Killed
        super().write(entries)
        if self.left < 0:
            raise Killed


@dataclass(frozen=True)
class Faults:
    forward: Mapping[str, str] = field(default_factory=dict)  # by step
    undo: frozenset[str] = frozenset()
    gone: Mapping[str, int] = field(default_factory=dict)  # target: the batches that it answers


class Runner:
    """Performs in the world, with faults. Checks that a step is journalled first, and that no batches overlap."""

    def __init__(self, world: World, steps: Sequence[Step], journal: Notes, faults: Faults = Faults()) -> None:
        self.world, self.journal, self.faults = world, journal, faults
        self.left = dict(faults.gone)
        self.busy: set[str] = set()
        self.batches = 0
        self.wrong: list[str] = []
        self.guard = threading.Lock()

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        with self.guard:
            if target in self.busy:
                self.wrong.append(f"two batches at once on {target}")
            self.busy.add(target)
            self.left[target] = self.left.get(target, ENDLESS) - 1
            self.batches += 1
            assert self.batches < ENDLESS, "the run has no end"
            last = {entry.step: entry.status for entry in list(self.journal.entries)}
            results = [self._one(target, work, last) for work in works]
            if any(result.summary == "lost" for result in results):
                forward = [last.get(work.step.id) is Status.DOING for work in works]
                results = [
                    Result(False, "lost", lost=True) if ahead else each
                    for ahead, each in zip(forward, results, strict=True)
                ]
        with self.guard:
            self.busy.discard(target)
        return results

    def _one(self, target: str, work: Work, last: Mapping[str, Status]) -> Result:
        step, op = work.step, work.op
        status = last.get(step.id)
        if step.target != target or status not in (Status.DOING, Status.UNDOING):
            self.wrong.append(f"{step.id} performed on {target}, journalled as {status}")
        if self.left[target] < 0:
            return Result(False, "gone", lost=True)
        if work.way is Way.PROBE:
            return self.world.perform(target, op)
        if status is Status.UNDOING:
            return Result(False, "undo failed") if step.id in self.faults.undo else self.world.perform(target, op)
        fault = self.faults.forward.get(step.id, "")
        if fault == "refused":
            self._remember(target, op)
        if fault in ("refused", "before"):
            return Result(False, fault)
        result = self.world.perform(target, op)
        return Result(False, fault, lost=fault == "lost") if fault else result

    def _remember(self, target: str, op: Move | Call) -> None:
        """The inventory learned of it, and then nothing was done."""
        record = getattr(op, "record", None)
        if record:
            self.world.target(target).records[op.address] = record  # type: ignore[union-attr]


@dataclass
class Walk:
    """A finished run, and what it left."""

    steps: Sequence[Step]
    journal: Notes
    outcome: Outcome
    runner: Runner

    @property
    def by_id(self) -> dict[str, Step]:
        return {step.id: step for step in self.steps}

    def users(self, name: str) -> list[Step]:
        """Whatever stands on a step, over however many others."""
        found: list[Step] = []
        for step in self.steps:  # in topological order
            if not step.bracket and {name, *(each.id for each in found)} & set(step.after):
                found.append(step)
        return found

    def doomed(self) -> set[str]:
        """By the failed steps: what belongs to failed units only, and what waited for such a step; but for what a
        point of no return stands on."""
        pinned = self.pinned()
        bad = {name for step in self.steps if self.failed(name := step.id)}
        units = {unit for step in self.steps if step.id in bad for unit in step.units}
        units |= {unit for step in self.steps if self._unproved(step) for unit in step.units}
        found: set[str] = set()
        for step in self.steps:  # in topological order
            plain = any(name in found and not self.by_id[name].bracket for name in step.after)
            if (plain or units.issuperset(step.units)) and step.id not in pinned:
                found.add(step.id)
        return found

    def failed(self, name: str) -> bool:
        history = [entry.status for entry in self.journal.entries if entry.step == name]
        forward = (Status.DOING, Status.FAILED) in pairwise(history)
        return forward or history[-2:] in ([Status.DOING, Status.CANCELLED], UNKNOWN)

    def pinned(self) -> set[str]:
        """The irreversible steps that took effect, or may have, with what they stand on."""
        status = self.outcome.statuses
        gone = [
            step.id
            for step in self.steps
            if step.nature is Nature.IRREVERSIBLE and status[step.id] in (Status.DONE, Status.STRANDED)
        ]
        return {*gone, *self._below(gone)}

    def _unproved(self, step: Step) -> bool:
        """It was cancelled because the bracket before it could not be run again."""
        status = self.outcome.statuses
        lost = any(self.by_id[name].bracket and status[name] is Status.STRANDED for name in step.after)
        return lost and status[step.id] is Status.CANCELLED

    def fenced(self) -> set[str]:
        """What failed undos stand on."""
        return self._below(step.id for step in self.steps if self.failed_undo(step) and not step.bracket)

    def _below(self, names: Iterable[str]) -> set[str]:
        below = [after for name in names for after in self.by_id[name].after]
        found: set[str] = set()
        while below:
            name = below.pop()
            if name not in found and not self.by_id[name].bracket:
                found.add(name)
                below += self.by_id[name].after
        return found

    def failed_undo(self, step: Step) -> bool:
        last = [entry.status for entry in self.journal.entries if entry.step == step.id]
        return last[-2:] == (UNKNOWN if step.nature is Nature.IRREVERSIBLE else [Status.UNDOING, Status.STRANDED])

    def done_in_spite_of_an_error(self, step: Step) -> bool:
        began = any(entry.step == step.id for entry in self.journal.entries)
        return began and step.nature is Nature.IRREVERSIBLE and self.runner.faults.forward.get(step.id) == "after"


def walk(world: World, steps: Sequence[Step], faults: Faults = Faults(), parallelism: int = 10) -> Walk:
    journal = Notes()
    runner = Runner(world, steps, journal, faults)
    outcome = Execution(steps, runner, journal, parallelism).run()
    return Walk(steps, journal, outcome, runner)


@st.composite
def faults(draw: st.DrawFn, steps: Sequence[Step], undo: bool, gone: bool = False) -> Faults:
    """Faults for some of the steps; with `undo`, for their undos too."""
    if not steps:
        return Faults()
    names = st.sampled_from([step.id for step in steps])
    forward = draw(st.dictionaries(names, st.sampled_from(FORWARD), min_size=1, max_size=3))
    backward = draw(st.frozensets(names, min_size=1, max_size=3)) if undo else frozenset()
    targets = st.sampled_from(sorted({step.target for step in steps}))
    return Faults(forward, backward, draw(st.dictionaries(targets, st.integers(0, 4), max_size=1)) if gone else {})
