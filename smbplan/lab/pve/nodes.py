"""Nodes and their tasks."""

import time
from typing import Any

from smbplan.lab.pve import formats, status, tasks
from smbplan.lab.pve.proxy import online
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, INT, STR, VMID, Param
from smbplan.lab.pve.site import VERSIONS

_AUDIT = Need("/nodes/{node}", ("Sys.Audit",))
_COUNT = Param("integer", low=0)


@route("GET", "/nodes")
def index(call: Call) -> list[dict[str, Any]]:
    """All nodes; how they are only with Sys.Audit on them."""
    site, found = call.site, []
    for name in sorted(site.nodes()):
        up = online(site, name)
        entry: dict[str, Any] = {"node": name, "id": f"node/{name}", "type": "node", "level": ""}
        entry["status"] = "online" if up else "offline"
        fingerprint = status.fingerprint(site, name)
        if fingerprint:
            entry["ssl_fingerprint"] = fingerprint
        if up and call.rights.has(f"/nodes/{name}", ["Sys.Audit"]):
            entry |= status.of(site, name).get("node", {})
        found.append(entry)
    return found


@route("GET", "/nodes/{node}/status", None, _AUDIT)
def node_status(call: Call) -> dict[str, Any]:
    """Memory, load, versions."""
    return status.node_details(call.site)


@route("GET", "/nodes/{node}/version")
def node_version(call: Call) -> dict[str, str]:
    """As /version."""
    return VERSIONS[call.site.release]


@route("GET", "/nodes/{node}/time", None, _AUDIT)
def node_time(call: Call) -> dict[str, Any]:
    """The lab's nodes are on UTC."""
    return {"time": int(time.time()), "localtime": int(time.time()), "timezone": "Etc/UTC"}


def _with_token(info: dict[str, Any]) -> dict[str, Any]:
    user, mark, token = str(info["user"]).partition("!")
    return {**info, "user": user, "tokenid": token} if mark else info


@route(
    "GET",
    "/nodes/{node}/tasks",
    {
        "errors": BOOL,
        "limit": _COUNT,
        "since": INT,
        "source": Param(enum=("archive", "active", "all")),
        "start": _COUNT,
        "statusfilter": STR,
        "typefilter": STR,
        "until": INT,
        "userfilter": STR,
        "vmid": VMID,
    },
)
def task_list(call: Call) -> list[dict[str, Any]]:
    """The node's tasks, or with no right to see them all, one's own."""
    params, source = call.params, call.params.get("source", "archive")
    found: list[dict[str, Any]] = []
    if source != "archive":
        found += [{**upid.info(), "status": "RUNNING"} for upid in tasks.active(call.site)]
    if source != "active":
        list(tasks.active(call.site))  # files away what died
        found += tasks.archive(call.site)
    matching = [entry for entry in found if _matches(entry, params) and not _hidden(call, entry)]
    if matching:
        call.extra["total"] = len(matching)
    start = int(params.get("start", 0))
    return [_with_token(entry) for entry in matching[start : start + int(params.get("limit", 50))]]


def _hidden(call: Call, entry: dict[str, Any]) -> bool:
    return call.rights.tasks_refused(call.site.node, str(entry["user"]), ["Sys.Audit"]) is not None


def _outcome(text: str) -> str:
    if text in ("OK", "RUNNING"):
        return text.lower()
    return "warning" if text.startswith("WARNINGS: ") else "error"


def _matches(entry: dict[str, Any], params: dict[str, Any]) -> bool:
    wanted = formats.split_list(params.get("statusfilter", ""))
    return not (
        (params.get("errors") and _outcome(entry["status"]) in ("ok", "running"))
        or ("vmid" in params and entry["id"] != str(params["vmid"]))
        or ("typefilter" in params and params["typefilter"] not in entry["type"])
        or ("userfilter" in params and params["userfilter"] not in entry["user"])
        or ("since" in params and entry["starttime"] < params["since"])
        or ("until" in params and entry["starttime"] > params["until"])
        or (wanted and _outcome(entry["status"]) not in wanted)
    )


def _task(call: Call, names: list[str]) -> tasks.Upid:
    upid = tasks.find(call.site, str(call.params["upid"]))
    refused = call.rights.tasks_refused(call.site.node, upid.user, names)
    if refused:
        raise refused
    return upid


@route("GET", "/nodes/{node}/tasks/{upid}/status")
def task_status(call: Call) -> dict[str, Any]:
    """`status` running or stopped, then `exitstatus`."""
    upid = _task(call, ["Sys.Audit"])
    info = _with_token(upid.info())
    if tasks.running(upid):
        return {**info, "status": "running"}
    return {**info, "status": "stopped", "exitstatus": tasks.exit_status(call.site, upid)}


@route("GET", "/nodes/{node}/tasks/{upid}/log", {"start": _COUNT, "limit": _COUNT, "download": BOOL})
def task_log(call: Call) -> list[dict[str, Any]]:
    """Lines with their numbers; limit 0 is all of them."""
    upid = _task(call, ["Sys.Audit"])
    lines = tasks.log_lines(call.site, upid)
    call.extra["total"] = len(lines)
    start, limit = int(call.params.get("start", 0)), int(call.params.get("limit", 50))
    rows = [{"n": n, "t": line} for n, line in enumerate(lines, 1)]
    return rows[start : start + limit] if limit else rows[start:]


@route("DELETE", "/nodes/{node}/tasks/{upid}")
def task_abort(call: Call) -> None:
    """End it."""
    tasks.abort(call.site, _task(call, ["Sys.Modify"]))
