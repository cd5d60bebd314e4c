"""Whether what is there is what was wanted, as far as Proxmox leaves that to anybody."""

from typing import Any

import pytest

from smbplan.drivers.pve.states import agrees

MOUNT = {"volume": "/srv/a", "path": "/srv/a", "size": None, "id": "/srv/a"}


@pytest.mark.parametrize(
    ("now", "wanted", "same"),
    [
        ({**MOUNT, "key": "mp1"}, {**MOUNT, "key": "mp0"}, True),  # it comes back as the next one that is free
        ({**MOUNT, "key": "unused0"}, {**MOUNT, "key": "mp0"}, False),
        ({**MOUNT, "key": "mp0", "id": "local:1"}, {**MOUNT, "key": "mp0"}, False),
        ({**MOUNT, "key": "mp0"}, None, False),
        (None, MOUNT, False),
        ({"size": 2}, {"size": 1}, True),
        ({"size": 1}, {"size": 2}, False),
    ],
)
def test_a_mount_is_the_same_whatever_its_key(now: Any, wanted: Any, same: bool) -> None:
    assert agrees(now, wanted) is same
