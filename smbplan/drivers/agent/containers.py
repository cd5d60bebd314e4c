"""The containers of a node of Proxmox VE, all at once: what is written of them, and what is asked inside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from .core import read_text

FILES, RULES = Path("/etc/pve/lxc"), "/etc/pve/firewall/{}.fw"
SOCKETS = Path("/proc/net/unix")  # of each that runs, as PVE::LXC::list_active_containers looks for them
AT_ONCE = (os.cpu_count() or 1) + 2
LONGEST = 2**23  # bytes of what one answers
LATEST = 120.0  # seconds that one may take


def listed(request: dict[str, Any]) -> dict[str, Any]:
    """{id: {text: its file, running, rules: of its firewall}}"""
    running = set(re.findall(r"@/\S*/(\d+)/command$", read_text(SOCKETS) or "", re.M))
    texts = {path.stem: read_text(path) for path in FILES.glob("*.conf")}
    return {
        name: {"text": text, "running": name in running, "rules": _rules(name)}
        for name, text in texts.items()
        if text is not None
    }


def _rules(name: str) -> int:
    """How many: lines of one section. PVE::Firewall"""
    section = re.search(r"(?mis)^\[rules\][^\n]*\n(.*?)(?=^\[|\Z)", read_text(Path(RULES.format(name))) or "")
    return len(re.findall(r"(?m)^\s*[^\s#]", section[1])) if section else 0


def asked(request: dict[str, Any]) -> dict[str, str]:
    """What an agent in each answers to its line, as text; nothing for one that does not.

    `commands` start one by a shell, `agent` is its source, `lines` are the requests; all by the same names.
    """
    from concurrent.futures import ThreadPoolExecutor  # each connection would wait for it

    agent = request["agent"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = {
            name: pool.submit(_answer, request["commands"][name], agent, line)
            for name, line in request["lines"].items()
        }
        return {name: answer for name, each in waiting.items() if (answer := each.result())}


def _answer(command: str, agent: str, line: str) -> str:
    """A container may never read, never end, or talk without end."""
    process = subprocess.Popen(
        ["sh", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin and process.stdout
    end = threading.Timer(LATEST, _kill, [process])
    end.start()
    try:
        process.stdin.write(f"{agent}{line}\n".encode())
        process.stdin.flush()
        ready, answer = process.stdout.readline(LONGEST), process.stdout.readline(LONGEST)
    except OSError:
        return ""
    finally:
        end.cancel()
        _kill(process)
        with suppress(OSError):
            process.communicate()
    return answer.decode("utf-8", "replace") if b'"ready"' in ready and answer.endswith(b"\n") else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
