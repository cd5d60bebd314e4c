"""The fields that differ, and what of them may be seen."""

import deepdiff
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbplan.engine import diff
from smbplan.engine.diff import SENSITIVE, Field

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)
STATES = st.none() | st.dictionaries(
    st.sampled_from(["x", "y", "secret"]), JSON.filter(lambda value: value is not None), min_size=1, max_size=3
)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, []),
        ({"a": 1}, {"a": 1}, []),
        (None, {"b": 2, "a": 1}, [Field("a", None, 1), Field("b", None, 2)]),
        ({"a": 1}, None, [Field("a", 1, None)]),
        ({"a": 1, "b": 1}, {"a": 2, "b": 1}, [Field("a", 1, 2)]),
        ({"a": {"x": 1, "y": [1]}}, {"a": {"x": 2, "y": [1, 3]}}, [Field("a.x", 1, 2), Field("a.y.1", None, 3)]),
        ({"a": 1}, {"a": "1"}, [Field("a", 1, "1")]),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}, [Field("a.0", "x", "y"), Field("a.1", "y", "x")]),
        ("plain", {"a": 1}, [Field("a", None, 1), Field("value", "plain", None)]),
    ],
)
def test_fields(before: object, after: object, expected: list[Field]) -> None:
    assert list(diff.fields(before, after)) == expected


def test_equal_states_cost_no_deepdiff(monkeypatch: pytest.MonkeyPatch) -> None:
    def expensive(*_: object, **__: object) -> None:
        raise AssertionError("DeepDiff was called")

    monkeypatch.setattr(deepdiff, "DeepDiff", expensive)
    assert diff.fields({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) == ()
    assert diff.fields(None, {"a": 1}) != ()
    with pytest.raises(AssertionError, match="DeepDiff was called"):
        diff.fields({"a": 1}, {"a": 2})


def test_sensitive_values_are_masked_on_both_sides_and_at_any_depth() -> None:
    secret = frozenset({"secret"})
    found = diff.fields({"secret": {"deep": "old"}, "x": 1}, {"secret": {"deep": "new"}, "x": 2}, secret)
    assert found == (Field("secret.deep", SENSITIVE, SENSITIVE), Field("x", 1, 2))
    assert diff.fields(None, {"secret": "new"}, secret) == (Field("secret", None, SENSITIVE),)
    assert diff.masked({"secret": "old", "x": 1}, secret) == {"secret": SENSITIVE, "x": 1}
    assert diff.masked({"secret": None}, secret) == {"secret": None}
    assert diff.masked(None, secret) is None
    assert diff.masked({"secret": "old"}, frozenset()) == {"secret": "old"}


@given(STATES, STATES)
def test_there_are_fields_if_and_only_if_states_differ(before: object, after: object) -> None:
    found = diff.fields(before, after)
    assert bool(found) == (before != after)
    assert [field.path for field in found] == sorted(field.path for field in found)


@given(STATES, STATES)
def test_no_sensitive_value_is_ever_shown(before: object, after: object) -> None:
    for field in diff.fields(before, after, frozenset({"secret"})):
        if field.path.split(".")[0] == "secret":
            assert {field.before, field.after} <= {None, SENSITIVE}
