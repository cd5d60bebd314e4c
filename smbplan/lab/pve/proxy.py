"""Other nodes: whether they answer, and passing requests on to them."""

import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Mapping
from typing import IO, Any

from smbplan.lab.pve import auth
from smbplan.lab.pve.errors import ApiError, fail
from smbplan.lab.pve.site import Site

CONNECT_TIMEOUT = 3.0
_PROBE_TIMEOUT = 0.3
_KEPT = ("authorization", "cookie", "csrfpreventiontoken", "content-type", "content-length", "accept")


def context() -> ssl.SSLContext:
    """Nodes of one lab trust each other's address; all that is secret is in files that they share."""
    found = ssl.create_default_context()
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    return found


def online(site: Site, node: str) -> bool:
    """Whether the node's API can be reached."""
    if node == site.node:
        return True
    try:
        with socket.create_connection(site.address(node), timeout=_PROBE_TIMEOUT):
            return True
    except OSError:
        return False


def _connect(site: Site, node: str) -> http.client.HTTPSConnection:
    """595, with the system's words as the reason, for a node that can't be reached."""
    address = site.address(node)
    connection = http.client.HTTPSConnection(*address, timeout=CONNECT_TIMEOUT, context=context())
    try:
        connection.connect()
    except TimeoutError:
        raise ApiError(595, "Connection timed out", bare=True) from None
    except OSError as error:
        text = os.strerror(error.errno) if error.errno else "Connection refused"
        raise ApiError(595, text, bare=True) from None
    connection.sock.settimeout(600)
    return connection


def forward(
    site: Site, node: str, method: str, target: str, headers: Mapping[str, str], body: IO[bytes] | bytes | None
) -> tuple[int, str, str, bytes]:
    """The other node's answer: status, reason, content type, body. It checks the caller's ticket itself."""
    connection = _connect(site, node)
    try:
        kept = {name: value for name, value in headers.items() if name.lower() in _KEPT}
        connection.request(method, target, body=body, headers=kept)
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.getheader("Content-Type", ""), answer.read()
    except (OSError, http.client.HTTPException):
        raise ApiError(596, "Connection reset by peer", bare=True) from None
    finally:
        connection.close()


def call(site: Site, node: str, method: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
    """A call to another node as root@pam, for tasks that end there; waits for the task it starts."""
    headers = {
        "Cookie": f"PVEAuthCookie={auth.make_ticket(site.root, 'root@pam')}",
        "CSRFPreventionToken": auth.make_csrf(site.root, "root@pam"),
        "Content-Type": "application/json",
    }
    body = json.dumps(params or {}).encode() if method in ("POST", "PUT") else None
    code, reason, _, text = forward(site, node, method, f"/api2/json{path}", headers, body)
    if code != 200:
        raise fail(reason)
    data = json.loads(text)["data"]
    if isinstance(data, str) and data.startswith("UPID:"):
        while True:
            state = call(site, node, "GET", f"/nodes/{node}/tasks/{data}/status")
            if state["status"] == "stopped":
                if state["exitstatus"] != "OK":
                    raise fail(str(state["exitstatus"]))
                break
            time.sleep(0.1)
    return data
