"""Runs that have been, as a person or a program reads them."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from smbplan.report.terminal import columns, indented, safe
from smbplan.store.runs import Busy, Run, lock

HEAD = ("run", "site", "time (UTC)", "outcome", "steps")


def entry(run: Run) -> dict[str, Any]:
    """One run; where no outcome was written, it is "running" or "cut_short". Raises BadPlan."""
    outcome = run.outcome()
    counts = Counter(step["status"] for step in (outcome or _journalled(run))["steps"])
    return {
        "id": run.id,
        "site": run.site,
        "time": _time(run.id),
        "outcome": outcome["outcome"] if outcome else _unfinished(run.site),
        "counts": dict(sorted(counts.items())),
    }


def details(run: Run) -> dict[str, Any]:
    """One run with its steps, what went wrong, and what was planned. Raises BadPlan."""
    ended = run.outcome() or _journalled(run)
    return {
        **entry(run),
        "summary": run.plan().get("summary", {}),
        **{key: ended.get(key, []) for key in ("steps", "warnings", "errors", "manual")},
    }


def rows(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [one["id"], one["site"], one["time"].replace("T", " ").rstrip("Z"), _words(one["outcome"]), _counts(one)]
        for one in entries
    ]


def text(entries: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(columns(HEAD, rows(entries))) if entries else "No runs yet."


def text_details(one: Mapping[str, Any]) -> str:
    lines = [f"Run {one['id']} of site {one['site']}, {one['time']}: {_words(one['outcome'])} ({_counts(one)})", ""]
    lines += columns(("status", "step"), [[step["status"], step["id"]] for step in one["steps"]])
    for warning in one["warnings"]:
        lines += ["", f"Warning: {safe(warning['address'])}: {safe(warning['text'])}"]
    for error in one["errors"]:
        lines += ["", f"Error: {safe(error['address'])}: {safe(error['summary'])}"]
        lines += [f"  Hint: {safe(error['hint'])}"] if error.get("hint") else []
        lines += [indented(error["detail"], "    ")] if error.get("detail") else []
    if one["manual"]:
        lines += ["", "To be typed by hand, in this order:", *(indented(line, "    ") for line in one["manual"])]
    return "\n".join(lines)


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


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")


def _counts(one: Mapping[str, Any]) -> str:
    return ", ".join(f"{count} {status}" for status, count in one["counts"].items()) or "none"
