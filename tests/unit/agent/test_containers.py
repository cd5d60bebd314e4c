"""A node that is asked for all its containers: what it tells of them, and what it passes on from inside."""

import json
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from smbplan.drivers.agent import containers

READY = '{"ready": "m"}'


def test_what_a_node_tells_of_its_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "FILES", tmp_path)
    monkeypatch.setattr(containers, "RULES", f"{tmp_path}/{{}}.fw")
    monkeypatch.setattr(containers, "SOCKETS", tmp_path / "unix")
    (tmp_path / "unix").write_text(
        "Num RefCount Protocol Flags Type St Inode Path\n"
        "0000: 00000002 00000000 00010000 0001 01 20 @/var/lib/lxc/101/command\n"
        "0000: 00000002 00000000 00010000 0001 01 21 @/var/lib/lxc/1000/command_other\n"
    )
    (tmp_path / "100.conf").write_text("arch: amd64\n")
    (tmp_path / "101.conf").write_text("cores: 1\n")
    (tmp_path / "101.fw").write_text(
        "[OPTIONS]\nenable: 1\n\n[RULES]\n# none\n\nIN ACCEPT -p tcp\n|OUT DROP\n[IPSET x]\n10.0.0.1\n"
    )
    assert containers.listed({}) == {
        "100": {"text": "arch: amd64\n", "running": False, "rules": 0},
        "101": {"text": "cores: 1\n", "running": True, "rules": 2},
    }


def asked(*scripts: str) -> dict[str, str]:
    names = [f"c{number}" for number in range(len(scripts))]
    commands = {name: shlex.join(["sh", "-c", script]) for name, script in zip(names, scripts, strict=True)}
    lines = {name: json.dumps({"verb": "read", "of": name}) for name in names}
    return containers.asked({"commands": commands, "lines": lines, "agent": "agent\n"})


def test_each_answers_its_own_line() -> None:
    agent = f"read -r agent; echo '{READY}'; read -r line; echo \"$agent $line\"; exec sleep 60"
    began = time.monotonic()
    assert asked(agent, agent) == {
        "c0": 'agent {"verb": "read", "of": "c0"}\n',
        "c1": 'agent {"verb": "read", "of": "c1"}\n',
    }
    assert time.monotonic() - began < 10, "nobody waits for its end"


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "exec sleep 60",
        "yes '' | tr -d '\\n'",
        f"echo '{READY}'; yes | tr -d '\\n'",
        f"echo '{READY}'",
        "echo '{\"error\": {}}'; echo 1",
        "exec <&-; yes",
    ],
)
def test_who_does_not_answer_is_left_out(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "LATEST", 3.0)
    monkeypatch.setattr(containers, "LONGEST", 10_000)
    good = f"read -r agent; echo '{READY}'; read -r line; echo done"
    began = time.monotonic()
    assert asked(script, good) == {"c1": "done\n"}
    assert time.monotonic() - began < 30


def test_no_more_are_asked_at_a_time_than_the_node_can_bear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "AT_ONCE", 2)
    count = f"mkdir {tmp_path}/$$; ls {tmp_path} | wc -l; sleep 0.2; rmdir {tmp_path}/$$"
    answers: dict[str, Any] = asked(*[f"echo '{READY}'; echo $({count})"] * 6)
    assert max(int(answer) for answer in answers.values()) <= 2
