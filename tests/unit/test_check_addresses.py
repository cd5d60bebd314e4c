"""What Proxmox would refuse of containers, or keep differently, is told before anything is made."""

import json
from typing import Any

import pytest
from unit.checked import problems

from smbplan.spec.load import load_source
from smbplan.spec.model import Site
from smbplan.spec.source import parse

MIB = 2**20
LXC = {"mode": "lxc", "template": "local:vztmpl/t.tar.zst", "node": "pve1"}


def text(size: Any = "1GiB", gateways: dict[str, Any] | None = None, proxmox: Any = "lab", **keys: Any) -> str:
    share = {"gateway": "g", "storage": {"volume": "local", "size": size}, "access": {"write": ["alice"]}}
    return json.dumps(
        {
            "version": 1,
            "site": "office",
            "proxmox": proxmox,
            "gateways": {"g": {**LXC, **keys}, **(gateways or {})},
            "users": {"alice": {"password": {"env": "A"}}},
            "shares": {"s": share},
        }
    )


def site(**keys: Any) -> Site:
    return load_source(parse(text(**keys), "site.yaml")).site


@pytest.mark.parametrize(
    ("written", "kept"),
    [("1.3GiB", 1332), (70000001, 67), ("1KiB", 1), ("0.1", 1), ("32GiB", 32768), (5 * MIB, 5)],
)
def test_sizes_on_proxmox_are_whole_mebibytes(written: Any, kept: int) -> None:
    found = site(size=written, disk=written, swap=written)
    gateway = found.gateways["g"]
    assert (found.shares["s"].storage.size, gateway.disk, gateway.swap) == (kept * MIB,) * 3


def test_memory_is_whole_and_enough_and_no_swap_is_none() -> None:
    found = site(memory="100.5MiB", swap=0).gateways["g"]
    assert (found.memory, found.swap) == (101 * MIB, 0)
    (told,) = problems(text(memory="8MiB"))
    assert told.endswith("'8MiB' is too little for a container (write 16MiB or more, such as 512MiB)")
    assert problems(text(memory="15.1MiB")) == []
