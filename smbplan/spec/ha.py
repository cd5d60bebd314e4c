"""Clusters: a gateway on several nodes that share a file system, with addresses that move. ctdb(7)"""

import re
from ipaddress import ip_interface
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from smbplan.spec.addresses import Address
from smbplan.spec.base import Definition, Ssh
from smbplan.spec.hosts import HOST
from smbplan.spec.proxmox import Network
from smbplan.spec.types import NAME, AbsolutePath, OptionText, Text

LEAST_FAILOVER = 7  # seconds, see kinds.failover
STATE = ".smbplan"  # below the shared folder


def _seconds(value: Any) -> int:
    match = re.fullmatch(r"([1-9]\d{0,3})\s*(s|min)?", str(value))
    if not match or isinstance(value, bool):
        raise ValueError(f"{value!r} is no duration — write 10s or 2min")
    return int(match[1]) * (60 if match[2] == "min" else 1)


def _floating(value: str) -> str:
    """`192.0.2.60/24`, or `192.0.2.60/24 dev eth1`, as ip-address(8) has it."""
    match = re.fullmatch(r"([0-9A-Fa-f.:]+/\d{1,3})(?:\s+dev\s+([A-Za-z0-9_.@-]{1,15}))?", value.strip())
    try:
        found = ip_interface(match[1] if match else "")
    except ValueError:
        hint = "write it with its prefix, such as 192.0.2.60/24 or 2001:db8::60/64, and `dev eth1` behind it if need be"
        raise ValueError(f"{value!r} is no floating address — {hint}") from None
    assert match is not None
    return f"{found}{f' dev {match[2]}' if match[2] else ''}"


Seconds = Annotated[
    int,
    BeforeValidator(_seconds),
    Field(json_schema_extra=lambda s: s.update({"type": ["string", "integer"], "examples": ["10s"]})),
]
Floating = Annotated[str, AfterValidator(_floating), Field(examples=["192.0.2.60/24", "2001:db8::60/64 dev eth1"])]


class Node(Definition):
    """One node of a cluster. What it doesn't say, its gateway says."""

    address: Address | None = Field(
        None, description="for the nodes' talk among themselves; host or network.address when absent"
    )
    host: Annotated[Text, Field(pattern=HOST)] | None = Field(None, description="for SSH; the node's key when absent")
    ssh: Ssh | None = None
    node: Annotated[Text, Field(pattern=NAME)] | None = Field(None, description="of Proxmox VE, for a container")
    vmid: int | None = Field(None, ge=100, le=999999999)
    network: Network | None = None


class Rados(Definition):
    """A lock in Ceph's object store, which goes with its holder. ctdb_mutex_ceph_rados_helper(7)"""

    pool: Annotated[Text, Field(pattern=NAME)]
    object: Annotated[Text, Field(pattern=NAME)] = "ctdb-lock"
    user: Text = "client.admin"
    cluster: Annotated[Text, Field(pattern=NAME)] = "ceph"


class Lock(Definition):
    """What only one node can hold: without it, two halves of a cluster would both serve."""

    file: AbsolutePath | None = Field(None, description="on the shared file system, which has to lock among nodes")
    rados: Rados | None = None
    command: OptionText | None = Field(None, description="a helper and its arguments, see cluster_mutex_helper.txt")
    expires: Seconds | None = Field(
        None, description="how long the lock of a node that has died stays taken; by the file system when absent"
    )

    @model_validator(mode="after")
    def _one_lock(self) -> Self:
        if sum(value is not None for value in (self.file, self.rados, self.command)) != 1:
            raise ValueError("a cluster has one lock — write exactly one of file, rados, command")
        if self.command and self.expires is None:
            raise ValueError("nobody knows how long this lock outlives its holder — write expires: 3s")
        return self


class Ha(Definition):
    """What makes the nodes of a gateway one cluster."""

    shared: AbsolutePath = Field(description="a folder of the cluster file system, mounted at one place on all nodes")
    addresses: list[Floating] = Field(min_length=1, description="each is served by one node at a time")
    failover: Seconds = Field(10, description="how long clients may be without service when a node is lost")
    lock: Lock | None = Field(None, description="a file below the shared folder when absent")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.failover < LEAST_FAILOVER:
            words = f"{self.failover}s is less than it takes to notice that a node is lost, and to take over"
            raise ValueError(f"{words} — write failover: {LEAST_FAILOVER}s or more")
        plain = self.plain
        twice = sorted({each for each in plain if plain.count(each) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is listed twice — leave one of them out")
        return self

    @property
    def plain(self) -> list[str]:
        """The floating addresses alone."""
        return [str(ip_interface(each.split()[0]).ip) for each in self.addresses]

    def state(self, gateway: str) -> str:
        """Where what all nodes have to know of a cluster is kept."""
        return f"{self.shared}/{STATE}/{gateway}"

    def lock_of(self, gateway: str) -> Lock:
        return self.lock or Lock(file=f"{self.state(gateway)}/lock")
