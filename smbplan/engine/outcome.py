"""What comes of steps: results, the lines of a journal, and how a run ended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from smbplan.engine.step import Nature, Status, Step, Work


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one operation. Not ok means that its effect is unknown."""

    ok: bool
    summary: str = ""
    detail: str = ""
    hint: str = ""
    output: Any = None
    untouched: bool = False  # not ok, but known to have had no effect
    lost: bool = False  # not ok, because no answer came, or nobody was there to ask
    warnings: Sequence[str] = ()  # what a person should know although it went well


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


@dataclass(frozen=True, slots=True)
class Warned:
    """What a step that went well wants a person to know."""

    address: str
    text: str


class Runner(Protocol):
    """Performs operations on targets."""

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        """One result for each operation, in order. Never raises: a lost connection is a failed result."""


class Journal(Protocol):
    def write(self, entries: Sequence[Entry]) -> None:
        """Durable when this returns."""


@dataclass(slots=True)
class Outcome:
    statuses: dict[str, Status]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    stranded: list[Step] = field(default_factory=list)  # in the order in which a person undoes them
    interrupted: bool = False
    brackets: frozenset[str] = frozenset()  # the steps that leave nothing behind by themselves
    homes: Mapping[str, str] = field(default_factory=dict)  # of targets that keep their notes on what hosts share

    @property
    def name(self) -> str:
        """applied | partial | rolled_back | stranded"""
        if self.stranded:
            return "stranded"
        if not self.problems and not self.interrupted:
            return "applied"
        left = any(status is Status.DONE for name, status in self.statuses.items() if name not in self.brackets)
        return "partial" if left else "rolled_back"


def resumed(entries: Iterable[Entry], steps: Sequence[Step]) -> dict[str, Status]:
    """Where a run stood when its journal ends. `doing` and `undoing` mean: unknown, to be undone, or to be probed."""
    last = {entry.step: entry.status for entry in entries}
    found = {}
    for step in steps:
        status = last.get(step.id, Status.CANCELLED)
        if status in (Status.DOING, Status.UNDOING, Status.STRANDED):
            status = Status.DOING if step.nature is Nature.IRREVERSIBLE else Status.FAILED
        found[step.id] = status
    return found


def completed(entries: Iterable[Entry], steps: Sequence[Step]) -> bool:
    """Whether the run had done all its work when its journal ends, though not said so."""
    last = {entry.step: entry.status for entry in entries}
    return all(
        last.get(step.id) is Status.DONE or (step.bracket and last.get(step.id) is Status.CANCELLED) for step in steps
    )
