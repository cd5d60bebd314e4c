"""Targets without machines: objects in dictionaries, moved by the agent's own compare-and-set."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smbplan.drivers.agent.core import Object, Refused, Untouched, move
from smbplan.engine.outcome import Entry, Result
from smbplan.engine.resource import Key, Live, Record, State
from smbplan.engine.step import Call, Move, Op, Work

# What the agent fills in where a definition leaves a field open.
FILLED = {
    "uid": 1001,
    "gid": 1001,
    "owner": "root",
    "group": "root",
    "special": "0",
    "quota": 0,
    "vmid": 100,
    "node": "pve1",
    "size": None,
}
STORAGE = ("directory", "subvolume", "dataset")
PLAIN_ACL = ["user::rwx", "group::---", "other::---"]


class Box(Object):
    """All objects of one type."""

    def __init__(self, type_: str) -> None:
        self.type = type_
        self.states: dict[str, State] = {}

    def get(self, name: str, options: dict[str, Any]) -> State:
        return copy.deepcopy(self.states.get(name))

    def set(self, name: str, before: State, after: State, options: dict[str, Any]) -> None:
        if after is None:
            del self.states[name]
            return
        if not isinstance(after, dict):
            self.states[name] = after
            return
        have = before if isinstance(before, dict) else {}
        filled = {key: have.get(key, self._default(key)) if value is None else value for key, value in after.items()}
        kept = {key: value for key, value in have.items() if key not in after}
        told = {"empty": have.get("empty", True)} if self.type in STORAGE else {}
        told |= {"volumes": have.get("volumes", [])} if self.type in ("container", "machine") else {}
        mark = {"mark": after["mark"]} if "mark" in after else {}  # None means none
        self.states[name] = {**kept, **filled, **mark, **told}

    def _default(self, key: str) -> Any:
        if key in ("acl", "default"):
            return PLAIN_ACL if key == "acl" else []
        return FILLED.get(key)


@dataclass
class Target:
    boxes: dict[str, Box] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)

    def box(self, type_: str) -> Box:
        return self.boxes.setdefault(type_, Box(type_))

    def states(self) -> dict[Key, State]:
        return {
            Key(name, each): copy.deepcopy(state)
            for name, box in self.boxes.items()
            for each, state in box.states.items()
        }


class World:
    """A runner whose targets are dictionaries. `calls` are those that are no moves, in order."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        self.calls: list[tuple[str, str]] = []

    def target(self, name: str) -> Target:
        return self.targets.setdefault(name, Target())

    def live(self) -> dict[str, Live]:
        """What a read of all targets tells."""
        return {
            name: Live({"samba": "4.17"}, target.states(), dict(target.records))
            for name, target in self.targets.items()
        }

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        return [self.perform(target, work.op) for work in works]

    def perform(self, target: str, op: Op) -> Result:
        """One operation, as the agent does it: the inventory knows a thing before it exists and until it is gone."""
        there = self.target(target)
        if isinstance(op, Call):
            return self._call(target, there, op)
        if op.record:
            there.records[op.address] = op.record
        try:
            move(there.box(op.key.type), op.key.name, op.before, op.after, dict(op.options))
        except Refused as refused:
            untouched = isinstance(refused, Untouched)
            return Result(False, refused.summary, refused.detail, refused.hint, untouched=untouched)
        if not op.record:
            there.records.pop(op.address, None)
        return Result(True)

    def _call(self, target: str, there: Target, op: Call) -> Result:
        if op.name == "forget":
            there.records.pop(op.arguments["address"], None)
        elif op.name == "remember":
            record = Record.from_json(op.arguments["record"])
            there.records[record.address] = record
        else:
            self.calls.append((target, op.name))
        return Result(True)

    def snapshot(self) -> dict[str, tuple[dict[Key, State], dict[str, Record]]]:
        """Everything that there is, to compare with later."""
        found = {name: (target.states(), dict(target.records)) for name, target in self.targets.items()}
        return {name: each for name, each in found.items() if each != ({}, {})}


class Notes:
    """A journal in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, entries: Sequence[Entry]) -> None:
        self.entries += entries


def moved(op: Op | None) -> Move:
    """The operation, which has to be a move."""
    assert isinstance(op, Move)
    return op
