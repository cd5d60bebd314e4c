"""What name servers tell, and what is believed of those that tell nothing."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from smbplan.drivers.agent import clock, controllers, dns
from smbplan.drivers.agent.core import Refused

HEAD = struct.pack(">6H", 7, 0x8180, 1, 0, 0, 0)
QUESTION = b"\x04corp\x04test\0\0\x21\0\x01"
OWNER = b"\xc0\x0c"  # the question's name


def answer(*records: bytes) -> tuple[bytes, int]:
    return HEAD[:6] + struct.pack(">H", len(records)) + HEAD[8:] + QUESTION + b"".join(records), 12 + len(QUESTION)


def record(kind: str, data: bytes) -> bytes:
    return OWNER + struct.pack(">HHIH", dns.TYPES[kind], 1, 60, len(data)) + data


def srv(priority: int, weight: int, target: bytes) -> bytes:
    return record("SRV", struct.pack(">3H", priority, weight, 389) + target)


def test_controllers_come_in_the_order_of_their_records() -> None:
    found = answer(
        srv(1, 9, b"\x03dc3" + OWNER), srv(0, 1, b"\x03dc2" + OWNER), srv(0, 100, b"\x03dc1\x04corp\x04test\0")
    )
    assert dns._answers(*found, dns.TYPES["SRV"]) == ["dc1.corp.test", "dc2.corp.test", "dc3.corp.test"]
    assert dns._answers(*found, dns.TYPES["A"]) == []


def test_addresses_and_zones() -> None:
    assert dns._answers(*answer(record("A", b"\xc0\0\2\x35")), dns.TYPES["A"]) == ["192.0.2.53"]
    assert dns._answers(*answer(record("SOA", b"\0\0")), dns.TYPES["SOA"]) == ["corp.test"]


def test_who_can_not_tell_says_nothing_about_the_name() -> None:
    packet, _ = answer()
    assert dns._told(packet, "SRV") == [], "there are none"
    assert dns._told(packet[:3] + b"\x83" + packet[4:], "SRV") == [], "there is no such name"
    assert dns._told(packet[:3] + b"\x82" + packet[4:], "SRV") is None, "SERVFAIL"
    assert dns._told(packet[:9], "SRV") is None


@given(some.binary(min_size=12, max_size=200), some.sampled_from(sorted(dns.TYPES)))
def test_nothing_that_is_told_does_harm(packet: bytes, kind: str) -> None:
    try:
        found = dns._answers(packet, 12, dns.TYPES[kind])
    except (IndexError, struct.error, UnicodeDecodeError, OSError):
        return  # what a question takes for no answer
    assert all(isinstance(word, str) for word in found)


def test_a_silent_server_is_not_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def silent(server: str, name: str, type_: str) -> None:
        asked.append(name)

    monkeypatch.setattr(dns, "_asked", silent)
    monkeypatch.setattr(dns, "nameservers", lambda: ["192.0.2.1"])
    monkeypatch.setattr(dns, "HEARD", {})
    assert dns.query("192.0.2.1", "one", "A") is None
    assert (dns.query("192.0.2.1", "two", "A"), dns.unanswered(), asked) == (None, True, ["one", "one"])
    monkeypatch.setattr(dns, "nameservers", list)
    assert not dns.unanswered(), "who has no name server is not silent"


SITE = {"realm": "CORP.TEST", "nameservers": ["192.0.2.1"]}


def test_the_controllers_of_a_site_are_those_that_dns_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, path, named = (
        controllers.Controllers(),
        str(tmp_path / "controllers.conf"),
        ["dc1.corp.test", "dc2.corp.test"],
    )
    monkeypatch.setattr(dns, "query", lambda server, name, type_: named if "berlin._sites." in name else None)
    assert kind.get(path, SITE) is None
    kind.set(path, None, {"ad_site": "Berlin", "servers": None, "current": True}, SITE)
    state = {"ad_site": "Berlin", "servers": [*named], "current": True}
    assert kind.get(path, SITE) == state
    named.remove("dc2.corp.test")
    assert kind.get(path, SITE) == {**state, "current": False}
    with pytest.raises(Refused, match="DNS names no controller in the site Paris"):
        kind.set(path, state, {"ad_site": "Paris", "servers": None, "current": True}, SITE)
    kind.set(path, state, None, {})
    assert kind.get(path, SITE) is None


@pytest.mark.parametrize(
    ("sources", "ok", "found"),
    [
        ("^,?,dc1.test,0,6,1,1,0,0,0\n^,*,corp.test,8,6,1,1,0,0,0\n", True, "follows corp.test"),
        ("^,*,pool.test,8,6,1,1,0,0,0\n", False, "the clock follows pool.test, and no controller"),
        ("^,?,corp.test,0,6,1,1,0,0,0\n", False, "no source of time answers"),
    ],
)
def test_the_check_says_what_the_clock_follows(
    sources: str, ok: bool, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_sources", lambda: [line.split(",") for line in sources.splitlines()])
    monkeypatch.setattr(clock, "CHRONY", (tmp_path, tmp_path / "sources"))
    row = clock.row(["corp.test"])
    assert (row["ok"], row["found"]) == (ok, found)


@pytest.mark.parametrize("daemon", ["CHRONY", "TIMESYNCD"])
def test_the_daemon_that_is_there_is_told(daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHRONY", "TIMESYNCD"):
        monkeypatch.setattr(clock, name, (tmp_path / name, tmp_path / f"{name}.conf"))
    monkeypatch.setattr(clock, "run", lambda argv: "")
    kind = clock.Clock()
    with pytest.raises(Refused, match="no daemon that keeps its clock"):
        kind.set("servers", {"servers": []}, {"servers": ["corp.test"]}, {})
    (tmp_path / daemon).touch()
    kind.set("servers", {"servers": []}, {"servers": ["corp.test"]}, {})
    assert kind.get("servers", {}) == {"servers": ["corp.test"]}
    kind.set("servers", {"servers": ["corp.test"]}, {"servers": []}, {})
    assert kind.get("servers", {}) == {"servers": []} and not list(tmp_path.glob("*.conf"))
