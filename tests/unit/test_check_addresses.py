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
    assert told.endswith("'8MiB' is too little for a guest (write 16MiB or more, such as 512MiB)")
    assert problems(text(memory="15.1MiB")) == []


def net(**keys: Any) -> dict[str, Any]:
    return {"network": keys}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (net(address="192.0.2.10/24", gateway="192.0.2.1"), None),
        (net(address="192.0.2.10/32", gateway="198.51.100.1"), None),
        (net(address6="auto"), None),
        (net(address6="2001:db8::10/64", gateway6="fe80::1"), None),
        (net(address="192.0.2.10"), "'192.0.2.10' has no prefix (write it behind the address, such as 192.0.2.10/24)"),
        (net(address="999.18.0.71/99"), "'999.18.0.71' is no IPv4 address"),
        (net(address="192.0.2.10/33"), "/33 is no prefix of a network (write one of 8 to 32)"),
        (net(address="192.0.2.10/255.255.255.0"), "is no prefix of a network"),
        (net(address="auto"), "'auto' is no IPv4 address"),
        (net(address="2001:db8::1/64"), "'2001:db8::1' is an IPv6 address (write it at address6 or gateway6)"),
        (net(address6="192.0.2.10/24"), "'192.0.2.10' is an IPv4 address (write it at address or gateway)"),
        (net(address6="fe80::1%eth0/64"), "is no IPv6 address"),
        (net(address="192.0.2.10/24", gateway="192.0.2.1/24"), "has a prefix (write the address alone)"),
        (net(address="192.0.2.10/24", gateway="192.0.3.1"), "192.0.3.1 is outside of 192.0.2.0/24, where address is"),
        (net(address="192.0.2.10/24", gateway="192.0.2.10"), "is the guest's own address"),
        (net(address="192.0.2.10/24", gateway="2001:db8::1"), "is an IPv6 address"),
        (net(address6="2001:db8::10/64", gateway6="2001:db9::1"), "outside of 2001:db8::/64, where address6 is"),
        (net(gateway="192.0.2.1"), "a gateway goes with a static address"),
        ({"nameserver": "1.2.3"}, "'1.2.3' is no IP address (write one, such as 192.0.2.1)"),
        ({"nameserver": "2001:db8::53"}, None),
        ({"searchdomain": "office..example"}, "write a DNS name"),
        ({"searchdomain": "office.example"}, None),
        ({"startup": "order=1up=2"}, "write order=1,up=30,down=60 or less of it, in this order"),
        ({"startup": ",up=2"}, "write order=1,up=30,down=60"),
        ({"startup": "order=1,down=60"}, None),
        ({"startup": "up=2"}, None),
    ],
)
def test_what_proxmox_would_refuse(keys: dict[str, Any], expected: str | None) -> None:
    found = problems(text(**keys))
    assert (found == []) if expected is None else (expected in found[-1] and len(found) == 1), found


@pytest.mark.parametrize("name", ["file_server", "files-"])
def test_a_containers_name_is_its_host_name(name: str) -> None:
    (told,) = problems(text(gateways={name: LXC}))
    assert f"{name!r} is the container's host name, too" in told and "use letters, digits and -" in told
    assert problems(text(gateways={name: {}})) == []


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({**LXC, **net(address="192.0.2.10/24")}, "address"),
        ({**LXC, **net(address6="2001:0db8::0010/48")}, "address6"),
        ({"host": "192.0.2.10"}, "address"),
        ({"host": "2001:db8::10"}, "address6"),
    ],
)
def test_an_address_is_one_gateways(other: dict[str, Any], key: str) -> None:
    both = net(address="192.0.2.10/24", address6="2001:db8::10/64")
    (told,) = problems(text(gateways={"h": other}, **both))
    assert "has the address" in told and "write another one" in told
    assert problems(text(gateways={"h": {**LXC, **net(address="192.0.2.11/24")}}, **both)) == []


def test_wrong_addresses_hide_nothing_else() -> None:
    wrong = {**LXC, **net(address="192.0.2.10", gateway="192.0.2.1"), "vmid": 7}
    others = {"wrong": wrong, "bad_name": LXC}
    told = problems(text(gateways=others, **net(address="192.0.2.10/24", gateway="192.0.3.1")))
    words = ("outside of 192.0.2.0/24", "host name", "has no prefix", "must be at least 100")
    assert all(any(each in line for line in told) for each in words), told


@pytest.mark.parametrize(
    ("endpoint", "good"),
    [
        ("https://pve1.example:8006", True),
        ("https://192.0.2.1:8006/", True),
        ("https://[2001:db8::1]:8006", True),
        ("https://pve1", True),
        ("https://pve1:99999", False),
        ("https://pve1:0", False),
        ("https://[::1", False),
        ("https://:::", False),
        ("https://[:::]:8006", False),
        ("https://pve1..example:8006", False),
        (f"https://{'a' * 64}.example", False),
        ("http://pve1:8006", False),
    ],
)
def test_endpoints_that_lead_nowhere(endpoint: str, good: bool) -> None:
    found = problems(text(proxmox={"endpoint": endpoint, "token": {"id": "a@pve!plan", "secret": {"env": "T"}}}))
    assert (found == []) if good else (len(found) == 1 and "write https://host:8006" in found[0]), found
