"""The way into a container: lxc-attach, and pct exec only where nothing has run. Stubs for ssh, lxc-attach and pct."""

import os
import signal
import time
from pathlib import Path

import pytest

from smbplan.drivers.channel import Channel, Endpoint
from smbplan.drivers.errors import Unreachable

SSH = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"""
ENTERS = """#!/bin/sh
echo {name} "$@" >> "$CALLS"
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""
ATTACHES = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
echo attached >> "$CALLS"
exec 3<&0
"$@" <&3 &
echo $! > "$CALLS.pid"
wait $!
"""
FAILS = """#!/bin/sh
echo lxc-attach >> "$CALLS"
echo "lxc-attach: 101: Failed to get init pid" >&2
exit 1
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    stub(tmp_path, "ssh", SSH)
    stub(tmp_path, "pct", ENTERS.format(name="pct"))
    return tmp_path / "calls"


def stub(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def asked(sudo: bool = False) -> Channel:
    channel = Channel(Endpoint("office", host="pve1", container=101, sudo=sudo))
    assert channel.request("facts")["hostname"] == os.uname().nodename
    assert channel.counts.round_trips == 1 and channel.counts.connections == 1
    return channel


def test_lxc_attach_is_all_that_runs_where_it_works(calls: Path, tmp_path: Path) -> None:
    stub(tmp_path, "lxc-attach", ENTERS.format(name="lxc-attach"))
    asked().close()
    (line,) = calls.read_text().splitlines()
    assert line.startswith("lxc-attach -n 101 --clear-env -- sh -c env PATH=")


@pytest.mark.parametrize("broken", [FAILS, None])
def test_pct_exec_is_tried_where_lxc_attach_fails_or_is_not_there(
    calls: Path, tmp_path: Path, broken: str | None
) -> None:
    stub(tmp_path, "lxc-attach", broken or "#!/bin/sh\nexit 127\n")
    asked().close()
    assert calls.read_text().splitlines()[-1].startswith("pct exec 101 --keep-env 0 -- sh -c env PATH=")


def test_an_agent_that_ended_between_requests_is_started_anew_in_the_same_way(calls: Path, tmp_path: Path) -> None:
    stub(tmp_path, "lxc-attach", ATTACHES)
    channel = asked()
    (child,) = Path(f"/proc/{Path(f'{calls}.pid').read_text().strip()}/task").glob("*/children")
    os.kill(int(child.read_text().split()[0]), signal.SIGKILL)
    time.sleep(0.2)
    assert channel.request("facts", timeout=10)["machine"]
    assert calls.read_text() == "attached\nattached\n"


def test_what_neither_can_do_is_told(calls: Path, tmp_path: Path) -> None:
    stub(tmp_path, "lxc-attach", FAILS)
    stub(tmp_path, "pct", "#!/bin/sh\necho \"container '101' not running!\" >&2\nexit 255\n")
    with pytest.raises(Unreachable, match="container '101' not running"):
        asked()
