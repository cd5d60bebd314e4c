"""The HTTPS server of a node: transport, authentication, formats of answers, passing on to other nodes."""

import json
import re
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from smbplan.lab.pve import api, auth, multipart, proxy, routing, status
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import ApiError
from smbplan.lab.pve.site import Site

LIMIT = 512 * 1024
PUBLISH_EVERY = 10.0
_METHODS = ("GET", "POST", "PUT", "DELETE")
_OPEN = {("GET", "/access/ticket"), ("POST", "/access/ticket"), ("GET", "/access/domains")}
_TICKET_ONLY = ("/access/ticket", "/access/password")
_NOBODY = "nobody"


class Server(ThreadingHTTPServer):
    """Listens for TLS, and answers plain HTTP with where to go."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, site: Site, address: tuple[str, int], certificate: Path, key: Path):
        self.site = site
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event."""

    def publish_forever(self) -> None:
        """Tell the other nodes how this one is."""
        while True:
            with suppress(Exception):
                status.publish(self.site)
            time.sleep(PUBLISH_EVERY)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a kept connection would wait 40 ms for each answer
    wbufsize = -1
    server_version = "pve-api-daemon/3.0"
    server: Server
    plain = False

    def setup(self) -> None:
        """TLS is begun in the connection's own thread, so that a silent client holds up nobody."""
        self.request.settimeout(60)
        first = self.request.recv(1, socket.MSG_PEEK)
        self.plain = bool(first) and first != b"\x16"
        if not self.plain:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def version_string(self) -> str:
        """The `Server` header."""
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: tests look at answers."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        self.form = "json"
        self.body_read = False
        try:
            self._handle()
        except ApiError as error:
            self._refuse(error)
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True
        except Exception as error:
            self._refuse(ApiError(500, f"{error}".rstrip() or type(error).__name__))

    def _handle(self) -> None:
        if self.plain:
            host = self.headers.get("Host", "")
            self._send(301, "Moved Permanently", b"Moved Permanently", "", {"Location": f"https://{host}{self.path}"})
            return
        if self.command not in _METHODS:
            raise ApiError(501, f"method '{self.command}' not available", bare=True)
        url = urlsplit(self.path)
        match = re.fullmatch(r"/api2/(json|extjs)(/.*)?", url.path)
        if not match:
            raise ApiError(501, f"no such file '{url.path}'", bare=True)
        self.form, path = match[1], (match[2] or "/").rstrip("/") or "/"
        length = int(self.headers.get("Content-Length") or 0)
        multipart_body = self.headers.get("Content-Type", "").startswith("multipart/form-data")
        self._check_transport(length, multipart_body)
        user = self._authenticate(path)
        found, uri = api.ROUTES.find(self.command, unquote(path) if "%" not in path else path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        site = self.server.site
        rights = Rights(site.root, site.dialect, user)
        raw: dict[str, Any] = query
        if not multipart_body:
            body = self._body(length)
            raw = {**query, **self._params(body)}
        routing.check_rights(found, rights, uri, site, raw)
        node = found.node(uri, raw)
        if node not in (None, site.node, "localhost"):
            self._pass_on(str(node), length if multipart_body else None, b"" if multipart_body else body)
            return
        if multipart_body:
            raw = {
                **query,
                **multipart.receive(cast(Any, self.rfile), length, self.headers["Content-Type"], self._spool()),
            }
            self.body_read = True
        data, extra = routing.perform(found, site, rights, uri, raw)
        self._reply({"data": data, **extra})

    def _spool(self) -> Path:
        place = self.server.site.local / "uploads"
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _check_transport(self, length: int, upload: bool) -> None:
        if length and self.command in ("GET", "DELETE"):
            raise ApiError(501, f"Unexpected content for method '{self.command}'", bare=True)
        if length > LIMIT and not upload:
            raise ApiError(501, "for data too large", bare=True)

    def _body(self, length: int) -> bytes:
        self.body_read = True
        return self.rfile.read(length) if length else b""

    def _params(self, body: bytes) -> dict[str, Any]:
        """Parameters of the body: JSON if it says so, else a form."""
        text = body.decode("utf-8", "replace")
        if self.headers.get("Content-Type", "").split(";")[0].strip() == "application/json" and text:
            try:
                return cast("dict[str, Any]", dict(json.loads(text)))
            except (ValueError, TypeError):
                raise ApiError(400, "malformed JSON string", bare=True) from None
        values: dict[str, Any] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            if name in values:
                values[name] = [*(values[name] if isinstance(values[name], list) else [values[name]]), value]
            else:
                values[name] = value
        return values

    def _authenticate(self, path: str) -> str:
        site = self.server.site
        token = re.fullmatch(r"PVEAPIToken[ =](.*)", self.headers.get("Authorization", ""))
        if token:
            user = auth.api_token_user(site.root, unquote(token[1]))
            if user is None:
                self._unauthorized("Authentication failed!")
            if path in _TICKET_ONLY:
                raise ApiError(
                    403,
                    f"Permission check failed (URI '{path}' not available with API token, need proper ticket.\n)",
                )
            return cast(str, user)
        if (self.command, path) in _OPEN:
            return _NOBODY
        ticket = self._ticket()
        if not ticket:
            self._unauthorized("No ticket")
        user = auth.ticket_user(site.root, ticket)
        if user is None:
            self._unauthorized("Authentication failed!")
        known = cast(str, user)
        if self.command != "GET" and not auth.csrf_valid(site.root, known, self.headers.get("CSRFPreventionToken", "")):
            self._unauthorized("Permission denied - invalid csrf token")
        return known

    def _ticket(self) -> str:
        with suppress(CookieError):
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
            if "PVEAuthCookie" in cookies:
                return unquote(cookies["PVEAuthCookie"].value)
        # Some clients send characters that are strictly not allowed in a cookie.
        match = re.search(r"PVEAuthCookie=([^;]*)", self.headers.get("Cookie", ""))
        return unquote(match[1].strip('"')) if match else ""

    def _unauthorized(self, reason: str) -> None:
        time.sleep(self.server.site.auth_delay)
        raise ApiError(401, reason, bare=True)

    def _pass_on(self, node: str, upload: int | None, body: bytes) -> None:
        """Another node's call: its answer as it is."""
        site = self.server.site
        headers = dict(self.headers.items())
        if upload is None:
            answer = proxy.forward(site, node, self.command, self.path, headers, body or None)
        else:
            site.address(node)
            with tempfile.TemporaryFile(dir=self._spool()) as file:
                left = upload
                while left:
                    chunk = self.rfile.read(min(1 << 16, left))
                    if not chunk:
                        break
                    file.write(chunk)
                    left -= len(chunk)
                self.body_read = True
                file.seek(0)
                answer = proxy.forward(site, node, self.command, self.path, headers, cast(Any, file))
        code, reason, kind, text = answer
        self._send(code, reason, text, kind)

    def _reply(self, content: Mapping[str, Any]) -> None:
        if self.form == "extjs":
            content = {"success": 1, **content}
        self._send(200, "OK", json.dumps(content).encode(), "application/json;charset=UTF-8")

    def _refuse(self, error: ApiError) -> None:
        self.close_connection = True
        if error.bare:
            plain = error.message if error.status == 501 and "not available" not in error.message else ""
            self._send(error.status, error.reason, plain.encode(), "")
            return
        missing = error.status == 501
        content: dict[str, Any] = {
            "data": None,
            "message": error.message.removesuffix("\n") + ("" if missing else "\n"),
        }
        if error.errors is not None:
            content["errors"] = error.errors
        code, reason = error.status, error.reason
        if self.form == "extjs":
            content |= {"success": 0, "status": str(code) if error.errors is not None else code}
            code, reason = 200, "OK"
        self._send(code, reason, json.dumps(content).encode(), "application/json;charset=UTF-8")

    def _send(self, code: int, reason: str, body: bytes, kind: str, more: Mapping[str, str] | None = None) -> None:
        if not self.body_read and int(self.headers.get("Content-Length") or 0):
            self.close_connection = True
        self.send_response(code, reason.encode("latin-1", "replace").decode("latin-1"))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "max-age=0")
        self.send_header("Pragma", "no-cache")
        self.send_header("Connection", "close" if self.close_connection else "Keep-Alive")
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if self.close_connection:
            self._drain()

    def _drain(self) -> None:
        """Read what the client still sends: closing with data unread would lose the answer."""
        with suppress(OSError, ValueError):
            left = 0 if self.body_read else min(int(self.headers.get("Content-Length") or 0), 8 * LIMIT)
            while left > 0:
                chunk = self.rfile.read(min(left, 1 << 16))
                if not chunk:
                    break
                left -= len(chunk)


def serve(site: Site, address: tuple[str, int], certificate: Path, key: Path) -> Server:
    """A listening server; call `serve_forever`."""
    server = Server(site, address, certificate, key)
    threading.Thread(target=server.publish_forever, daemon=True).start()
    return server
