"""What hosts have told of themselves, judged: can they be nodes of one cluster?"""

from collections.abc import Iterator, Mapping
from typing import Any

APART = 2.0  # seconds between two clocks; leases and the times of files are compared among nodes
PORT = 4379  # ctdbd(1)
Problem = tuple[str, str]  # what it is, and what to do


def problems(
    wanted: Mapping[str, Any], told: Mapping[str, Mapping[str, Any]], offsets: Mapping[str, float]
) -> Iterator[Problem]:
    """`offsets` are the seconds by which each host's clock is ahead of this machine's."""
    yield from _addresses(wanted, told)
    yield from places(wanted["shared"], told, offsets)
    versions = {name: each["version"] for name, each in told.items()}
    if len(set(versions.values())) > 1:
        listed = ", ".join(f"{version or 'none'} on {name}" for name, version in versions.items())
        yield (
            f"the nodes would have different versions of ctdb: {listed}",
            "upgrade Samba and ctdb on all of them first",
        )
    for name, each in told.items():
        if each["helper"]:
            yield (
                f"the cluster lock can't be taken on {name}: {each['helper']}",
                "install it there, or write another lock:",
            )


def places(shared: str, told: Mapping[str, Mapping[str, Any]], offsets: Mapping[str, float]) -> Iterator[Problem]:
    """What is so of hosts, and of containers on them."""
    yield from _folders(shared, told)
    early, late = min(offsets, key=offsets.__getitem__), max(offsets, key=offsets.__getitem__)
    if offsets[late] - offsets[early] > APART:
        words = f"the clock of {late} is {offsets[late] - offsets[early]:.0f} s ahead of that of {early}"
        yield words, "have chrony or systemd-timesyncd keep the clocks of all nodes"


def _addresses(wanted: Mapping[str, Any], told: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    for name, each in told.items():
        if each["address"]:
            words = f"{name} can't listen at {wanted['nodes'][name]}: {each['address']}"
            yield words, f"write address: with an address that {name} has"
    for floating in wanted["addresses"]:
        alone = [name for name, each in told.items() if not each["interfaces"][floating]]
        if alone and " dev " not in floating:
            words = f"no interface of {', '.join(alone)} has an address in the network of {floating}"
            yield words, f"write the interface with it: {floating} dev eth1"
        plain = floating.partition("/")[0]
        for name in (name for name, each in told.items() if plain in each["own"]):
            yield f"{plain} is an address of {name} already", "a floating address belongs to no host: write a free one"


def _folders(path: str, told: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """One folder has one inode, and was changed at one time, wherever it is seen."""
    lacking = [name for name, each in told.items() if each["folder"] is None]
    for name in lacking:
        yield f"{path} is not there on {name}", "mount the cluster file system on every node first"
    seen = {name: each["folder"] for name, each in told.items() if each["folder"]}
    for name in list(seen)[1:]:
        first = next(iter(seen))
        if seen[name]["is"] != seen[first]["is"]:
            kinds = f"{seen[first]['type']} on {first}, {seen[name]['type']} on {name}"
            words = f"{path} on {name} is another folder than on {first} ({kinds}): what is on one is not on the other"
            yield words, "mount a cluster file system there, such as CephFS, on every node"


def unreached(nodes: Mapping[str, str], reached: Mapping[str, Mapping[str, str]]) -> Iterator[Problem]:
    names = {address: name for name, address in nodes.items()}
    for name, failed in reached.items():
        for address, why in failed.items():
            words = f"{name} does not reach {names[address]} at {address}, port {PORT}: {why}"
            yield words, f"allow TCP port {PORT} between the nodes, and check their private addresses"


def taken(found: Mapping[str, str]) -> Iterator[Problem]:
    for address, hardware in found.items():
        words = f"{address} is taken already, by a host with the hardware address {hardware}"
        yield words, "a floating address belongs to no host: write a free one"
