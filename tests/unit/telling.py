"""Targets that tell of runs, for the tests of their recovery."""

import json
from collections.abc import Mapping
from typing import Any

from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Unreachable
from smbplan.drivers.fleet import Fleet
from smbplan.engine.encoding import step_to_json
from smbplan.engine.resource import Key
from smbplan.engine.step import Move, Step

RUN, OLDER = "20260102-120000-abcd", "20260101-120000-abcd"
SITE = """
version: 1
site: office
gateways:
  files: {host: files}
  vault: {host: vault}
users:
  alice: {password: {env: ALICE}}
shares:
  s: {gateway: files, storage: {directory: /srv/s}, access: {write: [alice]}}
"""


def step(name: str, target: str = "files", *after: str, **options: Any) -> Step:
    move = Move(name, Key("file", f"/{name}"), None, {"mark": None}, options=options)
    return Step(name, name, target, name, move, move.reversed(None), after=after, units=("share.s",))


def header(run: str = RUN, *targets: str, **more: Any) -> dict[str, Any]:
    return {"run": run, "site": "office", "owner": "alice@far", "since": 1.0, "targets": list(targets), **more}


def doing(each: Step, status: str = "doing", time: float = 1.0) -> dict[str, Any]:
    return {"step": each.id, "status": status, "words": step_to_json(each), "time": time}


class Told(Channel):
    """A target that tells what it is told to tell."""

    answers: Mapping[str, Any]

    def open(self) -> None:
        if self.answers.get("away"):
            raise Unreachable(f"{self.endpoint.name}: no answer from the host")

    def _exchange(self, line: bytes, timeout: float) -> bytes:
        verb = json.loads(line)["verb"]
        quiet = {"facts": {}, "states": [], "records": {}, "peers": {}} if verb == "read" else None
        return json.dumps({"ok": self.answers.get(verb, quiet)}).encode()


def fleet(**answers: Mapping[str, Any]) -> Fleet:
    def connect(endpoint: Endpoint, counts: Counts) -> Channel:
        made = Told(endpoint, counts)
        made.answers = answers[endpoint.name]
        return made

    return Fleet("office", {name: Endpoint(name) for name in answers}, connect)


def known(*lines: Mapping[str, Any], run: str = RUN) -> dict[str, Any]:
    return {"runs": {"runs": [{"run": run, "lines": list(lines)}], "lease": None}}


NOTHING: dict[str, Any] = {"runs": {"runs": [], "lease": None}}
