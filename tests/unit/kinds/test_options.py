"""smb.conf parameters in one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smbplan.kinds import options
from smbplan.kinds.options import INVERTED, LISTS, MASKS, SWITCHES, SYNONYMS, canonical, plain, same, split

NAMES = st.sampled_from(
    [*SYNONYMS, *INVERTED, *sorted(LISTS), *sorted(MASKS), *sorted(SWITCHES), "comment", "fruit:metadata"]
)
WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=400), max_size=12)
VALUES = st.sampled_from(["yes", "No", "TRUE", "0", "1", "off", "0770", "770", "auto", ""]) | WORDS
MEMBERS = st.lists(st.sampled_from(["alice", "@staff", "+x", "DOM\\bob", '"with space"', '@"two words"']), max_size=5)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"Writeable": "Yes"}, {"read only": "no"}),
        ({"write ok": "0"}, {"read only": "yes"}),
        ({"PUBLIC": "true"}, {"guest ok": "yes"}),
        ({"create  mode": "770"}, {"create mask": "0770"}),
        ({"force create mode": "rwx"}, {"force create mode": "rwx"}),
        ({"browsable": "1"}, {"browseable": "yes"}),
        ({"max connections": "1"}, {"max connections": "1"}),
        ({"comment": "Yes"}, {"comment": "Yes"}),
        ({"directory": "/srv/x"}, {"path": "/srv/x"}),
        ({"b": " 1 ", "a": "x  y"}, {"a": "x  y", "b": "1"}),
        ({"case sensitive": "Auto"}, {"case sensitive": "Auto"}),
        ({}, {}),
    ],
)
def test_canonical(given_: dict[str, str], expected: dict[str, str]) -> None:
    found = canonical(given_)
    assert found == expected
    assert list(found) == sorted(found)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_canonical_is_idempotent(params: dict[str, str]) -> None:
    once = canonical(params)
    assert canonical(once) == once
    assert not set(once) & set(INVERTED) or not {once[name].lower() for name in set(once) & set(INVERTED)} & (
        options.YES | options.NO
    )


@given(NAMES, VALUES, st.sampled_from([str.upper, str.title, lambda name: name.replace(" ", "   ")]))
def test_names_are_compared_as_samba_does(name: str, value: str, written) -> None:  # type: ignore[no-untyped-def]
    assert canonical({written(name): value}) == canonical({name: value})


@given(st.sampled_from(sorted(SYNONYMS)), VALUES)
def test_synonyms_are_one_parameter(name: str, value: str) -> None:
    assert canonical({name: value}) == canonical({SYNONYMS[name]: value})


@given(st.sampled_from(sorted(INVERTED)), st.sampled_from(sorted(options.YES | options.NO)))
def test_inverted_parameters_are_their_opposite(name: str, value: str) -> None:
    opposite = "no" if value in options.YES else "yes"
    assert canonical({name: value}) == canonical({INVERTED[name]: opposite})


@given(st.sampled_from(sorted(LISTS)), MEMBERS, st.randoms())
def test_the_order_and_separators_of_a_list_mean_nothing(name: str, members: list[str], shuffle) -> None:  # type: ignore[no-untyped-def]
    other = list(members)
    shuffle.shuffle(other)
    assert same(name, " ".join(members), " , ".join(other))
    assert same(name, " ".join(members), "\t".join([*other, *other]))
    assert set(split(" ".join(members))) == {member.replace('"', "") for member in members}


def test_except_has_an_order_and_texts_are_no_lists() -> None:
    assert not same("hosts allow", "192.0.2. EXCEPT 192.0.2.66", "192.0.2.66 EXCEPT 192.0.2.")
    assert same("hosts allow", "192.0.2. EXCEPT 192.0.2.66", "192.0.2.,EXCEPT,192.0.2.66")
    assert not same("comment", "a b", "b a")
    assert not same("valid users", "a b", "a")


@pytest.mark.parametrize(("value", "expected"), [(True, "yes"), (False, "no"), (0, "0"), ("auto", "auto")])
def test_values_of_definitions(value: str | bool | int, expected: str) -> None:
    assert plain(value) == expected
