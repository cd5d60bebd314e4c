"""A step is data: what to do, how to undo it, and what it waits for.

    do --> doing --> done --> undoing --> undone
             |                   |
             v                   v
          failed              stranded          pending --> cancelled (never started)

A step moves one object from `before` to `after`, or calls the target (reload, prove). A move compares before it sets:
an object that is in neither state was changed by somebody else, and is left alone. That makes moves idempotent, so
that after a lost answer or a crash the same undo is right whether or not the move took effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from smbplan.engine.resource import Key, Record, State


class Nature(StrEnum):
    REVERSIBLE = "reversible"
    KEPT = "kept"  # monotone and harmless; survives a rollback
    PARKED = "parked"  # a deletion's first half
    IRREVERSIBLE = "irreversible"  # runs when all else in its unit has succeeded


class Status(StrEnum):
    PENDING = "pending"
    DOING = "doing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNDOING = "undoing"
    UNDONE = "undone"
    KEPT = "kept"
    STRANDED = "stranded"


@dataclass(frozen=True, slots=True)
class Move:
    """Set an object from one state to another, if it is in the first one."""

    address: str
    key: Key
    before: State
    after: State
    record: Record | None = None  # the inventory's entry from now on; None: none
    options: Mapping[str, Any] = field(default_factory=dict)  # may hold {"$secret": …} references

    def reversed(self, record: Record | None) -> "Move":
        """The way back; `record` is the inventory's entry as it was."""
        return Move(self.address, self.key, self.after, self.before, record, self.options)


@dataclass(frozen=True, slots=True)
class Call:
    """Something to run on the target that has no state of its own: a reload, a proof."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


Op = Move | Call


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the graph that plan emits and apply walks."""

    id: str
    address: str
    target: str
    title: str
    do: Op
    undo: Op | None
    nature: Nature = Nature.REVERSIBLE
    why: str = ""  # why there is no undo
    after: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()  # these are settled first, whatever comes of them; undone in the opposite order
    units: tuple[str, ...] = ()
    bracket: bool = False  # waits until the steps before it are settled; runs again after they were undone

    @property
    def probe(self) -> Op:
        """Succeeds when `do` has had its effect already, and has none itself."""
        return replace(self.do, before=self.do.after) if isinstance(self.do, Move) else self.do


class Way(StrEnum):
    """What is done with a step."""

    DO = "do"
    UNDO = "undo"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Work:
    """An operation, and whose it is."""

    step: Step
    way: Way
    op: Op
