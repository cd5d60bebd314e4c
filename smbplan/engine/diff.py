"""Differences between two states: `==` first, DeepDiff only for what differs (it is 600 times as dear)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from smbplan.engine.resource import State

SENSITIVE = "(sensitive)"


@dataclass(frozen=True, slots=True)
class Field:
    """One difference. `before` or `after` is None where the path exists on one side only."""

    path: str
    before: Any
    after: Any


def fields(before: State, after: State, sensitive: frozenset[str] = frozenset()) -> tuple[Field, ...]:
    """The differing fields, ordered by path; values of `sensitive` top-level fields are masked."""
    if before == after:
        return ()
    if not isinstance(before, dict) or not isinstance(after, dict):
        before, after = _as_fields(before), _as_fields(after)
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        found: Iterator[Field] = (Field(key, before.get(key), after.get(key)) for key in changed)
    else:
        found = _nested(before, after)
    return tuple(sorted((_mask(item, sensitive) for item in found), key=lambda item: item.path))


def masked(state: State, sensitive: frozenset[str]) -> State:
    """The state as a person may see it."""
    if not sensitive or not isinstance(state, dict):
        return state
    return {key: SENSITIVE if key in sensitive and value is not None else value for key, value in state.items()}


def _as_fields(state: State) -> dict[str, Any]:
    if state is None:
        return {}
    return state if isinstance(state, dict) else {"value": state}


def _nested(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Field]:
    from deepdiff import DeepDiff

    tree = DeepDiff(before, after, view="tree", ignore_order=False)
    for group in tree.values():
        for level in group:
            path = ".".join(str(part) for part in level.path(output_format="list"))
            yield Field(path, _present(level.t1), _present(level.t2))


def _present(value: Any) -> Any:
    return None if type(value).__name__ == "NotPresent" else value


def _mask(item: Field, sensitive: frozenset[str]) -> Field:
    if item.path.split(".", 1)[0] not in sensitive:
        return item
    return Field(
        item.path,
        None if item.before is None else SENSITIVE,
        None if item.after is None else SENSITIVE,
    )
