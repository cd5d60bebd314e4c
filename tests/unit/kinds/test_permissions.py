"""Owner, mode and ACL of a share's root, as they follow from its definition."""

from typing import Any

import pytest
from unit import golden
from unit.kinds.sites import one_share

from smbplan.kinds import permissions

CASES: dict[str, dict[str, Any]] = {
    "one user writes": {"access": {"write": ["alice"]}},
    "one group writes": {"access": {"write": ["@staff"]}},
    "one group reads": {"access": {"read": ["@staff"]}},
    "two groups": {"access": {"write": ["@staff"], "read": ["@crew"]}},
    "write wins over read": {"access": {"write": ["alice"], "read": ["alice", "bob"]}},
    "a reader whose group writes": {"access": {"read": ["bob"], "write": ["@staff"]}},
    "a writer whose group reads": {"access": {"read": ["@staff"], "write": ["bob"]}},
    "everybody reads, one writes": {"access": {"read": ["*"], "write": ["alice"]}},
    "everybody writes": {"access": {"write": ["*"]}},
    "admins write": {"access": {"admin": ["alice"], "read": ["@staff"]}},
    "denied ones are not named": {"access": {"write": ["alice"], "deny": ["bob"]}},
    "guests read": {"guest": "read", "access": {"write": ["@staff"]}},
    "guests write": {"guest": "write", "access": {}},
    "homes": {"homes": True},
    "keep": {"permissions": "keep"},
    "recursive": {"permissions": {"recursive": True}},
    "owner, group and mode": {"permissions": {"owner": "bob", "group": "staff", "mode": "3750"}},
    "own ACL": {"permissions": {"acl": ["user:bob:r-x", "group:crew:rwx"]}},
    "empty ACL": {"permissions": {"acl": [], "mode": "0750"}},
    "ACL and mode": {"permissions": {"acl": ["group:staff:rwx"], "mode": "0700"}},
}


def rights(case: dict[str, Any]) -> dict[str, Any]:
    site = one_share(case)
    return permissions.of_share(site, site.shares["s"])


def test_golden_table() -> None:
    found = {name: rights(case) for name, case in CASES.items()}
    golden.check_json("permissions.json", {**found, "a home of alice": permissions.of_home("alice")})


@pytest.mark.parametrize("name", sorted(set(CASES) - {"keep"}))
def test_acls_are_valid(name: str) -> None:
    """acl(5): each entry once, a mask if and only if somebody is named, which covers all that it limits."""
    state = rights(CASES[name])
    entries = dict(entry.rsplit(":", 1) for entry in state["acl"])
    assert len(entries) == len(state["acl"])
    assert {"user:", "group:", "other:"} <= set(entries)
    named = {key: value for key, value in entries.items() if key not in ("user:", "group:", "other:", "mask:")}
    assert ("mask:" in entries) == bool(named)
    assert state["default"] == (state["acl"] if named else [])
    for letters in [*named.values(), *([entries["group:"]] if named else [])]:
        assert all(letter in ("-", mask) for letter, mask in zip(letters, entries["mask:"], strict=True))
    assert state["acl"] == sorted(state["acl"], key=permissions._rank)
