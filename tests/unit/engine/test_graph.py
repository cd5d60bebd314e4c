"""Order, cycles, and the units that a node belongs to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbplan.engine import graph


def test_order_is_topological_and_by_name_where_there_is_a_choice() -> None:
    assert graph.order(graph.build({"c": [], "b": ["z"], "z": [], "a": ["b"]})) == ["c", "z", "b", "a"]


def test_what_is_not_a_node_is_no_edge() -> None:
    assert graph.order(graph.build({"a": ["gone"]})) == ["a"]


def test_a_cycle_is_named_as_a_whole() -> None:
    with pytest.raises(graph.CycleError) as caught:
        graph.build({"a": ["c"], "b": ["a"], "c": ["b"], "d": ["a"]})
    assert sorted(caught.value.nodes) == ["a", "b", "c"]
    assert str(caught.value) == "these wait for each other: a → b → c → a"


def test_a_node_that_waits_for_itself() -> None:
    with pytest.raises(graph.CycleError, match="a → a"):
        graph.build({"a": ["a"]})


@pytest.mark.parametrize(
    ("edges", "own", "expected"),
    [
        ({"a": []}, {}, {"a": ("a",)}),
        ({"a": [], "b": ["a"], "c": ["a"]}, {"b": "x", "c": "y"}, {"a": ("x", "y"), "b": ("x",), "c": ("y",)}),
        ({"a": [], "b": ["a"], "c": ["b"]}, {"c": "x"}, {"a": ("x",), "b": ("x",), "c": ("x",)}),
        ({"a": [], "b": ["a"]}, {"a": "x", "b": "y"}, {"a": ("x", "y"), "b": ("y",)}),
        ({"a": [], "b": ["a"]}, {}, {"a": ("b",), "b": ("b",)}),
    ],
    ids=["alone", "shared", "chain", "another unit's needs it too", "no definition"],
)
def test_units(edges: dict[str, list[str]], own: dict[str, str], expected: dict[str, tuple[str, ...]]) -> None:
    assert graph.units(graph.build(edges), own) == expected


NODES = "abcdefgh"


@st.composite
def edges(draw: st.DrawFn) -> dict[str, list[str]]:
    found = {}
    for number, name in enumerate(NODES):
        earlier = st.lists(st.sampled_from(NODES[:number]), unique=True) if number else st.just([])
        found[name] = draw(earlier)
    return found


@given(edges(), st.dictionaries(st.sampled_from(NODES), st.sampled_from("xyz")), st.randoms())
def test_what_is_needed_belongs_to_all_units_of_its_users(
    found: dict[str, list[str]], own: dict[str, str], shuffle
) -> None:  # type: ignore[no-untyped-def]
    names = list(found)
    shuffle.shuffle(names)
    order = graph.order(graph.build({name: found[name] for name in names}))
    assert order == graph.order(graph.build(found))
    assert all(order.index(before) < order.index(name) for name in names for before in found[name])
    units = graph.units(graph.build(found), own)
    for name in names:
        assert units[name]
        assert own.get(name, units[name][0]) in units[name]
        assert all(set(units[name]) <= set(units[before]) for before in found[name])
