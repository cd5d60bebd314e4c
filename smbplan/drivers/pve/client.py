"""Requests to the Proxmox VE API. proxmoxer speaks the wire format; here are TLS, counts and all words of an error."""

import json
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from smbplan.drivers.channel import Counts
from smbplan.drivers.home import expanded
from smbplan.drivers.pve import errors

TIMEOUT = 60.0  # seconds for one request; what takes longer is a task. Failed logins are answered late on purpose
PORT = 8006
AT_ONCE = 40  # connections that are kept


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is, who we are, and whom to trust. `secret` is the token's value, resolved."""

    endpoint: str  # https://host:port
    token: str  # user@realm!name
    secret: str
    fingerprint: str = ""  # SHA-256 of the certificate, in place of a CA
    ca_file: str = ""
    verify: bool = True

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        try:
            parts = urlsplit(self.endpoint)
            return f"{parts.hostname}:{parts.port or PORT}"
        except ValueError:
            return self.endpoint


class Client:
    """Safe for several threads, which share connections that stay open."""

    def __init__(self, access: Access, counts: Counts | None = None) -> None:
        self.access = access
        self.counts = counts or Counts()
        self._root: Any = None  # proxmoxer's
        self._own = threading.local()  # the last error's body, what was sent
        self._guard = threading.Lock()

    @property
    def changed(self) -> bool:
        """Whether this thread has sent what may have changed something, since it was told that it has not."""
        return bool(getattr(self._own, "changed", False))

    @changed.setter
    def changed(self, value: bool) -> None:
        self._own.changed = value

    def get(self, path: str, /, **params: Any) -> Any:
        return self._request("GET", path, params)

    def post(self, path: str, /, **params: Any) -> Any:
        return self._request("POST", path, params)

    def put(self, path: str, /, **params: Any) -> Any:
        return self._request("PUT", path, params)

    def delete(self, path: str, /, **params: Any) -> Any:
        return self._request("DELETE", path, params)

    def _request(self, method: str, path: str, params: dict[str, Any]) -> Any:
        """The answer's data. Raises ApiError."""
        sent = {name: int(value) if isinstance(value, bool) else value for name, value in params.items()}
        try:
            return self._once(method, path, sent)
        except errors.Lost as error:
            if method != "GET" or isinstance(error, errors.Late):
                raise
            return self._once(method, path, sent)  # pveproxy may close a connection that was idle at any time

    def _once(self, method: str, path: str, sent: dict[str, Any]) -> Any:
        import requests
        import urllib3
        from proxmoxer import ResourceException

        start, self._own.sent = time.monotonic(), False
        try:
            api = self._api()
            call = {"GET": api.get, "POST": api.post, "PUT": api.put, "DELETE": api.delete}[method]
            return call(path, **sent)
        except ResourceException as error:
            answer = self._own.answer
            message, told = answer.get("message") or "", answer.get("errors") or {}
            refused = errors.refusal(
                self.access.token, self.access.where, method, path, error.status_code, error.content, message, told
            )
            self._own.sent = not isinstance(refused, errors.Locked)  # which has changed nothing
            raise refused from None
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:  # requests' own are OSErrors
            if not self._own.sent:
                raise errors.unreached(self.access.where, error) from None
            if isinstance(error, requests.exceptions.ReadTimeout):
                raise errors.late(self.access.where, method, path, TIMEOUT) from None
            raise errors.lost(self.access.where, method, path, error) from None
        finally:
            self.changed |= self._own.sent and method != "GET"
            with self._guard:
                self.counts.round_trips += 1
                self.counts.calls += 1
                self.counts.seconds += time.monotonic() - start

    def _api(self) -> Any:
        with self._guard:
            if self._root is None:
                self._root = self._connect()
            return self._root

    def _connect(self) -> Any:
        from proxmoxer import ProxmoxAPI
        from requests.utils import get_environ_proxies

        access, parts = self.access, urlsplit(self.access.endpoint)
        user, _, name = access.token.partition("!")
        trust: Any = access.verify and not access.fingerprint
        if trust and access.ca_file:
            trust = _authority(access.ca_file)
        api = ProxmoxAPI(
            parts.hostname,
            port=parts.port or PORT,
            user=user,
            token_name=name,
            token_value=access.secret,
            verify_ssl=trust,
            timeout=TIMEOUT,
        )
        # proxmoxer has no other way to a session's adapters and hooks, and to how bodies are read.
        session, api._store["serializer"] = api._store["session"], _serializer()
        session.trust_env = False  # what is written is trusted, and no bundle or .netrc of the environment
        session.proxies.update(get_environ_proxies(access.endpoint))
        session.mount("https://", _adapter(access.fingerprint, self._own))
        session.hooks["response"].append(self._note)
        return api

    def _note(self, response: Any, *_: Any, **__: Any) -> None:
        """proxmoxer keeps of an error what its reason phrase says, and the body may say more."""
        with self._guard:
            self.counts.sent += len(response.request.body or "") + len(response.request.path_url)
            self.counts.received += len(response.content)
            self.counts.connections = _opened(response.connection)
        body: Any = {}
        if response.status_code >= 400:
            try:
                body = response.json()
            except ValueError:
                body = {}
        self._own.answer = body if isinstance(body, dict) else {}


def _authority(file: str) -> str:
    """The path of a file of certificates. Raises Unreachable."""
    path: Any = file
    try:
        path = expanded(file)
        path.open("rb").close()  # OpenSSL takes folders for empty files
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # SSLError is one
        reason = "holds no certificate" if isinstance(error, ssl.SSLError) else f"can't be read: {error.strerror}"
        hint = "write the path of a copy of /etc/pve/pve-root-ca.pem, which every node has"
        raise errors.Unreachable(f"proxmox.ca_file: {path} {reason}", "", hint) from None
    return str(path)


def _serializer() -> Any:
    """Reads bodies; proxmoxer's own takes what is no JSON for data."""
    from proxmoxer.backends.https import JsonSerializer

    class Serializer(JsonSerializer):  # type: ignore[misc]
        def loads(self, response: Any) -> Any:
            body = json.loads(response.content)
            if not isinstance(body, dict) or "data" not in body:
                raise ValueError("the answer has no data")
            return body["data"]

        def loads_errors(self, response: Any) -> None:
            """See Client._note."""

    return Serializer()


def _adapter(fingerprint: str, own: threading.local) -> Any:
    """Keeps a connection for each request that is under way; with a fingerprint it trusts that certificate only.

    `own.sent` becomes true when a request begins to go out, behind the handshake: what fails before had no effect.
    """
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPSConnectionPool
    from urllib3.connection import HTTPSConnection

    class Connection(HTTPSConnection):
        def request(self, *args: Any, **options: Any) -> None:
            own.sent = True
            super().request(*args, **options)

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, assert_fingerprint=fingerprint or None, **options)
            self.poolmanager.pool_classes_by_scheme = {"https": Pool}

        def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
            manager = super().proxy_manager_for(proxy, assert_fingerprint=fingerprint or None, **options)
            manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": Pool}
            return manager

    return Adapter(pool_maxsize=AT_ONCE)


def _opened(adapter: Any) -> int:
    """The connections that an adapter has made so far."""
    managers = [adapter.poolmanager, *adapter.proxy_manager.values()]
    pools = [manager.pools[key] for manager in managers for key in manager.pools.keys()]  # noqa: SIM118 - no iterable
    return sum(pool.num_connections for pool in pools)
