"""Whose sessions have to end: whenever somebody may do less than before."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smbplan.engine.kind import Action, Change
from smbplan.engine.resource import Key, Resource
from smbplan.engine.step import Call
from smbplan.kinds import kinds
from smbplan.kinds.share import revoked

PEOPLE = ["alice", "bob", "carol"]
LISTS = ["valid_users", "invalid_users", "write_list", "read_list", "admin_users"]
SUBSETS = st.lists(st.sampled_from(PEOPLE), unique=True)


def state(**params: str) -> dict[str, Any]:
    return {
        "mark": None,
        "params": {key.replace("_", " "): value for key, value in params.items()},
        "source": "registry",
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, False),
        ({"comment": "a"}, {"comment": "b"}, False),
        ({"valid_users": "alice bob"}, {"valid_users": "alice"}, True),
        ({"valid_users": "alice"}, {"valid_users": "bob alice"}, False),
        ({"valid_users": "bob,alice"}, {"valid_users": "alice bob"}, False),
        ({}, {"valid_users": "alice"}, True),
        ({}, {"invalid_users": "bob"}, True),
        ({"invalid_users": "bob"}, {}, False),
        ({"write_list": "alice"}, {}, True),
        ({"admin_users": "alice"}, {}, True),
        ({"read_list": ""}, {"read_list": "alice"}, True),
        ({"hosts_allow": "192.0.2.0/24"}, {"hosts_allow": "192.0.2.1"}, True),
        ({}, {"hosts_allow": "192.0.2.1"}, True),
        ({}, {"hosts_deny": "192.0.2.1"}, True),
        ({"read_only": "no"}, {"read_only": "yes"}, True),
        ({"guest_ok": "yes"}, {}, True),
        ({"path": "/srv/a"}, {"path": "/srv/b"}, True),
        ({"server_smb_encrypt": "desired"}, {"server_smb_encrypt": "required"}, True),
    ],
)
def test_table(before: dict[str, str], after: dict[str, str], expected: bool) -> None:
    assert revoked(state(**before), state(**after)) is expected


@st.composite
def shares(draw: st.DrawFn) -> dict[str, str]:
    found = {"read_only": draw(st.sampled_from(["yes", "no"]))}
    for key in LISTS:
        names = draw(SUBSETS)
        if names:
            found[key] = draw(st.sampled_from([" ", ",", ", "])).join(names)
    return found


def may(params: dict[str, str], user: str) -> int:
    """0 nothing, 1 read, 2 write, 3 everything: as smb.conf(5) says."""

    def names(key: str) -> list[str]:
        return params.get(key, "").replace(",", " ").split()

    if user in names("invalid_users") or (names("valid_users") and user not in names("valid_users")):
        return 0
    if user in names("admin_users"):
        return 3
    if user in names("write_list"):
        return 2
    return 1 if params["read_only"] == "yes" or user in names("read_list") else 2


@st.composite
def edited(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, str]]:
    """A share, and the same with one parameter of another."""
    before, other = draw(shares()), draw(shares())
    key = draw(st.sampled_from(["read_only", *LISTS]))
    after = {name: value for name, value in before.items() if name != key}
    return before, {**after, **({key: other[key]} if key in other else {})}


@given(edited())
@settings(max_examples=1000)
def test_whoever_loses_a_right_loses_the_session(pair: tuple[dict[str, str], dict[str, str]]) -> None:
    before, after = pair
    lost = any(may(after, user) < may(before, user) for user in [*PEOPLE, "somebody"])
    assert revoked(state(**before), state(**after)) or not lost


@given(shares())
def test_nothing_is_revoked_by_no_change(params: dict[str, str]) -> None:
    assert not revoked(state(**params), state(**params))


def change(action: Action, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Change:
    item = Resource("samba.share.s", "samba.share", "g", Key("share", "S"), {})
    return Change("samba.share.s", "samba.share", "g", action, before, after, resource=item)


def test_brackets() -> None:
    kind = kinds()["samba.share"]
    open_, narrow = state(), state(valid_users="alice")
    close = ("close S", Call("close", {"share": "S", "gone": False}))
    assert kind.brackets(change(Action.CREATE, None, open_)) == ()
    assert kind.brackets(change(Action.UPDATE, open_, narrow)) == [close]
    assert kind.brackets(change(Action.UPDATE, open_, open_)) == []
    gone = ("close S", Call("close", {"share": "S", "gone": True}))
    assert kind.brackets(change(Action.DELETE, open_, None)) == [gone]
    moved = {**open_, "source": "file"}
    assert kind.brackets(change(Action.ADOPT, moved, open_)) == [("reload", Call("reload"))]
