"""Runs of several owners on one target, as their agents' requests make them."""

import os
import time
from pathlib import Path
from typing import Any

from smbplan.drivers.agent import journal, main
from smbplan.drivers.agent.journal import Journal
from smbplan.drivers.agent.lease import SILENT, Lease

DEEP = "[" * 100_000  # no parser takes it
DO = {"step": "file.x", "way": "do", "words": {"id": "file.x"}}


def claim(token: str) -> dict[str, Any]:
    return {"token": token, "run": f"run-{token}", "site": "office", "owner": f"{token}@here", "since": 1.0}


def taken(token: str, *former: str, again: bool = False, sole: bool = False) -> dict[str, Any] | None:
    return Lease().take(claim(token), list(former), again, 0.0, sole)


def silent(home: Path) -> None:
    old = time.time() - SILENT - 1
    os.utime(home / "lease", (old, old))


def perform(token: str, *ops: dict[str, Any]) -> Any:
    request = {"verb": "perform", "site": "office", "run": f"run-{token}", "token": token, "ops": list(ops)}
    return main._answer_to(request)


def known() -> list[dict[str, Any]]:
    ((_, lines),) = [(row["run"], row["lines"]) for row in journal.runs("office")]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def begun(token: str) -> Journal:
    taken(token)
    found = Journal("office", f"run-{token}")
    found.begin({"run": f"run-{token}", "targets": []})
    return found
