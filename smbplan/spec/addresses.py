"""The addresses of a guest: each by itself, and those of a site beside each other."""

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

if TYPE_CHECKING:
    from smbplan.spec.model import Site
    from smbplan.spec.proxmox import Network

Ip = IPv4Address | IPv6Address
Finding = tuple[tuple[str | int, ...], str, str]
EXAMPLES = {0: "192.0.2.1", 4: "192.0.2.10/24", 6: "2001:db8::10/64"}


def _ip(value: str, version: int = 0) -> Ip:
    example = EXAMPLES[version].partition("/")[0]
    try:
        found = ip_address("" if "%" in value else value)  # no zones
    except ValueError:
        known = f"IPv{version}" if version else "IP"
        raise ValueError(f"{value!r} is no {known} address — write one, such as {example}") from None
    if version not in (0, found.version):
        six = "6" if found.version == 6 else ""
        raise ValueError(f"{value!r} is an IPv{found.version} address — write it at address{six} or gateway{six}")
    return found


def _plain(version: int = 0) -> Callable[[str], str]:
    """An address alone."""

    def check(value: str) -> str:
        if "/" in value:
            raise ValueError(f"{value!r} has a prefix — write the address alone")
        _ip(value, version)
        return value

    return check


def _interface(version: int, *words: str) -> Callable[[str], str]:
    """An address with a prefix that Proxmox takes, or one of these words."""

    def check(value: str) -> str:
        if value in words:
            return value
        address, _, prefix = value.partition("/")
        length = _ip(address, version).max_prefixlen
        if not prefix:
            raise ValueError(f"{value!r} has no prefix — write it behind the address, such as {EXAMPLES[version]}")
        if not re.fullmatch(r"[1-9]\d{0,2}", prefix) or not 8 <= int(prefix) <= length:
            raise ValueError(f"/{prefix} is no prefix of a network — write one of 8 to {length}")
        return value

    return check


_SHAPES = {0: "[0-9A-Fa-f.:]+", 4: "[0-9.]+", 6: "[0-9A-Fa-f.:]+"}  # what an editor can tell
_OWN4 = Field(examples=[EXAMPLES[4], "dhcp"], json_schema_extra={"pattern": f"^(dhcp|{_SHAPES[4]}/[0-9]+)$"})
_OWN6 = Field(
    examples=[EXAMPLES[6], "dhcp", "auto"], json_schema_extra={"pattern": f"^(dhcp|auto|{_SHAPES[6]}/[0-9]+)$"}
)
Address = Annotated[str, AfterValidator(_plain()), Field(json_schema_extra={"pattern": f"^{_SHAPES[0]}$"})]
Address4 = Annotated[str, AfterValidator(_plain(4)), Field(json_schema_extra={"pattern": f"^{_SHAPES[4]}$"})]
Address6 = Annotated[str, AfterValidator(_plain(6)), Field(json_schema_extra={"pattern": f"^{_SHAPES[6]}$"})]
Interface4 = Annotated[str, AfterValidator(_interface(4, "dhcp")), _OWN4]
Interface6 = Annotated[str, AfterValidator(_interface(6, "dhcp", "auto")), _OWN6]


def check(site: "Site") -> Iterator[Finding]:
    """Routers that can't be reached, and addresses that are another gateway's."""
    hosts = {name: _host(gateway.host or name) for name, gateway in site.gateways.items() if not gateway.guest}
    taken = {found: name for name, found in hosts.items() if found}
    for name, gateway in site.gateways.items():
        if not gateway.guest:
            continue
        here = ("gateways", name, "network")
        for key, found, router in _static(gateway.network):
            if found.ip in taken:
                words = f"gateway {taken[found.ip]!r} has the address {found.ip} already"
                yield (*here, key), words, "write another one"
            taken.setdefault(found.ip, name)
            at = (*here, key.replace("address", "gateway"))
            if router == found.ip:
                yield at, f"{router} is the guest's own address", "write that of the network's router"
            elif (
                router and router not in found.network and found.network.num_addresses > 1 and not router.is_link_local
            ):
                yield at, f"{router} is outside of {found.network}, where {key} is", "write the router's address there"


def _static(network: "Network") -> Iterator[tuple[str, IPv4Interface | IPv6Interface, Ip | None]]:
    for key, address, router in (
        ("address", network.address, network.gateway),
        ("address6", network.address6, network.gateway6),
    ):
        if address and "/" in address:
            yield key, ip_interface(address), ip_address(router) if router else None


def _host(text: str) -> Ip | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
