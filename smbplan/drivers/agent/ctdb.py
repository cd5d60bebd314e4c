"""CTDB on this node: its daemon, and what that says of the cluster. ctdb(1)"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .core import IDENTITY, IMAGES, LOCAL, STATE, Refused, read_text, run, tidy, write
from .ctdb_conf import NAMES, NODES, SERVICES, configure, disable, enable, interfaces, led, public, restore, settings
from .inventory import Inventory
from .lease import Lease
from .naming import addresses
from .turns import under_way

NOTES = STATE / "cluster.json"  # on the cluster itself, beside those on what it serves
LOST = "the identity of a cluster"
WORST = ("disconnected", "banned", "stopped", "disabled", "unhealthy", "partially-online", "unknown")
PORT = 4379  # ctdbd(1)
LINES = 40  # of its log
BUSY = 30.0  # seconds that a command is tried again


def look(request: dict[str, Any]) -> Any:
    """What is set on this node and, where ctdbd answers, what that knows of the cluster."""
    known, found = status(), settings()
    well = known is not None and known["nodes"].get(str(known["own"])) == "ok"
    return {
        "settings": found,
        "status": known,
        "led": led(),
        "own": [] if found else sorted(addresses()),  # asked of those that are no nodes yet
        "foreign": found is None and (known is not None or bool((read_text(NODES) or "").strip())),
        "why": "" if well or not found else _why(),
        "filesystem": _filesystem(request.get("shared") or "/"),
    }


def power(request: dict[str, Any]) -> None:
    """Start ctdbd or stop it; what it serves goes with it."""
    if request["on"]:
        run(["systemctl", "--quiet", "enable", "ctdb"])
        if not _active():
            _drop_addresses()
            for service in SERVICES.keys() - led():
                _stop(service)  # as its package has started it
            _started()
    else:
        run(["systemctl", "--quiet", "disable", "ctdb"])
        run(["systemctl", "stop", "ctdb"])
        for service in reversed(SERVICES):
            _stop(service)
        _drop_addresses()


def _started() -> None:
    try:
        run(["systemctl", "start", "ctdb"])
    except Refused as refused:
        raise Refused("ctdbd does not start", log() or refused.detail, "journalctl -u ctdb has it all") from None


def _stop(service: str) -> None:
    if not subprocess.run(["systemctl", "cat", f"{service}.service"], capture_output=True, check=False).returncode:
        run(["systemctl", "stop", service])


def lead(request: dict[str, Any]) -> None:
    """Have CTDB start winbindd and watch it, and smbd after it; or winbindd no more. 49.winbind(5)"""
    if not request["on"]:
        disable("winbind")
        _stop("winbind")
        return
    for service in SERVICES:
        run(["systemctl", "start", service])
        enable(service)  # watched from now on


def restart(request: dict[str, Any]) -> None:
    run(["systemctl", "stop", "ctdb"])
    _started()


def _drop_addresses() -> None:
    """Floating addresses that a ctdbd which was killed has left behind are another node's by now."""
    mine = public()
    for device, found in interfaces().items():
        for address in found:
            if str(address.ip) in mine:
                with suppress(Refused):
                    run(["ip", "addr", "del", str(address), "dev", device])


def wait(request: dict[str, Any]) -> Any:
    """Until ctdbd says that this node is ok, or so many seconds have passed. Raises Refused with why it isn't."""
    deadline = time.monotonic() + request["seconds"]
    while True:
        known = status()
        mine = known["nodes"].get(str(known["own"])) if known else None
        if mine == "ok" and (not request.get("all") or _whole(known)):
            return known
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    known = known or {"nodes": {}, "addresses": {}}
    others = [f"node {each} is {word}" for each, word in known["nodes"].items() if word != "ok"]
    others += [f"nobody serves {address}" for address, node in known["addresses"].items() if node < 0]
    words = f"after {request['seconds']:.0f} s {', '.join(others) or 'ctdbd does not answer'}"
    raise Refused(words, _why(), "journalctl -u ctdb and ctdb event status legacy monitor say more")


def _whole(known: Any) -> bool:
    """Every node is well, and every address is served."""
    return set(known["nodes"].values()) == {"ok"} and all(node >= 0 for node in known["addresses"].values())


def _why() -> str:
    """What its scripts say where one fails, and the last lines of its log."""
    said = ""
    with suppress(Refused):
        said = run(["ctdb", "event", "status", "legacy", "monitor"])
    bad = [line for line in said.splitlines() if " OK " not in line and "DISABLED" not in line]
    return "\n".join([*bad, log()])


def log() -> str:
    argv = ["journalctl", "-q", "-n", str(LINES), "--no-pager", "-o", "cat", "-u", "ctdb"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def command(request: dict[str, Any]) -> str:
    """One of ctdb's own commands. Raises Refused."""
    return _patiently(*request["words"])


def _patiently(*words: str) -> str:
    """Again while a recovery keeps it from being done, or the leader's takeover has failed: of which ctdb is silent."""
    deadline = time.monotonic() + BUSY
    while True:
        try:
            return run(["ctdb", *words])
        except Refused as refused:
            if (refused.detail and "Failed to disable" not in refused.detail) or time.monotonic() > deadline:
                raise
        time.sleep(1)


def tune(request: dict[str, Any]) -> None:
    """Set in the running daemon what is in its file."""
    for name, value in sorted(request["tunables"].items()):
        run(["ctdb", "setvar", name, str(value)])


def status() -> Any:
    """{own, leader, nodes: {number: word}, addresses: {address: number}}, or None where no ctdbd answers."""
    try:
        rows = _table("status")
        own = next(int(row["Node"]) for row in rows if row["ThisNode"] == "Y")
        nodes = {row["Node"]: _word(row) for row in rows}
        addresses = {row["Public IP"]: int(row["Node"]) for row in _table("ip", "all")}
        leader = re.search(r"^\d+$", run(["ctdb", "leader"]), re.M)
        if run(["ctdb", "runstate"]).strip() != "RUNNING":
            nodes[str(own)] = "unknown"
    except (Refused, StopIteration, KeyError, ValueError):
        return None
    return {"own": own, "leader": int(leader[0]) if leader else None, "nodes": nodes, "addresses": addresses}


def _table(*words: str) -> list[dict[str, str]]:
    head, *rows = (line.strip("|").split("|") for line in run(["ctdb", "-X", *words]).splitlines())
    return [dict(zip(head, row)) for row in rows]


def _word(row: dict[str, str]) -> str:
    """The worst of what is said of a node."""
    columns = {"partially-online": "PartiallyOnline"}
    return next((flag for flag in WORST if row.get(columns.get(flag, flag.capitalize())) == "1"), "ok")


def _active() -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", "ctdb"], check=False).returncode == 0


def _filesystem(path: str) -> str:
    """Its type. stat(1)"""
    while not Path(path).exists():
        path = str(Path(path).parent)
    return run(["findmnt", "-n", "-o", "FSTYPE", "-T", path]).strip() if shutil.which("findmnt") else ""


def found(request: dict[str, Any]) -> None:
    """Note who the nodes are, and what tells this cluster from a copy of its file system."""
    if not IDENTITY.exists():
        write(IDENTITY, IMAGES.recall(LOST) if IMAGES.has(LOST) else f"{os.urandom(16).hex()}\n")
    write(NAMES, json.dumps(request["nodes"], sort_keys=True))


def lost(request: dict[str, Any]) -> None:
    """There is no cluster any more; an undo needs what told it from others."""
    IMAGES.keep(LOST, lambda: read_text(IDENTITY) or "")
    for path in (IDENTITY, NAMES, STATE / "lock"):
        path.unlink(missing_ok=True)
    tidy()


def records(request: dict[str, Any]) -> Any:
    """What is noted of the cluster, and which runs that change it nobody has ended. `holder` is the lease's name."""
    site, names = request["site"], json.loads(read_text(NAMES) or "{}")
    known = {"records": Inventory(NOTES).site(site)["records"], "nodes": names}
    return {**known, **under_way(site, Lease(request["holder"]))}


def note(request: dict[str, Any]) -> None:
    STATE.parent.mkdir(mode=0o700, exist_ok=True)
    STATE.mkdir(mode=0o700, exist_ok=True)
    Inventory(NOTES).update(request["site"], request["records"])


def drain(request: dict[str, Any]) -> list[str]:
    """Have the other nodes take this one's addresses over, and wait until they have; those that it has all the same.

    Nothing is done where none of them could.
    """
    known = status()
    others = known["nodes"].items() - {(str(known["own"]), "ok")} if known else ()
    if known is None or "ok" not in dict(others).values():
        return []
    _patiently("disable")
    deadline = time.monotonic() + request["seconds"]
    while (left := _served(known)) and time.monotonic() < deadline:
        time.sleep(0.1)
        known = status()
    return left


def _served(known: Any) -> list[str]:
    """Addresses of this node."""
    return [address for address, node in known["addresses"].items() if node == known["own"]] if known else []


def back(request: dict[str, Any]) -> None:
    """Into service again, whatever has kept it out."""
    known = status()
    word = known["nodes"][str(known["own"])] if known else ""
    verb = {"disabled": "enable", "stopped": "continue", "banned": "unban"}.get(word)
    if verb:
        _patiently(verb)


DO: dict[str, Callable[[dict[str, Any]], Any]] = {
    "look": look,
    "configure": configure,
    "restore": restore,
    "power": power,
    "restart": restart,
    "lead": lead,
    "wait": wait,
    "command": command,
    "tune": tune,
    "found": found,
    "lost": lost,
    "records": records,
    "note": note,
    "drain": drain,
    "back": back,
}


def ctdb(request: dict[str, Any]) -> Any:
    """See the function that `do` names. What changes a node has the site and the run that it is part of."""
    if "run" in request:
        IMAGES.of(request["site"], request["run"], LOCAL)
    return DO[request["do"]](request)
