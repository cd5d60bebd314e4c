"""The solver of id maps: everything has its place, and only what is shared with the node has the node's ids."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from unit.kinds.sites import BOUND, site

from smbplan.kinds import ids

numbers = st.integers(0, 2_000_000_000)


@given(st.lists(numbers, max_size=8), st.lists(st.integers(1000, 59999), max_size=8))
def test_every_id_has_one_place(wanted: list[int], same: list[int]) -> None:
    found = ids.pieces(wanted, same)
    inside = [(first, first + count) for first, _, count in found]
    outside = sorted((first, first + count) for _, first, count in found)
    assert inside == sorted(inside)
    for ranges in (inside, outside):
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    lines = ids.lines(found, [])
    for number in {*wanted, *same, 0, 65535}:
        assert ids._outside(ids._parsed(lines, "u"), number) == (number if number in same else number + 100000)
    assert sum(count for _, _, count in found) % 65536 == 0


def test_proxmoxs_own_map_is_the_default() -> None:
    assert ids.DEFAULT == ["u 0 100000 65536", "g 0 100000 65536"]


def test_a_map_is_widened_for_far_ids_and_has_holes_for_shared_ones() -> None:
    bound = site(BOUND)
    users, groups = ids.of(bound, "box")
    assert users == [(0, 100000, 1500), (1500, 1500, 1), (1501, 101501, 131072 - 1501)]
    assert groups == [(0, 100000, 1600), (1600, 1600, 1), (1601, 101601, 65536 - 1601)]
    assert list(ids.beyond(bound, "box")) == [("u", 1500, 1), ("u", 165536, 65536), ("g", 1600, 1)]


def test_only_ids_that_get_another_place_are_told() -> None:
    far, shared = ids.lines(ids.pieces([70000]), []), ids.lines(ids.pieces([], [1500]), [])
    default = ids.lines(ids.pieces([]), [])
    assert list(ids.moved(default, far)) == []
    assert list(ids.moved(default, shared)) == ["uid 1500"]
    assert list(ids.moved(far, default)) == ["uid 65536"]
