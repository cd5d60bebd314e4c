"""Proxmox VE: how to reach a cluster, and what a container or virtual machine on it is."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from smbplan.spec.addresses import Address, Address4, Address6, Interface4, Interface6
from smbplan.spec.base import Definition, Secret, Ssh
from smbplan.spec.types import (
    DOMAIN,
    FINGERPRINT,
    GUEST_TAG,
    NAME,
    POOL,
    STARTUP,
    STORAGE,
    TEMPLATE,
    TOKEN,
    Endpoint,
    Memory,
    SshKey,
    Text,
    Whole,
)


class Token(Definition):
    """An API token: `pveum user token add` prints both parts."""

    id: Annotated[Text, Field(pattern=TOKEN)] = Field(description="user@realm!name")
    secret: Secret


class Proxmox(Definition):
    """A cluster, by the API of one of its nodes and by SSH to all of them. `proxmox: lab` is that of the lab here."""

    endpoint: Endpoint = Field(description="https://host:8006 of any node")
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
    """The guest's interface eth0."""

    bridge: Annotated[Text, Field(pattern=NAME)] = "vmbr0"
    vlan: int | None = Field(None, ge=1, le=4094)
    address: Interface4 | None = Field("dhcp", description="`dhcp`, or an address with its prefix")
    gateway: Address4 | None = Field(None, description="in the subnet of the address")
    address6: Interface6 | None = Field(None, description="`auto`, `dhcp`, or an address with its prefix")
    gateway6: Address6 | None = Field(None, description="in the subnet of address6, or link-local")
    mtu: int | None = Field(None, ge=576, le=65535)
    firewall: bool = False

    @model_validator(mode="after")
    def _gateway_with_address(self) -> Self:
        for gateway, address in ((self.gateway, self.address), (self.gateway6, self.address6)):
            if gateway and (address is None or address in ("dhcp", "auto")):
                raise ValueError("a gateway goes with a static address — leave it out, or write the address")
        return self


class Guest(Definition):
    """The keys of a gateway with `mode: lxc`, which is always unprivileged, or `mode: vm`."""

    node: Annotated[Text, Field(pattern=NAME)] | None = Field(
        None, description="where it is created; where it has migrated to since is where it stays"
    )
    template: Annotated[Text, Field(pattern=TEMPLATE)] | None = Field(
        None,
        description="of a container storage:vztmpl/file; of a VM a template's name or id, the newest with our mark "
        "when absent",
    )
    vmid: int | None = Field(None, ge=100, le=999999999, description="the next free one when absent")
    cores: int = Field(2, ge=1, le=8192)
    memory: Memory = Field(512 * 2**20, description="the limit, in whole MiB (rounded up); 512MiB when absent")
    swap: Whole | Literal[0] = Field(0, description="of a container, in whole MiB (rounded up)")
    balloon: Memory | None = Field(
        None, description="of a VM: what it keeps when its node needs memory; all of it when absent"
    )
    clone: Literal["full", "linked"] = Field(
        "full", description="of a VM: with disks of its own, or with what differs from its template's"
    )
    ssh_keys: list[SshKey] = Field([], description="public keys that root of a VM is logged in with, by cloud-init")
    boot_timeout: int = Field(300, ge=5, le=3600, description="seconds that a VM has to boot, until it answers")
    disk: Whole = Field(
        4 * 2**30, description="the root disk, in whole MiB (rounded up); it can grow, and never shrinks"
    )
    storage: Annotated[Text, Field(pattern=STORAGE)] = Field("local", description="where the root disk lies")
    network: Network = Network()
    nameserver: Address | None = None
    searchdomain: Annotated[Text, Field(pattern=DOMAIN)] | None = None
    onboot: bool = True
    startup: Annotated[Text, Field(pattern=STARTUP)] | None = Field(
        None, description="order=1,up=30,down=60: its place among the guests of its node, and seconds to wait then"
    )
    tags: list[Annotated[Text, Field(pattern=GUEST_TAG)]] = []
    pool: Annotated[Text, Field(pattern=POOL)] | None = Field(
        None, description="the pool that it is in; it must exist, and without this key it is in none"
    )
    protection: bool = Field(False, description="Proxmox then refuses to remove it or its volumes")
    updates: Literal["unattended", "manual"] = Field(
        "unattended", description="security updates inside: installed every day, or only shown as pending"
    )
