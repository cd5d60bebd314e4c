"""Backup jobs: the `vzdump` sections of jobs.cfg."""

import re
import time
import uuid
from typing import Any

from smbplan.lab.pve import calendar, files, formats, schema
from smbplan.lab.pve.errors import bad_params, fail, hidden_bad_param
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import BOOL, STR, Param
from smbplan.lab.pve.site import Site

_COUNT = Param("integer", low=0)
VZDUMP: dict[str, Param] = {
    "all": BOOL,
    "bwlimit": _COUNT,
    "compress": Param(enum=("0", "1", "gzip", "lzo", "zstd")),
    "dumpdir": STR,
    "exclude": Param(format="vmid-list"),
    "exclude-path": STR,
    "fleecing": STR,
    "ionice": Param("integer", low=0, high=8),
    "lockwait": _COUNT,
    "mailnotification": Param(enum=("always", "failure")),
    "mailto": STR,
    "maxfiles": Param("integer", low=1),
    "mode": Param(enum=("snapshot", "suspend", "stop")),
    "node": Param(format="node"),
    "notes-template": Param(longest=1024),
    "notification-mode": Param(enum=("auto", "legacy-sendmail", "notification-system")),
    "notification-policy": Param(enum=("always", "failure", "never"), until=8.99),
    "notification-target": Param(format="config-id", until=8.99),
    "pbs-change-detection-mode": Param(enum=("legacy", "data", "metadata")),
    "performance": STR,
    "pigz": Param("integer"),
    "pool": STR,
    "protected": BOOL,
    "prune-backups": Param(props="prune-backups"),
    "quiet": BOOL,
    "remove": BOOL,
    "script": STR,
    "stdexcludes": BOOL,
    "stop": BOOL,
    "stopwait": _COUNT,
    "storage": Param(format="storage-id"),
    "tmpdir": STR,
    "vmid": Param(format="vmid-list"),
    "zstd": Param("integer"),
}
_JOB: dict[str, Param] = {
    **VZDUMP,
    "comment": Param(longest=512),
    "dow": STR,
    "enabled": BOOL,
    "repeat-missed": BOOL,
    "schedule": Param(format="calendar", longest=128),
    "starttime": Param(pattern=r"\d{1,2}:\d{1,2}"),
}
_ID = Param(optional=False, pattern=r"\S+", longest=50)
_AUDIT = Need("/", ("Sys.Audit",))
_MODIFY = Need("/", ("Sys.Modify",))
_SELECT = ("vmid", "all", "pool")
ROOT_ONLY = ("dumpdir", "script", "tmpdir")


def load(site: Site) -> files.Sections:
    """All jobs by id."""
    return files.parse_sections(files.read(site.root / "jobs.cfg"))


def _store(site: Site, jobs: files.Sections) -> None:
    files.write(site.root / "jobs.cfg", files.print_sections(jobs))


def _get(jobs: files.Sections, ident: str) -> dict[str, str]:
    if ident not in jobs:
        raise fail(f"No such job '{ident}'")
    return jobs[ident]


def _shown(ident: str, job: dict[str, str]) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": ident, "enabled": 1}
    for key, value in job.items():
        param = _JOB.get(key)
        shown[key] = int(value) if param and param.kind in ("integer", "boolean") else value
    if "prune-backups" in job:
        shown["prune-backups"] = schema.parse_props("prune-backups", job["prune-backups"], "prune-backups")
    return shown


def check_selection(params: dict[str, Any]) -> None:
    """Exactly one of vmid, all and pool; `exclude` only with the last two."""
    chosen = [key for key in _SELECT if params.get(key)]
    if not chosen:
        raise hidden_bad_param("vmid", "property is missing\n")
    if len(chosen) > 1:
        raise hidden_bad_param(chosen[1], f"option conflicts with option '{chosen[0]}'\n")
    if "exclude" in params and chosen[0] == "vmid":
        raise hidden_bad_param("exclude", "option conflicts with option 'vmid'\n")


def check_root_only(call: Call) -> None:
    """400 for what only root may have run on the node."""
    for name in ROOT_ONLY:
        if name in call.params and not call.rights.is_root:
            raise bad_params({name: "Only root may set this option."})


@route("GET", "/cluster/backup", None, _AUDIT)
def index(call: Call) -> list[dict[str, Any]]:
    """All jobs, with when they run next."""
    found = []
    for ident, job in sorted(load(call.site).items()):
        shown = _shown(ident, job)
        if shown["enabled"] and "schedule" in job:
            shown["next-run"] = calendar.parse(job["schedule"]).after(time.time())
        found.append(shown)
    return found


@route("GET", "/cluster/backup/{id}", {"id": _ID}, _AUDIT)
def read(call: Call) -> dict[str, Any]:
    """One job."""
    return _shown(call.params["id"], _get(load(call.site), call.params["id"]))


@route("POST", "/cluster/backup", {**_JOB, "id": Param(format="config-id")}, _MODIFY)
def create(call: Call) -> None:
    """Storage and guests are not looked at; the pool is."""
    params = call.params
    check_root_only(call)
    if params.get("pool"):
        call.rights.check_pool_exists(params["pool"])
    check_selection(params)
    ident = str(call.take("id") or uuid.uuid4())
    with files.cluster_lock(call.site.root, "file-jobs_cfg"):
        jobs = load(call.site)
        if ident in jobs:
            raise fail(f"Job '{ident}' already exists")
        jobs[ident] = {"type": "vzdump", **{key: schema.as_text(value) for key, value in params.items()}}
        _store(call.site, jobs)


@route("PUT", "/cluster/backup/{id}", {**_JOB, "id": _ID, "delete": STR}, _MODIFY)
def update(call: Call) -> None:
    """Set and delete values; choosing guests another way replaces the old way."""
    ident, params = str(call.take("id")), call.params
    check_root_only(call)
    deleted = formats.split_list(call.take("delete", ""))
    if params.get("pool"):
        call.rights.check_pool_exists(params["pool"])
    with files.cluster_lock(call.site.root, "file-jobs_cfg"):
        jobs = load(call.site)
        job = _get(jobs, ident)
        for key in deleted:
            if key not in _JOB:
                raise bad_params({"delete": f"unknown option '{key}'"})
            job.pop(key, None)
        if any(params.get(key) for key in _SELECT):
            for key in _SELECT:
                job.pop(key, None)
        job |= {key: schema.as_text(value) for key, value in params.items()}
        check_selection(job)
        _store(call.site, jobs)


@route("DELETE", "/cluster/backup/{id}", {"id": _ID}, _MODIFY)
def delete(call: Call) -> None:
    """Forget the job."""
    with files.cluster_lock(call.site.root, "file-jobs_cfg"):
        jobs = load(call.site)
        _get(jobs, call.params["id"])
        del jobs[call.params["id"]]
        _store(call.site, jobs)


def remove_guest(site: Site, vmid: int) -> None:
    """A purged guest leaves the jobs; a job that was for it alone goes."""
    with files.cluster_lock(site.root, "file-jobs_cfg"):
        jobs = load(site)
        for ident, job in list(jobs.items()):
            for key in ("vmid", "exclude"):
                ids = formats.split_list(job.get(key, ""))
                if str(vmid) not in ids:
                    continue
                left = [other for other in ids if other != str(vmid)]
                if left:
                    job[key] = ",".join(left)
                else:
                    del job[key]
                    if key == "vmid":
                        del jobs[ident]
        _store(site, jobs)


@route(
    "GET",
    "/cluster/jobs/schedule-analyze",
    {"schedule": Param(optional=False, format="calendar"), "iterations": _COUNT, "starttime": Param("integer")},
)
def analyze(call: Call) -> list[dict[str, Any]]:
    """When a schedule happens."""
    event, moment, found = calendar.parse(call.params["schedule"]), call.params.get("starttime", time.time()), []
    for _ in range(int(call.params.get("iterations", 10))):
        moment = event.after(moment)
        text = re.sub(r"\s+", " ", time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime(moment)))
        found.append({"timestamp": moment, "utc": text})
    return found
