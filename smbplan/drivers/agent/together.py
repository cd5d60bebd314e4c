"""What has to be so between hosts before they become nodes of one cluster. Nothing is changed to find out."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from .core import Refused, run
from .ctdb import PORT
from .ctdb_conf import interface, interfaces

LISTENERS: list[socket.socket] = []
ANSWERS = 2.0  # seconds that a connection, or a neighbour's answer, may take


def present(request: dict[str, Any]) -> Any:
    """Listen where the other nodes will reach this one, and tell of this host."""
    return {
        "address": _listen(request["address"]),
        "time": time.time(),
        "version": _version(),
        "folder": _folder(request["shared"]),
        "helper": _helper(request["lock"]),
        "interfaces": {each: interface(each, interfaces()) for each in request["addresses"]},
        "own": sorted(str(one.ip) for found in interfaces().values() for one in found),
    }


def place(request: dict[str, Any]) -> Any:
    """For containers that are to be on this host."""
    return {"time": time.time(), "folder": _folder(request["shared"])}


def _listen(address: str) -> str:
    """ "" if it listens there, or ctdbd does; or why not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, PORT))
        listener.listen()
    except OSError as error:
        listener.close()
        return "" if error.errno == 98 else str(error.strerror)  # EADDRINUSE: by ctdbd
    LISTENERS.append(listener)
    return ""


def leave(request: dict[str, Any]) -> None:
    while LISTENERS:
        LISTENERS.pop().close()


def _version() -> str:
    """Of the ctdb that is installed, or would be."""
    text = subprocess.run(["apt-cache", "policy", "ctdb"], capture_output=True, text=True, check=False).stdout
    found = {name: value for name, value in re.findall(r"(Installed|Candidate): (\S+)", text) if value != "(none)"}
    return found.get("Installed") or found.get("Candidate") or ""


def _folder(path: str) -> Any:
    """What is the same on all hosts that see one folder, and on no others; None if it is not there."""
    try:
        seen, around = os.stat(path), os.statvfs(path)
    except OSError:
        return None
    kind = run(["findmnt", "-n", "-o", "FSTYPE", "-T", path]).strip()
    return {"is": [seen.st_ino, seen.st_ctime_ns, around.f_blocks, around.f_frsize], "type": kind}


def _helper(lock: str) -> str:
    """What a lock by a helper lacks here; "" for nothing."""
    words = lock[1:].split() if lock[:1] == "!" else []
    if words and not shutil.which(words[0]) and "/ctdb/" not in words[0]:  # those come with ctdb
        return f"{words[0]} is not there"
    if words and "rados" in words[0] and not Path(f"/etc/ceph/{words[1]}.conf").exists():
        return f"/etc/ceph/{words[1]}.conf is not there"
    return ""


def reach(request: dict[str, Any]) -> dict[str, str]:
    """The addresses of nodes that this one does not reach, with what came of it."""
    found = {}
    for address in request["addresses"]:
        try:
            socket.create_connection((address, PORT), timeout=ANSWERS).close()
        except OSError as error:
            found[address] = error.strerror or str(error)
    return found


def taken(request: dict[str, Any]) -> dict[str, str]:
    """The addresses that somebody in the network has, with the hardware address. Asked as any host would: arp(7)"""
    for address in request["addresses"]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.suppress(Refused):  # what is remembered of it says nothing of now
            run(["ip", "neigh", "flush", "to", address])
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.sendto(b"", (address, 9))
    end, found = time.monotonic() + ANSWERS, dict[str, str]()
    while time.monotonic() < end and len(found) < len(request["addresses"]):
        for row in json.loads(run(["ip", "-j", "neigh", "show"]) or "[]"):
            if row["dst"] in request["addresses"] and "lladdr" in row and "FAILED" not in row["state"]:
                found[row["dst"]] = row["lladdr"]
        time.sleep(0.1)
    return found


DO = {"place": place, "present": present, "leave": leave, "reach": reach, "taken": taken}


def together(request: dict[str, Any]) -> Any:
    """See the function that `do` names."""
    return DO[request["do"]](request)
