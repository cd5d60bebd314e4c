"""Hosts are connected to while the rest is loaded: those alone, and in the way in which they are connected to later."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smbplan import early, templates
from smbplan.app import validate
from smbplan.drivers import ahead
from smbplan.drivers.channel import Channel
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Unreachable
from smbplan.observe import endpoints
from smbplan.spec import hosts
from smbplan.spec.base import Ssh
from smbplan.spec.source import Source

SSH = """#!/bin/sh
echo ssh >> "$CALLS"
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"""
LINE = b"import sys\n"
SITE = """
version: 1
site: s
defaults: {gateway: {ssh: {user: admin, sudo: true, port: 2222}}}
gateways: {files: {host: 192.0.2.1}, vault: {ssh: {identity: ~/key}}, here: {connection: local, ssh: {}}}
"""


@pytest.fixture(autouse=True)
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What ssh was called for, which enters nothing here."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ssh").write_text(SSH)
    (tmp_path / "bin" / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    yield tmp_path / "calls"
    ahead._drop()


def test_a_connection_is_used_that_was_made_before(tmp_path: Path, calls: Path) -> None:
    (tmp_path / "site.yaml").write_text("version: 1\nsite: s\ngateways: {files: {host: 192.0.2.1}}\n")
    source = early.definitions(tmp_path / "site.yaml")
    assert isinstance(source, Source)
    (at,) = endpoints(validate(source).site).values()
    one, other = Channel(at), Channel(at)
    for each in (one, other):
        each.open()
    assert one._process is not other._process
    assert calls.read_text() == "ssh\n" * 2, "one that was there, and one that was not"
    for each in (one, other):
        each.close()


@pytest.mark.parametrize("text", [SITE, templates.data("examples/quickstart/site.yaml").read_text()])
def test_it_is_the_way_that_checked_definitions_have(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.yaml").write_text(text)
    source = early.definitions(tmp_path / "site.yaml")
    assert isinstance(source, Source)
    plain = [gateway for gateway in validate(source).site.gateways.values() if gateway.mode == "native"]
    ssh = sum(gateway.connection == "ssh" for gateway in plain)
    commands = {tuple(at.command()) for at in endpoints(validate(source).site).values() if not at.api}
    assert ahead._WAITING.keys() <= commands and len(ahead._WAITING) == ssh > 0


@pytest.mark.parametrize(
    ("gateway", "way"),
    [
        ({"host": "192.0.2.1", "ssh": {"user": "admin"}}, {"host": "192.0.2.1", "user": "admin"}),
        (None, None),
        ({}, {"host": "files"}),
        ({"host": "-oProxyCommand=id"}, None),
        ({"host": "a b"}, None),
        ({"host": 7}, None),
        ({"ssh": {"port": True}}, None),
        ({"ssh": {"port": "22"}}, None),
        ({"ssh": {"command": "id"}}, None),
        ({"ssh": {"user": ["root"]}}, None),
        ({"ssh": "root"}, None),
        ({"host": "192.0.2.1", "ssh": {"host": "192.0.2.2"}}, None),
        ({"ssh": {7: "root"}}, None),
        ({"mode": "lxc"}, None),
        ({"connection": "local"}, None),
        ({"nodes": {"n1": {}}}, None),
        ("files", None),
    ],
)
def test_what_is_no_host_or_looks_wrong_is_left_out(gateway: Any, way: Any) -> None:
    assert list(hosts.plain({"gateways": {"files": gateway}})) == ([("files", way)] if way else [])
    assert list(hosts.plain({"gateways": [gateway]})) == list(hosts.plain({"gateways": gateway and {}})) == []


def test_it_knows_the_keys_that_definitions_have() -> None:
    assert hosts.SSH.keys() == Ssh.model_fields.keys()


def test_what_can_not_be_read_connects_to_nothing(tmp_path: Path, calls: Path) -> None:
    (tmp_path / "site.yaml").write_text("gateways: {files: {host: 192.0.2.1}\n")
    assert early.definitions(tmp_path) == tmp_path
    assert not calls.exists()


@pytest.mark.parametrize("key", ["identity", "config"])
def test_a_home_folder_that_nobody_has_is_told_by_who_connects(tmp_path: Path, calls: Path, key: str) -> None:
    """It was called a bug in smbplan."""
    ssh = f"{{{key}: ~nosuchuser/x}}"
    (tmp_path / "site.yaml").write_text(f"version: 1\nsite: s\ngateways: {{files: {{host: 192.0.2.1, ssh: {ssh}}}}}\n")
    source = early.definitions(tmp_path / "site.yaml")
    assert isinstance(source, Source) and not calls.exists()
    (at,) = endpoints(validate(source).site).values()
    with pytest.raises(Unreachable, match="files: no home folder is known for ~nosuchuser") as caught:
        Channel(at).open()
    assert caught.value.hint == f"correct ssh.{key}"


def test_whatever_goes_wrong_ahead_is_left_to_who_connects_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("ahead")

    (tmp_path / "site.yaml").write_text(SITE)
    monkeypatch.setattr(ahead, "begin", broken)
    assert isinstance(early.definitions(tmp_path / "site.yaml"), Source)


def test_what_nobody_takes_ends() -> None:
    command = Endpoint("files", host="192.0.2.1").command()
    ahead.begin([command, command], lambda: LINE)
    ((process, given),) = ahead._WAITING.values()
    assert given == len(LINE)
    ahead._drop()
    assert process.poll() is not None and ahead.taken(command) is None


def test_where_there_is_no_ssh_nothing_is_said_of_that_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    ahead.begin([Endpoint("files").command()], lambda: LINE)
    assert ahead.taken(Endpoint("files").command()) is None


COMMAND = """
import sys
from smbplan.cli import main
from smbplan.drivers import ahead
ahead.begin = lambda commands, line: print([*commands][0][-2], "pydantic" in sys.modules)
main.main(sys.argv[1:])
"""


def begun(*argv: str) -> list[str]:
    """Whom a command connects to, and whether pydantic was loaded by then."""
    done = subprocess.run([sys.executable, "-c", COMMAND, *argv], capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if line.endswith(("True", "False"))]


@pytest.mark.parametrize(
    "argv",
    [
        ["plan", "--target", "share.a", "SITE", "--out", "here.plan"],
        ["apply", "--yes", "--parallelism", "2", "SITE"],
        ["drift", "SITE", "--format", "json"],
        ["destroy", "--allow=many-deletes", "--", "SITE"],
    ],
)
def test_it_connects_before_the_command_line_is_checked_for_which_pydantic_is_loaded(
    tmp_path: Path, argv: list[str]
) -> None:
    (tmp_path / "site.yaml").write_text("version: 1\nsite: s\ngateways: {files: {host: 192.0.2.1}}\n")
    assert begun(*(str(tmp_path) if word == "SITE" else word for word in argv)) == ["192.0.2.1 False"]


@pytest.mark.parametrize(
    "argv", [["plan", "SITE", "--help"], ["plan", "--nothing", "SITE"], ["validate", "SITE"], ["apply", "PLAN"], []]
)
def test_a_command_that_needs_no_host_or_has_a_wrong_option_connects_to_none(tmp_path: Path, argv: list[str]) -> None:
    (tmp_path / "site.yaml").write_text("version: 1\nsite: s\ngateways: {files: {host: 192.0.2.1}}\n")
    (tmp_path / "a.plan").write_text("gateways: {files: {host: 192.0.2.1}}\n")
    words = {"SITE": str(tmp_path), "PLAN": str(tmp_path / "a.plan")}
    assert begun(*(words.get(word, word) for word in argv)) == []


def test_definitions_are_read_once_and_anew_for_who_asks_later(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("version: 1\nsite: s\n")
    early.begin(tmp_path)
    (tmp_path / "site.yaml").write_text("version: 1\nsite: later\n")
    first, second = early.definitions(tmp_path), early.definitions(tmp_path)
    assert isinstance(first, Source) and isinstance(second, Source)
    assert [first.data["site"], second.data["site"]] == ["s", "later"]


def test_what_nobody_takes_holds_nobody_up(tmp_path: Path) -> None:
    """A command that ssh has started may hold its streams open for long, such as a ProxyCommand."""
    (tmp_path / "bin" / "ssh").write_text('#!/bin/sh\nsleep 30 &\necho $! > "$CALLS"\nwait\n')
    (tmp_path / "site.yaml").write_text("version: 1\nsite: s\ngateways: {files: {host: 192.0.2.1}}\n")
    early.definitions(tmp_path)
    while not (tmp_path / "calls").exists() or not (tmp_path / "calls").read_text():
        time.sleep(0.01)
    began = time.monotonic()
    ahead._drop()
    assert time.monotonic() - began < 10
    left = Path(f"/proc/{(tmp_path / 'calls').read_text().strip()}/stat")
    while left.exists() and left.read_text().split()[2] != "Z":
        assert time.monotonic() - began < 10
