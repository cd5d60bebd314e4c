"""What the engine asks of a kind of resource. The defaults suit an object that one move sets and one move removes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from smbplan.engine.resource import Location, Record, Resource, State
from smbplan.engine.step import Call, Nature


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    ADOPT = "adopt"
    NOOP = "noop"


@dataclass(frozen=True, slots=True)
class Options:
    """What the person allowed on the command line."""

    destroy: bool = False
    purge: bool = False
    delete_data: bool = False
    adopt: bool = False
    atomic: bool = False
    allow: frozenset[str] = frozenset()
    targets: tuple[str, ...] = ()
    forget: frozenset[str] = frozenset()
    joins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what it takes to leave a domain, by realm


@dataclass(frozen=True, slots=True)
class Hazard:
    """A reason to refuse a plan. An empty `guardrail` can't be lifted."""

    address: str
    summary: str
    hint: str
    guardrail: str = ""
    origin: Location | None = None
    detail: str = ""  # more lines for a person


@dataclass(frozen=True, slots=True)
class Removal:
    """How an object goes: the state that is left, and whether that can be taken back."""

    after: State
    nature: Nature = Nature.REVERSIBLE
    why: str = ""
    reason: str = ""
    parked: bool = False  # its record stays, as parked
    open: frozenset[str] = frozenset()  # fields that may differ by the time it goes
    options: Mapping[str, Any] = field(default_factory=dict)
    waits: tuple[str, ...] = ()  # addresses of what has to be done first, where that changes at all


@dataclass(frozen=True, slots=True)
class Change:
    """One resource's way from `before` to `after` (both canonical; `raw` is the live state as the target told it)."""

    address: str
    kind: str
    target: str
    action: Action
    before: State
    after: State
    raw: State = None
    resource: Resource | None = None
    record: Record | None = None
    original: State = None  # what stood there before us
    removal: Removal | None = None
    reasons: tuple[str, ...] = ()
    skipped: bool = False  # not among what --target names


class Kind:
    """Base of all kinds. Subclasses are stateless and do no I/O."""

    name: ClassVar[str]
    title: ClassVar[str]  # what a person calls one of these: "share", "user"
    object: ClassVar[str]  # the agent's name for the managed object
    marked: ClassVar[bool] = False  # carries its own ownership mark
    one: ClassVar[bool] = False  # of several hosts that serve as one, one has it for all
    uses: ClassVar[bool] = False  # one that was there before may be used without being adopted
    steady: ClassVar[bool] = False  # what stands on it goes when it has changed, and not meanwhile
    sensitive: ClassVar[frozenset[str]] = frozenset()
    asked: ClassVar[frozenset[str]] = frozenset()  # fields that are read only when the options ask for them
    nature: ClassVar[Nature] = Nature.REVERSIBLE  # of creating and updating
    why: ClassVar[str] = ""  # why creating is kept

    def canonical(self, state: State) -> State:
        """The form in which two states are compared."""
        return state

    def complete(self, desired: Mapping[str, Any], live: State) -> State:
        """The wanted state with the fields that are left open (None) taken from the live one."""
        have = live if isinstance(live, dict) else {}
        return {name: have.get(name) if value is None else value for name, value in desired.items()}

    def blank(self, resource: Resource) -> State:
        """What it is on a target that doesn't exist yet; a field is None where nobody can know."""
        return None

    def guard(self, raw: State) -> State:
        """What must still be so when a change is made; fields that are None may differ."""
        return raw

    def claims(self, live: State) -> bool:
        """Whether an unmarked live object may get our mark without being adopted."""
        return not self.uses

    def removal(self, live: State, record: Record, options: Options) -> Removal:
        return Removal(record.original)

    def hazards(self, change: Change, facts: Mapping[str, Any]) -> Iterable[Hazard]:
        """Reasons to refuse this change."""
        return ()

    def reasons(self, change: Change, changes: Mapping[str, Change], facts: Mapping[str, Any]) -> Iterable[str]:
        """What a person should know of this change besides its fields; `changes` are all of the plan, by address."""
        return ()

    def options(self, resource: Resource) -> Mapping[str, Any]:
        """What the agent needs to know besides the state, such as references to secrets."""
        return {}

    def reads(self, resource: Resource) -> Mapping[str, Any]:
        """What the agent needs to know for looking only."""
        return self.options(resource)

    def brackets(self, change: Change) -> Sequence[tuple[str, Call]]:
        """Calls that follow once for all changes of the target that name them, in both directions."""
        return ()

    def proof(self, resource: Resource) -> Call | None:
        """What shows that the resource serves, after it or anything it stands on was changed."""
        return None

    def warnings(self, resource: Resource, live: State) -> Iterable[str]:
        return ()


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds by name."""

    by_name: Mapping[str, Kind] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Kind:
        return self.by_name[name]

    def get(self, name: str) -> Kind | None:
        return self.by_name.get(name)
