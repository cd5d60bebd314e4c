"""Questions to the name servers of this host, without its resolver's patience. RFC 1035, [MS-ADTS] 6.3.2.3"""

from __future__ import annotations

import random
import re
import socket
import struct
import time
from pathlib import Path

from .core import read_text

RESOLVER = Path("/etc/resolv.conf")
TYPES = {"A": 1, "SOA": 6, "AAAA": 28, "SRV": 33}
INTERNET, RECURSE = 1, 0x0100
NO_ERROR, NO_SUCH_NAME = 0, 3
PATIENCE, TRIES = 1.5, 2  # seconds for one answer, and how often it is waited for
FRESH = 5.0  # seconds for which it is believed that a name server answers, or does not
HEARD: dict[str, tuple[float, bool]] = {}


def srv(realm: str, site: str = "") -> str:
    """Where DNS names the controllers, or those of a site. [MS-ADTS] 6.3.2.3"""
    return f"_ldap._tcp.{f'{site}._sites.' if site else ''}dc._msdcs.{realm}".lower()


def nameservers() -> list[str]:
    """resolv.conf(5)"""
    return re.findall(r"^\s*nameserver\s+(\S+)", read_text(RESOLVER) or "", re.M)


def query(server: str, name: str, type_: str) -> list[str] | None:
    """The targets of SRV records in their order, addresses, or the zone's name; None without an answer."""
    when, answers = HEARD.get(server, (0.0, True))
    if not answers and time.monotonic() < when + FRESH:
        return None
    for _ in range(TRIES):
        packet = _asked(server, name, type_)
        HEARD[server] = (time.monotonic(), packet is not None)
        if packet is not None:
            return _told(packet, type_)
    return None


def unanswered() -> bool:
    """Whether every name server of this host is silent. winbind, who waits longer, need not be asked then."""
    servers = nameservers()
    for server in servers:
        if time.monotonic() > HEARD.get(server, (-FRESH, True))[0] + FRESH:
            query(server, "_ldap._tcp", "SRV")
    return bool(servers) and not any(HEARD[server][1] for server in servers)


def _asked(server: str, name: str, type_: str) -> bytes | None:
    """The answer as it came; None for none."""
    number = random.randrange(1 << 16)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    question = labels + b"\0" + struct.pack(">HH", TYPES[type_], INTERNET)
    # With EDNS (RFC 6891) an answer may be longer than 512 bytes: a domain can have many controllers.
    packet = struct.pack(">6H", number, RECURSE, 1, 0, 0, 1) + question + b"\0" + struct.pack(">HHIH", 41, 4096, 0, 0)
    try:
        with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(PATIENCE)
            asking.connect((server, 53))
            asking.send(packet)
            answer = asking.recv(8192)
            while answer[:2] != packet[:2]:
                answer = asking.recv(8192)
            return answer
    except OSError:
        return None


def _told(packet: bytes, type_: str) -> list[str] | None:
    """None from a server that can't tell, such as one that forwards to another that is silent. RFC 1035, 4.1.1"""
    try:
        if packet[3] & 0x0F not in (NO_ERROR, NO_SUCH_NAME):
            return None
        at = _name(packet, 12)[1] + 4
        return _answers(packet, at, TYPES[type_])
    except (OSError, IndexError, struct.error, UnicodeDecodeError):
        return None


def _answers(packet: bytes, at: int, wanted: int) -> list[str]:
    """Behind the question. The targets of SRV records in their order, addresses, or whom other records belong to."""
    found = []
    for _ in range(struct.unpack_from(">H", packet, 6)[0]):
        owner, at = _name(packet, at)
        kind, _, _, length = struct.unpack_from(">HHIH", packet, at)
        at += 10
        if kind == wanted == TYPES["SRV"]:
            priority, weight = struct.unpack_from(">HH", packet, at)
            found.append((priority, -weight, _name(packet, at + 6)[0]))
        elif kind == wanted:
            family = {TYPES["A"]: socket.AF_INET, TYPES["AAAA"]: socket.AF_INET6}.get(kind)
            found.append((0, 0, socket.inet_ntop(family, packet[at : at + length]) if family else owner))
        at += length
    return [word for *_, word in sorted(found)]


def _name(packet: bytes, at: int) -> tuple[str, int]:
    """The name that begins there, and where the next thing does. RFC 1035, 4.1.4"""
    labels, end = [], 0
    while packet[at]:
        if packet[at] >= 0xC0:
            end = end or at + 2
            before, at = at, struct.unpack_from(">H", packet, at)[0] & 0x3FFF
            if at >= before:
                raise IndexError("a name that leads forward has no end")
            continue
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
        at += 1 + packet[at]
    return ".".join(labels), end or at + 1
