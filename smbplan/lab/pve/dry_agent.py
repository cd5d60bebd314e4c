"""A guest agent without a guest: files that it was given, and programs that something else stands for."""

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from smbplan.lab.pve import files
from smbplan.lab.pve.machine import AgentError

Done = tuple[int, bytes, bytes]
"""Exit code, output, errors; in place of it None says that the program still runs."""
Run = Callable[[int, list[str], bytes], Done | None]
_FIRST = 200
_KNOWN: dict[str, Any] = {
    "ping": {},
    "get-host-name": {"host-name": "dry"},
    "get-osinfo": {"id": "debian", "version-id": "12", "pretty-name": "Debian GNU/Linux 12 (bookworm)"},
    "get-users": [],
    "get-fsinfo": [],
    "get-vcpus": [{"logical-id": 0, "online": True, "can-offline": False}],
    "get-timezone": {"offset": 0, "zone": "UTC"},
    "get-memory-blocks": [],
    "fsfreeze-status": "thawed",
    "network-get-interfaces": [{"name": "lo", "hardware-address": "00:00:00:00:00:00", "ip-addresses": []}],
    "set-user-password": {},
}


def nothing(vmid: int, argv: list[str], given: bytes) -> Done:
    """Every program does nothing, well."""
    return 0, b"", b""


class _Memory:
    """What the agent knows between calls, in a file, since `qm` and the API are different processes."""

    def __init__(self, place: Path):
        self.place = place
        self.files: dict[str, str] = {}
        self.open: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, Any] = {}
        with suppress(FileNotFoundError):
            vars(self).update(json.loads(place.read_text()))

    def store(self) -> None:
        files.write(self.place, json.dumps({"files": self.files, "open": self.open, "ended": self.ended}))


def answer(place: Path, command: str, arguments: Mapping[str, Any], run: Callable[[list[str], bytes], Any]) -> Any:
    """The `return` of a command (`guest-exec`, …); AgentError for what can't be."""
    name, memory = command.removeprefix("guest-"), _Memory(place)
    if name.startswith("file-"):
        result = _file(memory, name, arguments)
    elif name == "exec":
        argv = [str(arguments["path"]), *map(str, arguments.get("arg", []))]
        done = run(argv, base64.b64decode(arguments.get("input-data", "")))
        result = {"pid": _FIRST + len(memory.ended)}
        memory.ended[str(result["pid"])] = done and [done[0], *(base64.b64encode(text).decode() for text in done[1:])]
    elif name == "exec-status":
        return _status(memory, str(arguments["pid"]))
    elif name in _KNOWN:
        return _KNOWN[name]
    else:
        raise AgentError(f"The command {command} has not been found")
    memory.store()
    return result


def _status(memory: _Memory, pid: str) -> dict[str, Any]:
    if pid not in memory.ended:
        raise AgentError("PID ld does not exist")
    if memory.ended[pid] is None:
        return {"exited": False}
    code, out, err = memory.ended.pop(pid)
    memory.ended[f"{pid} told"] = True  # so that no pid is given twice
    memory.store()
    shown: dict[str, Any] = {"exited": True, "exitcode": code}
    for key, text in (("out", out), ("err", err)):
        if text:
            shown |= {f"{key}-data": text, f"{key}-truncated": False}
    return shown


def _file(memory: _Memory, name: str, arguments: Mapping[str, Any]) -> Any:
    if name == "file-open":
        path, mode = str(arguments["path"]), str(arguments.get("mode", "r"))
        if "r" in mode and path not in memory.files:
            raise AgentError(f"failed to open file '{path}' (mode: '{mode}'): No such file or directory")
        if "w" in mode:
            memory.files[path] = ""
        handle = len(memory.open) + 1
        memory.open[str(handle)] = {"path": path, "at": 0}
        return handle
    file = memory.open[str(arguments["handle"])]
    content = base64.b64decode(memory.files[file["path"]])
    if name == "file-write":
        more = base64.b64decode(arguments["buf-b64"])
        memory.files[file["path"]] = base64.b64encode(content + more).decode()
        return {"count": len(more), "eof": False}
    if name == "file-seek":
        file["at"] = int(arguments["offset"])
        return {"position": file["at"], "eof": False}
    if name == "file-read":
        part = content[file["at"] : file["at"] + int(arguments["count"])]
        file["at"] += len(part)
        return {"count": len(part), "buf-b64": base64.b64encode(part).decode(), "eof": file["at"] >= len(content)}
    return {}
