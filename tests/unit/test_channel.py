"""The way into a container: lxc-attach, and pct exec only where nothing has run. Stubs for ssh, lxc-attach and pct."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smbplan.drivers import channel
from smbplan.drivers.channel import Channel
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import ChannelError, Unreachable
from smbplan.drivers.pve import qga
from smbplan.drivers.pve.client import Access, Client
from smbplan.drivers.pve.inside import Inside

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


READY = "read -r bundle; echo '{}'; "


@pytest.fixture
def peer(tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Channel]]:
    """A host with a script in place of the agent."""
    made: list[Channel] = []

    def peer(script: str) -> Channel:
        stub(tmp_path, "ssh", f"#!/bin/bash\n{script}\n")
        made.append(Channel(Endpoint("office", host="pve1")))
        return made[-1]

    def hangs(*_: object) -> None:
        pytest.fail("it hangs")

    monkeypatch.setattr(channel, "START_TIMEOUT", 1.0)
    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, 15)
    yield peer
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    for each in made:
        each.close()


@pytest.mark.parametrize("script", ["exec sleep 60", "read -r bundle; exec sleep 60", "exec cat /dev/zero"])
def test_a_host_whose_agent_never_starts_is_left(peer: Callable[[str], Channel], script: str) -> None:
    """The bundle is more than a pipe holds."""
    with pytest.raises(Unreachable, match="did not answer within 1 s"):
        peer(script).open()


@pytest.mark.parametrize("rest", ["exec sleep 60", "read -r request; exec sleep 60", "exec cat /dev/zero"])
def test_an_agent_that_never_reads_is_left(peer: Callable[[str], Channel], rest: str) -> None:
    with pytest.raises(ChannelError, match="did not answer within 1 s"):
        peer(READY + rest).request("facts", 1.0, words="x" * 2**18)


def test_an_agent_that_never_stops_talking_is_left(peer: Callable[[str], Channel]) -> None:
    slow = "read -r request; while printf ' '; do :; done"
    with pytest.raises(ChannelError, match="did not answer within 1 s"):
        peer(READY + slow).request("facts", 1.0)


def test_what_a_child_of_the_way_there_keeps_open_is_not_waited_for(peer: Callable[[str], Channel]) -> None:
    with pytest.raises(Unreachable, match="no way") as caught:
        peer("sleep 60 >&- & echo no way >&2; exit 1").open()
    assert caught.value.detail == "no way"


def test_an_answer_has_a_limit(peer: Callable[[str], Channel], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "LONGEST", 10_000)
    with pytest.raises(ChannelError, match="is longer than 10000 bytes"):
        peer(READY + "read -r request; exec cat /dev/zero").request("facts")
    answer = """printf '{"ok": "%5000d"}\\n' 7"""
    assert peer(f"{READY} read -r request; {answer}; read -r more").request("facts").endswith(" 7")


def test_an_answer_that_no_parser_takes_is_refused(peer: Callable[[str], Channel]) -> None:
    deep = "python3 -c 'print(\"[\" * 100_000)'"
    with pytest.raises(Unreachable):
        peer(f"read -r bundle; {deep}").open()
    with pytest.raises(ChannelError, match="lost the connection to office"):
        peer(f"{READY} read -r request; {deep}").request("facts")


def test_an_answer_in_parts_has_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qga, "execute", lambda *words, **more: qga.Done(0, "x" * 1000, ""))
    box = Inside(Endpoint("box", guest="box"), client=Client(Access("", "", "")), _folder="/run/x")
    with pytest.raises(ChannelError, match="box did not answer within 0 s"):
        box._exchange(b"{}\n", 0.2)
    monkeypatch.setattr(channel, "LONGEST", 10_000)
    with pytest.raises(ChannelError, match="is longer than 10000 bytes"):
        box._exchange(b"{}\n", 60.0)


def test_nothing_in_the_folder_where_somebody_works_becomes_part_of_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent is root, and that folder may be one in which anybody can put a base64.py."""
    (tmp_path / "base64.py").write_text("raise SystemExit('base64.py of somebody else')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    here = Channel(Endpoint("here", local=True))
    try:
        here.open()
    finally:
        here.close()


def test_one_that_is_asked_has_not_ended_and_nobody_waits_for_that(peer: Callable[[str], Channel]) -> None:
    """The signs of life to all other targets came after the answer, and their leases were lost meanwhile."""
    busy = peer(f"{READY}read -r request; sleep 1.5; echo '{{\"ok\": 1}}'; exec sleep 60")
    busy.open()
    asked = threading.Thread(target=busy.request, args=["known"])
    asked.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert not busy.ended and time.monotonic() - began < 0.5
    asked.join()
    assert not busy.ended
