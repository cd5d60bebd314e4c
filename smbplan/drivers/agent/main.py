"""The loop: a line of JSON in, a line of JSON out, until the connection ends."""

from __future__ import annotations

import errno
import gc
import json
import os
import select
import shutil
import sys
from contextlib import nullcontext
from typing import Any, Callable, Iterator

from . import ctdb, member, samba, turns
from .children import Child, Commands, side_by_side
from .console import console
from .containers import asked, listed
from .core import (
    IMAGES,
    LOCAL,
    MEMORY,
    STATE,
    Refused,
    Untouched,
    is_node,
    machine,
    move,
    wait_for_boot,
    wait_for_ctdbd,
)
from .facts import facts
from .inventory import Inventory
from .journal import UNDO, Journal
from .lease import Lost
from .pve import mounted, pct, raw, unlock, unmount
from .states import AHEAD, OBJECTS, SHARES, words
from .survey import survey
from .together import together
from .turns import lease_of, under_way

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
KEPT_BY_CTDB = ("share", "password", "member")


def read(request: dict[str, Any]) -> Any:
    """The states of all wanted keys and of all that the inventory knows of the site; with `only`, of the keys."""
    options = {tuple(key): value for *key, value in request["keys"]}
    if request.get("only"):
        return {"facts": {}, "states": AHEAD.states(options), "records": {}, "peers": {}}
    entry = Inventory().site(request["site"])
    for record in entry["records"].values():
        options.setdefault(tuple(record["key"]), {})
    told = {**facts(), **under_way(request["site"], lease_of({}))}
    return {"facts": told, "states": AHEAD.states(options), "records": entry["records"], "peers": entry["peers"]}


def known(request: dict[str, Any]) -> Any:
    """Whether anything of the site is here, and which peers it has: without a look at all of it."""
    entry = Inventory().site(request["site"])
    return {"managed": bool(entry["records"]), "peers": entry["peers"]}


def perform(request: dict[str, Any]) -> list[Any]:
    """One answer for each operation. Of a run with the lease, each is written down before and after; not if `bare`."""
    if "token" not in request:
        return _performed(request)
    if request.get("bare"):
        with lease_of(request).held(request["token"]):
            return _performed(request)
    written, notes = Journal(request["site"], request["run"]), [op["note"] for op in request["ops"]]
    with lease_of(request).held(request["token"]):
        try:
            written.doing(notes)
        except Untouched as refused:
            return [{"error": words(refused), "untouched": True}] * len(notes)
        answers = _performed(request)
        written.done(notes, answers)
        return answers


def _performed(request: dict[str, Any]) -> list[Any]:
    """They are independent of each other, so one that fails stops no other.

    The inventory knows a thing before it exists and until it is gone: it only has to find it.
    """
    ops, site = request["ops"], request["site"]
    if STATE != LOCAL and any(op.get("type") in KEPT_BY_CTDB for op in ops):
        try:
            wait_for_ctdbd()
        except Untouched as refused:
            return [{"error": words(refused), "untouched": True}] * len(ops)
    IMAGES.of(site, request["run"])
    inventory = Inventory()
    known = dict(inventory.site(site)["records"])
    for op in ops:
        if op.get("record") and op["before"] is None and op["address"] in known:
            op["options"] = {**op["options"], "known": True}  # it was there before
    inventory.update(site, {op["address"]: op["record"] for op in ops if op.get("record")})
    answers: list[Any] = [None] * len(ops)
    shares = [number for number, op in enumerate(ops) if op.get("type") == "share"]
    proofs = [number for number, op in enumerate(ops) if op.get("call") == "prove"]
    others = sorted({*range(len(ops))} - {*shares, *proofs})
    try:
        with SHARES.transaction():
            for number in shares:
                answers[number] = _answer(ops[number], site, inventory)
    except Exception as error:  # the transaction as a whole: each share on its own then
        for number in shares:
            answers[number] = _answer(ops[number], site, inventory)
            answers[number].setdefault("note", f"one by one, after {error}")
    for number in others:
        answers[number] = _answer(ops[number], site, inventory)
    found = side_by_side([ops[number] for number in proofs], lambda op: _answer(op, site, inventory))
    for number, answer in zip(proofs, found):
        answers[number] = answer
    gone = {op["address"]: None for op, answer in zip(ops, answers) if _drops(op) and "ok" in answer}
    same = [op["address"] for op, answer in zip(ops, answers) if "type" in op and "untouched" in answer]
    inventory.update(site, {**gone, **{address: known.get(address) for address in same}})
    return answers


def _drops(op: dict[str, Any]) -> bool:
    return "type" in op and op.get("record") is None


def _answer(op: dict[str, Any], site: str, inventory: Inventory) -> Any:
    MEMORY.clear()
    try:
        if "type" in op:
            options = {**op["options"], "undo": op.get("note", {}).get("way") == UNDO}
            warnings = move(OBJECTS[op["type"]], op["name"], op["before"], op["after"], options)
            return {"ok": None, "warnings": warnings}
        if op["call"] in ("forget", "remember"):
            record = op["arguments"].get("record")
            inventory.update(site, {record["address"] if record else op["arguments"]["address"]: record})
            return {"ok": None}
        return {"ok": samba.CALLS[op["call"]](op["arguments"])}
    except Untouched as refused:
        return {"error": words(refused), "untouched": True}
    except Refused as refused:
        return {"error": words(refused)}
    except Exception as error:  # whatever it is, the person gets to read it, and the other operations go on
        return {"error": words(_unforeseen(error))}


def config(request: dict[str, Any]) -> Any:
    """What `import` reads."""
    return survey(SHARES)


def cluster(request: dict[str, Any]) -> Any:
    """Of a run that holds the lease, nobody takes it over while CTDB is at work."""
    with lease_of(request).held(request["token"]) if "token" in request else nullcontext():
        return ctdb.ctdb(request)


def check(request: dict[str, Any]) -> Any:
    return samba.check(request["text"])


def about(request: dict[str, Any]) -> Any:
    return facts()


VERBS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "read": read,
    "known": known,
    "perform": perform,
    "check": check,
    "lock": turns.lock,
    "beat": turns.beat,
    "note": turns.note,
    "ended": turns.ended,
    "drop": turns.drop,
    "runs": turns.known_runs,
    "release": turns.release,
    "config": config,
    "peers": turns.peers,
    "finish": turns.finish,
    "facts": about,
    "domain": member.check,
    "ctdb": cluster,
    "together": together,
    "containers": listed,
    "inside": asked,
    "pct": pct,
    "raw": raw,
    "unlock": unlock,
    "mounted": mounted,
    "console": console,
    "unmount": unmount,
}


def _lines(idle: float) -> Iterator[str]:
    """Requests until the connection ends; where nothing tells of that, until none comes for so many seconds."""
    if not idle:
        yield from sys.stdin
        return
    stream, buffer = sys.stdin.fileno(), b""
    while select.select([stream], [], [], idle)[0]:
        buffer += os.read(stream, 1 << 20)
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            if line == b"quit":
                shutil.rmtree(os.getcwd(), ignore_errors=True)
                return
            yield line.decode()
    shutil.rmtree(os.getcwd(), ignore_errors=True)  # the pipes, see drivers.pve.inside


def _unforeseen(error: Exception) -> Refused:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return Refused(f"nothing can be written: {error.strerror}", str(error.filename or ""), "make room")
    return Refused(f"{type(error).__name__}: {error}")


def _answered(request: dict[str, Any]) -> dict[str, Any]:
    MEMORY.clear()
    before = Commands.count
    answer = _answer_to(request)
    return {**answer, "commands": Commands.count - before}


def _answer_to(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": VERBS[request["verb"]](request)}
    except Lost as lost:
        return {"lost": lost.lease or {}}
    except Refused as refused:
        return {"error": words(refused)}
    except Exception as error:  # the controller shows it; the connection stays usable
        return {"error": words(_unforeseen(error))}


def _apart(request: dict[str, Any]) -> Any:
    """The answer by a child: Samba's libraries end a process whose ctdbd has gone, as one that is restarted does."""
    gone = {"error": words(Refused("CTDB went away meanwhile", "", "smbplan ha status"))}
    return Child(lambda: _answered(request)).answer() or gone


def main() -> None:
    gc.set_threshold(100_000)  # an answer of a thousand shares is no garbage
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing else may write into the answers
    if os.geteuid():
        print(json.dumps({"error": {"summary": "not root", "detail": "", "hint": ""}}), file=answers, flush=True)
        return
    sys.addaudithook(Commands.audit)
    AHEAD.begin()
    print(json.dumps({"ready": machine()}), file=answers, flush=True)
    for number, line in enumerate(_lines(float(os.environ.get("SMBPLAN_IDLE", "0")))):
        request = json.loads(line)
        if not number:
            wait_for_boot()
        if number or request["verb"] != "read":
            AHEAD.end()
        apart = request["verb"] in ("read", "perform") and (is_node() or "SMBPLAN_HOME" in os.environ)
        answer = _apart(request) if apart else _answered(request)
        print(json.dumps(answer), file=answers, flush=True)
