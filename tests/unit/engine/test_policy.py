"""Guardrails on the plan as a whole, and lifting them by name."""

import pytest

from smbplan.engine import policy
from smbplan.engine.kind import Action, Change, Hazard
from smbplan.engine.resource import Key, Record


def changes(action: Action, count: int, **record: bool) -> list[Change]:
    return [
        Change(f"x.{n}", "x", "t", action, {}, {}, record=Record(f"x.{n}", "x", Key("x", "n"), **record))
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("action", "count", "managed", "refused"),
    [
        (Action.UPDATE, 3, 10, False),
        (Action.UPDATE, 4, 10, True),
        (Action.DELETE, 4, 10, True),
        (Action.CREATE, 10, 10, False),
        (Action.ADOPT, 10, 10, False),
        (Action.DELETE, 9, 9, False),
        (Action.DELETE, 30, 100, False),
        (Action.DELETE, 31, 100, True),
    ],
)
def test_too_many(action: Action, count: int, managed: int, refused: bool) -> None:
    found = list(policy.check(changes(action, count), managed))
    assert [hazard.guardrail for hazard in found] == ([f"many-{action}s"] if refused else [])
    assert not refused or f"--allow many-{action}s" in found[0].hint


def test_what_was_never_ours_does_not_count() -> None:
    fresh = [Change(f"x.{n}", "x", "t", Action.UPDATE, {}, {}) for n in range(10)]
    assert list(policy.check(fresh, 10)) == []


def test_prevent_destroy_stands_in_the_inventory() -> None:
    found = list(policy.check(changes(Action.DELETE, 1, prevent_destroy=True), 1))
    assert [(hazard.address, hazard.guardrail) for hazard in found] == [("x.0", "prevent-destroy")]
    assert list(policy.check(changes(Action.UPDATE, 1, prevent_destroy=True), 1)) == []


def test_a_guardrail_is_lifted_by_its_own_name_only() -> None:
    fixed, one, two = Hazard("b", "never", ""), Hazard("a", "one", "", "one"), Hazard("a", "two", "", "two")
    assert policy.sort([two, fixed, one, one], frozenset({"one"})) == ((two, fixed), (one,))
    assert policy.sort([fixed], frozenset({""})) == ((fixed,), ())
    assert policy.sort([], frozenset({"one"})) == ((), ())
