"""Formats of single values, in the words the real server refuses them with (recorded where a recording has one)."""

import ipaddress
import re
from collections.abc import Callable, Sequence

TAG = re.compile(r"[a-z0-9_][a-z0-9_\-+.]*", re.IGNORECASE)
CONFIG_ID = re.compile(r"[a-z][a-z0-9_-]+", re.IGNORECASE)
DNS_LABEL = r"([a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?)"
DNS_NAME = re.compile(rf"{DNS_LABEL}(\.{DNS_LABEL})*")
SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT])?")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SSH_KEY = re.compile(r"(ssh-(rsa|dss|ed25519)|ecdsa-sha2-\S+|sk-\S+) [A-Za-z0-9+/]+={0,2}( .*)?")
LIST = re.compile(r"[,;\s\0]+")


def split_list(text: str) -> list[str]:
    """A list as PVE takes it: separated by commas, semicolons, blanks."""
    return [part for part in LIST.split(text) if part]


def parse_size(text: str) -> int:
    """`2G` in bytes."""
    match = SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"unable to parse size '{text}'")
    return int(float(match[1]) * UNITS.get(match[2] or "", 1))


def print_size(size: int) -> str:
    """Bytes in the largest unit that divides them."""
    for unit in "GMK":
        if size and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return str(size)


def _matching(pattern: str | re.Pattern[str], complaint: str) -> Callable[[str], None]:
    compiled = re.compile(pattern)

    def check(value: str) -> None:
        if not compiled.fullmatch(value):
            raise ValueError(complaint.format(value))

    return check


def _ip(version: int | None, complaint: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        try:
            address = ipaddress.ip_address(value.partition("%")[0])
        except ValueError:
            raise ValueError(complaint) from None
        if version and address.version != version:
            raise ValueError(complaint)

    return check


def _interface(version: int, words: Sequence[str]) -> Callable[[str], None]:
    complaint = f"value does not look like a valid ipv{version} network configuration"

    def check(value: str) -> None:
        if value in words:
            return
        try:
            if "/" not in value or ipaddress.ip_interface(value).version != version:
                raise ValueError
        except ValueError:
            raise ValueError(complaint) from None

    return check


def _tags(value: str) -> None:
    if any(not TAG.fullmatch(tag) for tag in split_list(value)):
        raise ValueError("invalid characters in tag")


def _pool(value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9.\-_]+(/[A-Za-z0-9.\-_]+){0,2}", value):
        raise ValueError(f"pool name '{value}' contains invalid characters")


def _size(value: str) -> None:
    parse_size(value)


def _urlencoded(value: str) -> None:
    if not re.fullmatch(r"[-%a-zA-Z0-9_.!~*'()]*", value):
        raise ValueError(f"invalid urlencoded string: {value}")


def _shared_path(value: str) -> None:
    if not re.match(r"/[^;,=()]+", value):
        complaint = "Value does not look like a valid absolute path."
        raise ValueError(f"{complaint} These symbols are currently not allowed in path: ;,=()")


def _hotplug(value: str) -> None:
    known = ("network", "disk", "cpu", "memory", "usb", "cloudinit")
    for name in split_list(value):
        if name not in ("0", "1") and name not in known:
            raise ValueError(f"unknown hotplug feature '{name}'")


def check_ssh_keys(text: str) -> None:
    """ValueError unless each line is a public key."""
    if any(line.strip() and not SSH_KEY.fullmatch(line.strip()) for line in text.splitlines()):
        raise ValueError("SSH public key validation error")


def _calendar(value: str) -> None:
    from smbplan.lab.pve import calendar

    try:
        calendar.parse(value)
    except ValueError:
        raise ValueError(f"invalid calendar event '{value}' - unable to parse calendar event '{value}'\n") from None


def _listed(name: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        for part in split_list(value):
            CHECKS[name](part)

    return check


CHECKS: dict[str, Callable[[str], None]] = {
    "vmid": _matching(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
    "dns-name": _matching(DNS_NAME, "value does not look like a valid DNS name"),
    "address": _ip(None, "value does not look like a valid IP address"),
    "ipv4": _ip(4, "value does not look like a valid ipv4 address"),
    "ipv6": _ip(6, "value does not look like a valid ipv6 address"),
    "ipv4-config": _interface(4, ("dhcp", "manual")),
    "ipv6-config": _interface(6, ("auto", "dhcp", "manual")),
    "mac": _matching(
        r"(?i)[a-f0-9][02468ace](:[a-f0-9]{2}){5}", "value does not look like a valid unicast MAC address"
    ),
    "size": _size,
    "tags": _tags,
    "pool": _pool,
    "calendar": _calendar,
    "node": _matching(DNS_LABEL, "value does not look like a valid node name"),
    "config-id": _matching(CONFIG_ID, "invalid configuration ID '{}'"),
    "storage-id": _matching(r"(?i)[a-z][a-z0-9\-_.]*[a-z0-9]", "storage ID '{}' contains illegal characters"),
    "user-id": _matching(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+", "value '{}' does not look like a valid user name"),
    "token-id": _matching(
        r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]+", "value '{}' does not look like a valid token ID"
    ),
    "role-id": _matching(r"[A-Za-z0-9.\-_]+", "role ID '{}' contains invalid characters"),
    "group-id": _matching(r"[A-Za-z0-9.\-_]+", "group name '{}' contains invalid characters"),
    "volume-id": _matching(r"[^:\s]+:.+", "unable to parse volume ID '{}'"),
    "startup": _matching(
        r"(order=)?\d+(,(up|down)=\d+)*|(up|down)=\d+(,(up|down)=\d+)*", "unable to parse startup options"
    ),
    "timezone": _matching(r"host|[A-Za-z0-9_+\-/]+", "invalid time zone '{}'"),
    "absolute-path": _matching(r"/.*", "value '{}' is not an absolute path"),
    "drive": _matching(r"none|cdrom|cloudinit|/.+|\d+(\.\d+)?|[^:\s]+:.+", "unable to parse volume ID '{}'"),
    "source": _matching(r"/.+|[^:\s]+:.+", "unable to parse volume ID '{}'"),
    "urlencoded": _urlencoded,
    "shared-path": _shared_path,
    "hotplug": _hotplug,
}
CHECKS["vmid-list"] = _listed("vmid")
CHECKS["address-list"] = _listed("address")
CHECKS["dns-name-list"] = _listed("dns-name")
CHECKS["config-id-list"] = _listed("config-id")
CHECKS["storage-id-list"] = _listed("storage-id")
CHECKS["user-id-list"] = _listed("user-id")
CHECKS["token-id-list"] = _listed("token-id")
CHECKS["role-id-list"] = _listed("role-id")
CHECKS["group-id-list"] = _listed("group-id")


def check(name: str, value: str) -> None:
    """Raise ValueError with the server's text if the value isn't of the format."""
    CHECKS[name](value)
