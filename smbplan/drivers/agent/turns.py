"""Whose turn it is on this host, and what runs write down here: what a controller asks of the lease and the journal."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from . import journal
from .core import IMAGES, LOCAL, STATE, Refused
from .inventory import Inventory
from .journal import Journal
from .lease import Lease, Lost
from .system import Packages


def _own() -> str:
    """The lease of the host, or of the cluster for whose sessions this agent is."""
    return f"ha-{STATE.name}" if STATE != LOCAL else ""


def lease_of(request: dict[str, Any]) -> Lease:
    return Lease(request.get("lease") or _own(), request.get("wide", False))


def under_way(site: str, lease: Lease) -> dict[str, Any]:
    """Runs of the site that nobody has ended, and who holds the lease."""
    found = journal.unfinished(site)
    return {"unfinished": found, "lease": lease.told()} if found else {}


def lock(request: dict[str, Any]) -> Any:
    """Take the lease for a run.

    {held: who has it, or None; met: who had it meanwhile; unfinished: what other runs of the site have begun}
    """
    about, site = request["about"], request["site"]
    claim = {**about, "token": request["token"]}
    lease = lease_of(request)
    held = lease.take(claim, request["former"], request["again"], request["wait"], request["sole"])
    if request.get("bare"):  # what is done is written down elsewhere
        return {"held": held, "met": lease.met, "unfinished": []}
    try:
        if held is None:
            Journal(site, about["run"]).begin(about)
    except OSError as error:
        lease.give_up(request["token"])
        raise Refused(f"nothing can be written: {error.strerror}", str(error.filename or ""), "make room") from None
    others = [run for run in journal.unfinished(site) if run.get("run") != about["run"]]
    return {"held": held, "met": lease.met, "unfinished": others}


def beat(request: dict[str, Any]) -> Any:
    lease_of(request).check(request["token"])


def note(request: dict[str, Any]) -> Any:
    """What a run does elsewhere is written down here: before it, and with its `answers`."""
    written = Journal(request["site"], request["about"]["run"])
    with lease_of(request).held(request["token"]):
        written.begin(request["about"])
        if "answers" in request:
            written.done(request["notes"], request["answers"])
        else:
            written.doing(request["notes"])


def ended(request: dict[str, Any]) -> Any:
    with lease_of(request).held(request["token"]):
        Journal(request["site"], request["run"]).end(request["outcome"])


def drop(request: dict[str, Any]) -> Any:
    """Only what is written down here; the lease is on each node."""
    with lease_of(request).held(request["token"]):
        Journal(request["site"], request["run"]).drop(request["everything"])


def known_runs(request: dict[str, Any]) -> Any:
    return {"runs": journal.runs(request["site"]), "lease": lease_of(request).told()}


def release(request: dict[str, Any]) -> Any:
    """It is nobody's turn any more; of a run that has begun nothing, nothing stays."""
    lease = lease_of(request)
    try:
        with lease.held(request["token"]):
            if not request.get("bare"):
                Journal(request["site"], request["run"]).give_up()
    except Lost:
        return
    lease.give_up(request["token"])


def peers(request: dict[str, Any]) -> Any:
    """Of the one that has the lease, or of anybody while nobody has it: who is at work tells them in the end."""
    lease = lease_of(request)
    if "token" in request:
        lease.check(request["token"])
    elif lease.told():
        return
    Inventory().peers(request["site"], request["peers"])


def finish(request: dict[str, Any]) -> Any:
    """What a run has kept for going back goes, and with `everything` what stranded ones have.

    An apt-get whose agent has died is waited for: when a run has ended, nothing of it goes on.
    """
    lease = lease_of(request)
    with lease.held(request["token"]) if "token" in request else nullcontext():
        Packages().recover(waits="token" in request and not request.get("bare"))
        IMAGES.of(request["site"], request["run"], LOCAL if request.get("bare") else None)
        IMAGES.forget(request["everything"])
        if not request.get("bare"):
            Journal(request["site"], request["run"]).drop(request["everything"])
    if "token" in request:
        lease.give_up(request["token"])
