"""Proxmox VE: how to reach a cluster, and what a container on it is."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from smbplan.spec.base import Definition, Secret, Ssh
from smbplan.spec.types import (
    ADDRESS,
    DOMAIN,
    ENDPOINT,
    FINGERPRINT,
    GUEST_TAG,
    NAME,
    POOL,
    STORAGE,
    TEMPLATE,
    TOKEN,
    Memory,
    Text,
    Whole,
)


class Token(Definition):
    """An API token: `pveum user token add` prints both parts."""

    id: Annotated[Text, Field(pattern=TOKEN)] = Field(description="user@realm!name")
    secret: Secret


class Proxmox(Definition):
    """A cluster, by the API of one of its nodes and by SSH to all of them. `proxmox: lab` is that of the lab here."""

    endpoint: Annotated[Text, Field(pattern=ENDPOINT)] = Field(description="https://host:8006 of any node")
    token: Token
    fingerprint: Annotated[Text, Field(pattern=FINGERPRINT)] | None = Field(
        None, description="SHA-256 of the node's certificate, as `pvenode cert info` shows it"
    )
    ca_file: Text | None = Field(None, description="certificate of the authority that signed the node's")
    verify: bool = Field(True, description="false: believe any certificate")
    ssh: Ssh = Field(Ssh(), description="how SSH reaches the nodes; root, for what no token may do")

    @model_validator(mode="after")
    def _one_trust(self) -> Self:
        if sum((self.fingerprint is not None, self.ca_file is not None, not self.verify)) > 1:
            raise ValueError("one certificate is trusted in one way — write one of fingerprint, ca_file, verify: false")
        return self


class Network(Definition):
    """The container's interface eth0."""

    bridge: Annotated[Text, Field(pattern=NAME)] = "vmbr0"
    vlan: int | None = Field(None, ge=1, le=4094)
    address: Literal["dhcp"] | Annotated[Text, Field(pattern=ADDRESS)] | None = Field(
        "dhcp", description="with its prefix, such as 192.0.2.10/24"
    )
    gateway: Annotated[Text, Field(pattern=ADDRESS)] | None = None
    address6: Literal["dhcp", "auto"] | Annotated[Text, Field(pattern=ADDRESS)] | None = None
    gateway6: Annotated[Text, Field(pattern=ADDRESS)] | None = None
    mtu: int | None = Field(None, ge=576, le=65535)
    firewall: bool = False

    @model_validator(mode="after")
    def _gateway_with_address(self) -> Self:
        for gateway, address in ((self.gateway, self.address), (self.gateway6, self.address6)):
            if gateway and (address is None or address in ("dhcp", "auto")):
                raise ValueError("a gateway goes with a static address — leave it out, or write the address")
            if gateway and "/" in gateway:
                raise ValueError(f"{gateway!r} is a network — write the gateway's address alone")
        return self


class Container(Definition):
    """The keys of a gateway with `mode: lxc`. It is always unprivileged."""

    node: Annotated[Text, Field(pattern=NAME)] | None = Field(
        None, description="where it is created; where it has migrated to since is where it stays"
    )
    template: Annotated[Text, Field(pattern=TEMPLATE)] | None = Field(None, description="storage:vztmpl/file")
    vmid: int | None = Field(None, ge=100, le=999999999, description="the next free one when absent")
    cores: int = Field(2, ge=1, le=8192)
    memory: Memory = Field(512 * 2**20, description="the limit, in whole MiB (rounded up); 512MiB when absent")
    swap: Whole | Literal[0] = Field(0, description="in whole MiB (rounded up)")
    disk: Whole = Field(
        4 * 2**30, description="the root disk, in whole MiB (rounded up); it can grow, and never shrinks"
    )
    storage: Annotated[Text, Field(pattern=STORAGE)] = Field("local", description="where the root disk lies")
    network: Network = Network()
    nameserver: Annotated[Text, Field(pattern=ADDRESS)] | None = None
    searchdomain: Annotated[Text, Field(pattern=DOMAIN)] | None = None
    onboot: bool = True
    startup: Annotated[Text, Field(pattern=r"^(order=\d+)?(,?up=\d+)?(,?down=\d+)?$")] | None = None
    tags: list[Annotated[Text, Field(pattern=GUEST_TAG)]] = []
    pool: Annotated[Text, Field(pattern=POOL)] | None = Field(
        None, description="the pool that it is in; it must exist, and without this key it is in none"
    )
    protection: bool = Field(False, description="Proxmox then refuses to remove it or its volumes")
    updates: Literal["unattended", "manual"] = Field(
        "unattended", description="security updates inside: installed every day, or only shown as pending"
    )
