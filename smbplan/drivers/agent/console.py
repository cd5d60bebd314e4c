"""The serial console of a virtual machine on its node. qm(1), `terminal`"""

from __future__ import annotations

import re
import socket
import time
from typing import Any

PLACE = "/var/run/qemu-server/{}.serial0"
CODES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>c])|[\x00-\x08\x0b-\x1f\x7f]")
CONNECTIONS: dict[int, socket.socket] = {}  # held from one request to the next: nothing is said twice


def console(request: dict[str, Any]) -> list[str]:
    """What it says within so many seconds, line by line, without what moves the cursor; nothing if there is none."""
    deadline = time.monotonic() + request["seconds"]
    found = b""
    while (left := deadline - time.monotonic()) > 0:
        try:
            if request["vmid"] not in CONNECTIONS:
                made = socket.socket(socket.AF_UNIX)
                made.connect(PLACE.format(request["vmid"]))
                CONNECTIONS[request["vmid"]] = made
            there = CONNECTIONS[request["vmid"]]
            there.settimeout(left)
            data = there.recv(1 << 16)
            found += data
            if not data:
                CONNECTIONS.pop(request["vmid"]).close()
        except socket.timeout:
            break
        except OSError:  # it isn't started yet, or it is over
            CONNECTIONS.pop(request["vmid"], None)
            time.sleep(min(left, 0.1))
    text = CODES.sub("", found.decode("utf-8", "replace").replace("\r", ""))
    return [line for line in text.splitlines() if line.strip()]
