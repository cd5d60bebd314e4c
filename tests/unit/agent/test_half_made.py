"""A folder whose making was cut short is no change by somebody else."""

from typing import Any

import pytest

from smbplan.drivers.agent.storage import Dataset, Directory, Subvolume

NEW: dict[str, Any] = {
    "mark": "office/directory.a",
    "owner": "root",
    "group": "root",
    "acl": ["user::rwx", "group::---", "other::---"],
    "default": [],
    "empty": True,
}
DATASET = {**NEW, "acl": ["user::rwx", "group::r-x", "other::r-x"], "quota": 1}


@pytest.mark.parametrize("kind", [Directory(), Subvolume(), Dataset()])
@pytest.mark.parametrize(
    ("state", "torn"),
    [
        (NEW, True),
        (DATASET, True),
        ({**NEW, "mark": None}, False),
        ({**NEW, "empty": False}, False),
        ({**NEW, "group": "staff"}, False),
        ({**NEW, "default": ["user::rwx"]}, False),
        ({**NEW, "acl": ["user::rwx", "user:alice:rwx", "group::---", "mask::rwx", "other::---"]}, False),
        (None, False),
    ],
)
def test_an_empty_folder_that_is_ours_and_nobodys_yet_is_half_made(kind: Directory, state: Any, torn: bool) -> None:
    assert kind.torn("/nonexistent/a", state, None, {"undo": True}) is torn
    assert kind.torn("/nonexistent/a", state, None, {}) is False, "nobody has begun to make it"
    assert kind.torn("/nonexistent/a", state, NEW, {"undo": True}) is False
