"""Replaying recorded exchanges against a server of the lab: sending, and comparing what can be compared."""

import http.client
import json
import re
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

DATA = Path(__file__).parents[2] / "data" / "pve"
UPID = re.compile(r"UPID:(\w+):[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:([^:]+:[^:]*:[^:]+:)")
# Depends on the machine, the moment or the load.
VOLATILE = {
    *("cpu", "mem", "disk", "maxdisk", "uptime", "netin", "netout", "diskread", "diskwrite", "swap", "memhost", "cpus"),
    *("pid", "pstart", "snaptime", "starttime", "endtime", "ctime", "used", "avail", "used_fraction", "next-run"),
    *("time", "localtime"),
}
SECRET = {"value", "ssl_fingerprint"}


def recordings(name: str) -> list[dict[str, Any]]:
    """The exchanges of one file."""
    samples: list[dict[str, Any]] = json.loads((DATA / f"{name}.json").read_text())["samples"]
    return samples


@dataclass
class Client:
    """Sends a recorded request as whoever sent it, with today's ids in it."""

    port: int
    folder: Path
    keys: dict[str, dict[str, str]]
    known: dict[str, str] = field(default_factory=dict)

    def send(self, sample: dict[str, Any]) -> tuple[int, str, Any]:
        """Status, reason and body; waits for a task that had ended when it was recorded."""
        request = sample["request"]
        if sample["body"] and _stopped(sample["body"]):
            end = time.monotonic() + 10
            while time.monotonic() < end:
                answer = self._send(sample["who"], request)
                if answer[0] != 200 or answer[2]["data"]["status"] == "stopped":
                    return answer
                time.sleep(0.02)
        return self._send(sample["who"], request)

    def _send(self, who: str, request: dict[str, Any]) -> tuple[int, str, Any]:
        method, path, headers = request["method"], request["path"], dict(self.keys.get(who, {}))
        given = (request.get("params") or {}).items()
        params = {key: value if isinstance(value, list) else str(value) for key, value in given}
        params |= {key: "x" * length for key, length in request.get("long", {}).items()}
        for recorded, now in self.known.items():
            path = path.replace(recorded, now)
        body: bytes | None = None
        if method in ("POST", "PUT", "PATCH"):
            body = urlencode(params, doseq=True).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif params:
            path += "?" + urlencode(params, doseq=True)
        body = self._special(request, headers, body)
        kind = http.client.HTTPConnection if request.get("plain_http") else http.client.HTTPSConnection
        options = {} if request.get("plain_http") else {"context": ssl._create_unverified_context()}
        connection = kind("127.0.0.1", self.port, timeout=30, **options)
        try:
            connection.request(method, quote(path, safe="/?&=:%!@+,.*{}"), body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.getheader("Content-Type", "").startswith("application/json"):
                return answer.status, answer.reason, json.loads(text)
            return answer.status, answer.reason, text
        finally:
            connection.close()

    def _special(self, request: dict[str, Any], headers: dict[str, str], body: bytes | None) -> bytes | None:
        headers |= request.get("headers", {})
        if request.get("ticket_only"):
            headers["Cookie"] = self.keys["root@pam"]["Cookie"]
        if request.get("tampered"):
            headers["Cookie"] = self.keys["root@pam"]["Cookie"][:-3] + "abc"
        if "json" in request:
            headers["Content-Type"] = "application/json"
            return json.dumps(request["json"]).encode()
        if "raw" in request:
            headers.pop("Content-Type", None)
            return str(request["raw"]).encode()
        if "large" in request:
            return b"x" * int(request["large"])
        if "multipart" in request:
            headers["Content-Type"] = "multipart/form-data; boundary=limit"
            fields = request["multipart"]
            return (
                f'--limit\r\nContent-Disposition: form-data; name="content"\r\n\r\n{fields["content"]}\r\n'
                f'--limit\r\nContent-Disposition: form-data; name="filename"; filename="{fields["filename"]}"\r\n\r\n'
                "content\r\n--limit--\r\n"
            ).encode()
        return body

    def learn(self, recorded: Any, now: Any) -> None:
        """Ids that were given out: the recorded ones stand for today's from here on."""
        if not isinstance(recorded, dict) or not isinstance(now, dict):
            return
        old, new = recorded.get("data"), now.get("data")
        if isinstance(old, str) and old.startswith("UPID:") and isinstance(new, str):
            self.known[old] = new
        if isinstance(new, dict) and "full-tokenid" in new:
            self.keys[new["full-tokenid"]] = {"Authorization": f"PVEAPIToken={new['full-tokenid']}={new['value']}"}

    def normal(self, value: Any, key: str = "", inside: dict[str, Any] | None = None) -> Any:
        """The value without what can't be the same twice."""
        inside = inside or {}
        if isinstance(value, dict):
            return {name: self.normal(item, name, value) for name, item in value.items()}
        if isinstance(value, list):
            items = [self.normal(item, key) for item in value]
            return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
        number = key in VOLATILE or (key == "total" and "avail" in inside)
        number = number or (key == "size" and inside.get("content") in ("iso", "vztmpl"))
        if number and isinstance(value, int | float):
            return "(number)"
        if key.startswith("pressure"):
            return "(pressure)"
        if key in SECRET or (key == "digest" and ("storage" in inside or "parent" in inside)):
            return f"({key})"
        return self._normal_text(value, key) if isinstance(value, str) else value

    def _normal_text(self, value: str, key: str) -> str:
        value = value.replace(str(self.folder / "vz"), "/var/lib/vz")
        value = UPID.sub(r"UPID:\1:(process):\2", value)
        if key == "content":
            return ",".join(sorted(value.split(",")))
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "(uuid)", value)
        value = re.sub(r"\d{4}([-_])\d\d\1\d\d([ -])\d\d([:_])\d\d\3\d\d", "(time)", value)
        return re.sub(r"(Backup of VM \d+ failed) - .*", r"\1", value)


def _stopped(body: Any) -> bool:
    data = body.get("data") if isinstance(body, dict) else None
    return isinstance(data, dict) and data.get("status") == "stopped" and "upid" in data
