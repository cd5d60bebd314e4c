"""What each user may do by the access lists of a share."""

import sys
from typing import Any

import pytest
from unit.kinds.sites import USERS

from smbplan.kinds import expand, names
from smbplan.spec.model import Lists, Site


def site(**more: Any) -> Site:
    groups = {"staff": {"members": ["alice"]}, "crew": {"members": ["bob"]}}
    return Site.model_validate(
        {"version": 1, "site": "t", "gateways": {"g": {}}, "users": USERS, "groups": groups, **more}
    )


def lists(**names: list[str]) -> Lists:
    return Lists(*(tuple(names.get(what, ())) for what in Lists._fields))


CASES: list[tuple[Lists, dict[str, str]]] = [
    (lists(), {}),
    (lists(read=["alice"], write=["alice"]), {"alice": "write"}),
    (lists(read=["@staff"], admin=["bob"]), {"alice": "read", "bob": "write"}),
    (lists(write=["@staff", "bob"], deny=["@crew"]), {"alice": "write", "bob": "none"}),
    (lists(read=["*"], write=["@crew"]), {"alice": "read", "bob": "write", "carol": "read"}),
    (lists(write=["bob"], deny=["*"]), {"alice": "none", "bob": "none", "carol": "none"}),
    (lists(read=["dora"], write=["*"]), {"alice": "write", "bob": "write", "carol": "write", "dora": "write"}),
    (lists(read=["dora", "@nobody's", "@staff"]), {"alice": "read", "dora": "read"}),
]


@pytest.mark.parametrize(("given", "found"), CASES)
def test_who_is_denied_is_and_who_may_write_may(given: Lists, found: dict[str, str]) -> None:
    assert {who: names.level(site(), given, who) for who in found} == found
    assert names.level(site(), given, "eve") == ""  # nobody has heard of her


def test_only_users_of_the_gateway_have_one_there() -> None:
    """One is on another gateway alone, one is nobody that smbplan knows, and one is named by no share."""
    users = {**USERS, "bob": {**USERS["bob"], "gateways": ["other"]}}
    shares = {"s": {"gateway": "g", "storage": {"directory": "/srv/s"}, "access": {"write": ["bob", "alice", "dora"]}}}
    found = site(users=users, gateways={"g": {}, "other": {}}, shares=shares)
    assert dict(names.levels(found, "g", found.shares["s"].access.lists)) == {"alice": "write"}
    assert [*names.users_on(found, "g")] == ["alice"] and [*names.users_on(found, "other")] == ["bob"]


def calls(count: int) -> int:
    """How many calls it takes to expand as many shares, each of a user and a group of its own."""
    users = {f"u{n}": {"password": {"env": "X"}, "groups": [f"g{n}"]} for n in range(count)}
    shares = {
        f"s{n}": {
            "gateway": "g",
            "storage": {"directory": f"/srv/s{n}"},
            "access": {"write": [f"u{n}"], "read": [f"@g{n}"]},
        }
        for n in range(count)
    }
    found = site(users=users, groups={f"g{n}": {} for n in range(count)}, shares=shares)
    counted, resources = 0, 0

    def count_one(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    former = sys.getprofile()
    sys.setprofile(count_one)
    try:
        resources = len(expand(found))
    finally:
        sys.setprofile(former)
    assert resources > 4 * count
    return counted


def test_a_share_costs_the_same_among_many_users() -> None:
    calls(1)  # loads what it needs
    few, many = calls(50), calls(500)
    assert many < 11 * few
