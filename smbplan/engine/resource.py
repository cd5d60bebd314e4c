"""What is wanted and what is there.

A resource is one managed object on one target. Its state is plain JSON data; `None` means that it does not exist.
A record is what the inventory of a target remembers of a resource of ours: enough to find it, to order its
removal and to put back what was there before. The record only locates; the live state is the truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, NamedTuple

State = Any  # JSON data, or None: absent
# What code meets in an answer that is not what it should be: whoever gives it may have been taken over.
STRANGE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Key(NamedTuple):
    """An object on a target: what the target's agent calls it."""

    type: str
    name: str


class Location(NamedTuple):
    file: str
    line: int
    column: int


# What a resource and its record have in common.
_said = attrgetter("address", "kind", "key", "unit", "prevent_destroy", "on_destroy", "ahead", "alias")


@dataclass(frozen=True, slots=True)
class Resource:
    """A wanted object. `desired` may leave fields open with None; its kind completes them from the live state."""

    address: str
    kind: str
    target: str
    key: Key
    desired: Mapping[str, Any]
    after: tuple[str, ...] = ()
    unit: str = ""  # the leaf definition that it belongs to; empty: it belongs to all its users
    prevent_destroy: bool = False
    on_destroy: str = "keep"
    origin: Location | None = None
    ahead: tuple[str, ...] = ()  # order only: what it comes ahead of, and goes behind if both go
    alias: str = ""  # one name for what several hosts have that serve as one
    noted: tuple[str, ...] | None = None  # `after` by such names, for the inventory: who joins them changes no record


@dataclass(frozen=True, slots=True)
class Record:
    """An inventory entry: a resource of ours on a target."""

    address: str
    kind: str
    key: Key
    after: tuple[str, ...] = ()
    unit: str = ""
    original: State = None  # what stood there before us; put back when the resource goes
    prevent_destroy: bool = False
    on_destroy: str = "keep"
    parked: str = ""  # the run that parked it
    ahead: tuple[str, ...] = ()
    alias: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "address": self.address,
            "kind": self.kind,
            "key": list(self.key),
            "after": list(self.after),
            "unit": self.unit,
            "original": self.original,
            "prevent_destroy": self.prevent_destroy,
            "on_destroy": self.on_destroy,
            "parked": self.parked,
            **({"ahead": list(self.ahead)} if self.ahead else {}),
            **({"alias": self.alias} if self.alias else {}),
        }

    @classmethod
    def of(cls, item: Resource, original: State) -> "Record":
        """The entry for a resource."""
        after = item.after if item.noted is None else item.noted
        return cls(
            item.address,
            item.kind,
            item.key,
            after,
            item.unit,
            original,
            item.prevent_destroy,
            item.on_destroy,
            ahead=item.ahead,
            alias=item.alias,
        )

    def says(self, item: Resource) -> bool:
        """Whether it is the entry for the resource, whatever stood there before."""
        after = item.after if item.noted is None else item.noted
        return _said(self) == _said(item) and self.after == after and not self.parked

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Record":
        """Raises KeyError, TypeError or ValueError for data that is no record."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        type_, name = data["key"]
        known.update(key=Key(type_, name), after=tuple(data.get("after", ())), ahead=tuple(data.get("ahead", ())))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Live:
    """What one target answered: the states that were asked for, and its inventory of this site."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[Key, State] = field(default_factory=dict)
    records: Mapping[str, Record] = field(default_factory=dict)
    peers: Mapping[str, Any] = field(default_factory=dict)
