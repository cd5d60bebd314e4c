"""Runs that have been, as a person or a program reads them."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from smbplan.engine.resource import STRANGE
from smbplan.report import manual
from smbplan.report.terminal import columns, indented, plural, safe
from smbplan.store.audit import Verdict
from smbplan.store.codec import BadPlan
from smbplan.store.runs import Busy, Run, lock

WIDTH = 60  # of a value
HEAD = ("run", "site", "time (UTC)", "outcome", "steps")


@contextmanager
def readable(run: str) -> Iterator[None]:
    """Somebody may have written anything into its files. Raises BadPlan."""
    try:
        yield
    except STRANGE as error:
        words = f"what is written of run {run} is damaged: {type(error).__name__}: {error}"
        raise BadPlan(words[:400], "smbplan runs verify tells whether it was altered") from None


def entry(run: Run) -> dict[str, Any]:
    """One run; where no outcome was written, it is "running" or "cut_short". Raises BadPlan."""
    with readable(run.id):
        outcome = run.outcome()
        counts = Counter(str(step["status"]) for step in (outcome or _journalled(run))["steps"])
        return {
            "id": run.id,
            "site": run.site,
            "time": _time(run.id),
            "outcome": str(outcome["outcome"]) if outcome else _unfinished(run.site),
            "counts": dict(sorted(counts.items())),
        }


def details(run: Run) -> dict[str, Any]:
    """One run with its steps, what went wrong, and what was planned. Raises BadPlan."""
    with readable(run.id):
        ended, plan, cleanup = run.outcome() or _journalled(run), run.plan(), _cleanup(run)
    journal = [
        {"time": moment(line.get("time")), **{key: str(line.get(key, "")) for key in ("operator", "step", "status")}}
        for line in run.lines()
    ]
    return {
        **entry(run),
        "operators": list(dict.fromkeys(line["operator"] for line in journal if line["operator"])),
        "summary": plan.get("summary", {}),
        "changes": plan.get("changes", []),
        **{key: ended.get(key, []) for key in ("steps", "warnings", "errors", "manual")},
        "journal": journal,
        "cleanup": cleanup,
    }


def _cleanup(run: Run) -> dict[str, Any]:
    """Before-images and journals that were dropped, and where."""
    line = run.forgotten()
    if not line:
        return {}
    targets = [str(target) for target in line["forgotten"]]
    words = {"time": moment(line.get("time")), "operator": str(line.get("operator", ""))}
    return {**words, "targets": targets, "earlier_runs": bool(line.get("everything"))}


def rows(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [one["id"], one["site"], one["time"].replace("T", " ").rstrip("Z"), _words(one["outcome"]), _counts(one)]
        for one in entries
    ]


def text(entries: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(columns(HEAD, rows(entries))) if entries else "No runs yet."


def text_details(one: Mapping[str, Any]) -> str:
    """Raises BadPlan."""
    with readable(one["id"]):
        return _text_details(one)


def _text_details(one: Mapping[str, Any]) -> str:
    lines = [f"Run {one['id']} of site {one['site']}, {one['time']}: {_words(one['outcome'])} ({_counts(one)})"]
    lines += [f"By {safe(operator)}" for operator in one["operators"]]
    last = {line["step"]: line["time"][11:23] for line in one["journal"]}
    rows = [[last.get(step["id"], ""), step["status"], step["id"]] for step in one["steps"]]
    lines += ["", *columns(("time (UTC)", "status", "step"), rows)]
    for change in one["changes"]:
        fields = [[field["path"], _value(field["before"]), _value(field["after"])] for field in change["fields"]]
        lines += ["", f"{change['action']} {safe(change['address'])}"] if fields else []
        lines += [f"  {line}" for line in columns(("field", "before", "after"), fields)] if fields else []
    if dropped := one["cleanup"]:
        what = "what this run and earlier ones kept" if dropped["earlier_runs"] else "what it kept"
        places = safe(", ".join(dropped["targets"]))
        lines += ["", f"{dropped['time'][11:23]} dropped {what} for going back: {places}"]
    for warning in one["warnings"]:
        lines += ["", f"Warning: {safe(warning['address'])}: {safe(warning['text'])}"]
    for error in one["errors"]:
        lines += ["", f"Error: {safe(error['address'])}: {safe(error['summary'])}"]
        lines += [f"  Hint: {safe(error['hint'])}"] if error.get("hint") else []
        lines += [indented(error["detail"], "    ")] if error.get("detail") else []
    if one["manual"]:
        lines += ["", f"{manual.TITLE}:", *(indented(line, "    ") for line in one["manual"])]
    return "\n".join(lines)


def verdict(one: Verdict) -> dict[str, Any]:
    """Whether what is written of a site's runs is what was written. `logged` is null where the log can't be asked."""
    flaws = [{"run": flaw.run, "line": flaw.line or None, "text": flaw.text} for flaw in one.flaws]
    counts = {name: getattr(one, name) for name in ("site", "runs", "lines", "head", "logged", "unlogged")}
    return {**counts, "whole": not one.flaws, "flaws": flaws, "warnings": list(one.warnings)}


def text_verdict(one: Verdict) -> str:
    counts = f"{plural(one.runs, 'run')}, {plural(one.lines, 'line')}"
    log = "could not be asked" if one.logged is None else f"knows {plural(one.logged, 'hash')}"
    log += f", and nothing (any more) of {one.unlogged}" if one.unlogged else ""
    how = "altered" if one.flaws else "in accord with each other" if one.logged is None else "as they were written"
    lines = [f"Site {one.site}: {counts}, {how}; the system's log {log}."]
    lines += [f"  newest hash: {one.head}"] if one.head else []
    rows = [[flaw.run, str(flaw.line or ""), flaw.text] for flaw in one.flaws]
    lines += ["", *columns(("run", "line", "what"), rows)] if rows else []
    lines += ["", *(f"Warning: {safe(warning)}" for warning in one.warnings)] if one.warnings else []
    return "\n".join(lines)


def text_none(warnings: Sequence[str]) -> str:
    """Where there is no site to judge."""
    return "\n".join(["No runs yet.", *(f"Warning: {safe(warning)}" for warning in warnings)])


def _value(value: object) -> str:
    """On one line, and not the whole of a file."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"


def _unfinished(site: str) -> str:
    try:
        with lock(site):
            return "cut_short"
    except Busy:
        return "running"


def _journalled(run: Run) -> dict[str, Any]:
    """How far a run without an outcome came."""
    last = {line.step: line for line in run.entries()}
    return {
        "steps": [
            {
                "id": step.id,
                "address": step.address,
                "status": str(last[step.id].status) if step.id in last else "pending",
            }
            for step in run.steps()
        ],
        "errors": [
            {"address": line.step, "summary": line.summary, "detail": line.detail}
            for line in last.values()
            if line.summary
        ],
    }


def _time(name: str) -> str:
    """A run's name begins with its time, in UTC."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.strptime(name[:15], "%Y%m%d-%H%M%S"))
    except ValueError:
        return ""


def moment(seconds: object) -> str:
    """In UTC, to the millisecond; "" of what is no time."""
    try:
        return datetime.fromtimestamp(float(str(seconds)), UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return ""


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _counts(one: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {status}" for status, count in one["counts"].items()) or "none"
