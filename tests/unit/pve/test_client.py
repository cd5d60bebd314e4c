"""Whom the client believes, and what it takes for done, undone and unknown: against real TLS servers."""

import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from smbplan.drivers.pve.client import Access, Client
from smbplan.drivers.pve.errors import ApiError, Lost, Unreachable, colons

Files = tuple[Path, Path]
TOKEN = "ops@pve!smbplan"
GOOD = b'{"data": {"release": "9.1"}}'
CLOSES = "X-Test: closes\r\n"  # and the client doesn't know


def answer(body: bytes = GOOD, *, status: str = "200 OK", length: int | None = None, extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}"
    head += "" if "chunked" in extra else f"Content-Length: {len(body) if length is None else length}\r\n"
    return f"{head}\r\n".encode() + body


class Listening:
    """A port whose thread ends before it is closed: that took the next socket of the same number for its own."""

    def __init__(self, serve: Callable[[], None]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=serve, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def accept(self) -> socket.socket:
        return self._socket.accept()[0]

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()


class Server:
    """Speaks TLS, and answers each request with the next of its answers.

    None cuts the connection off; "reset" resets it; "greet" is an answer to a connection, which is closed unheard.
    """

    def __init__(self, certificate: Files, answers: list[bytes | str | None]) -> None:
        self.answers, self.requests = list(answers), list[bytes]()
        self.idle = threading.Event()  # a connection has been closed
        self.ca = str(certificate[0].parents[2] / "pve-root-ca.pem")
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(*certificate)
        self.listening = Listening(self._serve)
        self.port = self.listening.port
        self.listening.begin()

    def client(self, **trust: object) -> Client:
        return Client(Access(f"https://127.0.0.1:{self.port}", TOKEN, "secret", **(trust or {"ca_file": self.ca})))  # type: ignore[arg-type]

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                plain = self.listening.accept()
                if self.answers[:1] == ["greet"]:
                    self.answers.pop(0)
                    plain.close()
                    continue
                threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        with suppress(OSError), self.context.wrap_socket(plain, server_side=True) as line:
            while request := _request(line):
                self.requests.append(request)
                found = self.answers.pop(0) if self.answers else None
                if found == "reset":
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if not isinstance(found, bytes):
                    return
                line.sendall(found)
                if b"Connection: close" in found or CLOSES.encode() in found:
                    break
        self.idle.set()


def _request(line: socket.socket) -> bytes:
    """One with its body, which comes in a part of its own; nothing at the end."""
    found = line.recv(65536)
    length = re.search(rb"Content-Length: (\d+)", found)
    while length and len(found.partition(b"\r\n\r\n")[2]) < int(length[1]):
        found += line.recv(65536)
    return found


class Proxy:
    """Passes CONNECT on."""

    def __init__(self) -> None:
        self.asked = list[str]()
        self.listening = Listening(self._serve)
        self.port = self.listening.port
        self.listening.begin()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                here = self.listening.accept()
                place = here.recv(65536).split()[1].decode()
                self.asked.append(place)
                host, _, port = place.rpartition(":")
                there = socket.create_connection((host, int(port)))
                here.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while part := here.recv(65536):
            there.sendall(part)
        there.shutdown(socket.SHUT_WR)


Start = Callable[..., Server]


@pytest.fixture
def serve(certificate: Files, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    begun: list[Server] = []

    def begin(*answers: bytes | str | None) -> Server:
        begun.append(Server(certificate, list(answers)))
        return begun[-1]

    yield begin
    for each in begun:
        each.listening.end()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, serve: Start) -> Iterator[Proxy]:
    found = Proxy()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{found.port}")
    yield found
    found.listening.end()


def test_a_proxy_sees_no_more_than_who_is_trusted(serve: Start, proxy: Proxy, certificate: Files) -> None:
    server = serve(answer(), answer())
    right = colons(hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate[0].read_text())).hexdigest())
    assert server.client(fingerprint=right).get("version") == {"release": "9.1"}
    client = server.client(ca_file=server.ca)
    assert client.get("version") == {"release": "9.1"} and client.counts.connections == 1
    assert proxy.asked == [f"127.0.0.1:{server.port}"] * 2
    with pytest.raises(Unreachable, match="shows another certificate than the one that is written"):
        server.client(fingerprint=":".join(["AB"] * 32)).post("access/roles")
    with pytest.raises(Unreachable, match="signed by nobody"):
        server.client(fingerprint="").post("access/roles")
    assert len(server.requests) == 2


def test_hosts_without_a_proxy_and_a_proxy_that_is_not_there(
    serve: Start, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert serve(answer()).client().get("version") and proxy.asked == []
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="proxy that the environment names") as refused:
        serve(answer()).client().post("access/roles")
    assert "NO_PROXY" in refused.value.hint


def test_the_environment_changes_nothing_of_what_is_written(
    serve: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, netrc = serve(answer()), tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, server.ca)
    with pytest.raises(Unreachable, match="signed by nobody"):
        server.client(fingerprint="").get("version")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nosuch.pem")
    assert server.client(ca_file=server.ca).get("version")
    assert f"Authorization: PVEAPIToken={TOKEN}=secret".encode() in server.requests[0]


CUT = {
    "cut": None,
    "reset": "reset",
    "half a head": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-",
    "half a body": answer(GOOD[:9], length=len(GOOD), extra="Connection: close\r\n"),
    "half a chunk": answer(b"9\r\n{", extra="Transfer-Encoding: chunked\r\nConnection: close\r\n"),
    "no gzip": answer(extra="Content-Encoding: gzip\r\n"),
    "no JSON": answer(b"<html>login</html>"),
    "no whole JSON": answer(GOOD[:9]),
    "no UTF-8": answer(b'{"data": "\xff"}'),
    "no data": answer(b'{"success": 1}'),
    "no object": answer(b'["data"]'),
    "nothing": answer(b""),
}


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_a_write_without_a_whole_answer_is_not_untouched(serve: Start, method: str, cut: bytes | str | None) -> None:
    server = serve(answer(), cut, answer())
    client = server.client()
    client.get("version")
    with pytest.raises(Lost) as lost:
        getattr(client, method)("pools", poolid="x")
    assert "its effect is unknown" in lost.value.hint and not isinstance(lost.value, Unreachable)
    assert lost.value.detail.startswith(f"{method.upper()} pools: ")
    assert len(server.requests) == 2  # and it was not sent again


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
def test_a_read_is_tried_again_once(serve: Start, cut: bytes | str | None) -> None:
    server = serve(cut, answer(), cut, cut, answer())
    client = server.client()
    assert client.get("version") == {"release": "9.1"}
    with pytest.raises(Lost) as lost:
        client.get("version")
    assert "try again" in lost.value.hint and len(server.requests) == 4


def test_a_connection_that_was_closed_while_it_was_idle(serve: Start) -> None:
    server = serve(answer(extra=CLOSES), answer())
    client = server.client()
    client.get("version")
    server.idle.wait(5)
    assert client.post("pools", poolid="x") == {"release": "9.1"}
    assert len(server.requests) == 2


def test_what_fails_before_anything_was_sent_had_no_effect(serve: Start) -> None:
    server = serve("greet", answer())
    client = server.client()
    with pytest.raises(Unreachable):
        client.post("pools", poolid="x")
    assert client.post("pools", poolid="x") and len(server.requests) == 1
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server.port = listening.getsockname()[1]
    with pytest.raises(Unreachable, match="nothing answers on that port"):
        server.client().post("pools", poolid="x")


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from smbplan.drivers.pve import client as module

    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = Access(f"https://127.0.0.1:{silent.getsockname()[1]}", TOKEN, "secret", verify=False)
        with pytest.raises(Unreachable, match="no answer"):
            Client(there).post("pools", poolid="x")


def test_an_answer_that_is_late(serve: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from smbplan.drivers.pve import client as module

    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    server = serve(b"", answer())  # nothing is sent, and the connection stays
    with pytest.raises(ApiError, match="did not answer within") as late:
        server.client().post("pools", poolid="x")
    assert "its effect is unknown" in late.value.hint and not isinstance(late.value, Unreachable)


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"{", b""])
def test_errors_without_a_body_that_can_be_read(serve: Start, body: bytes) -> None:
    with pytest.raises(ApiError, match="Proxmox: CT is locked"):
        serve(answer(body, status="500 CT is locked (backup)")).client().post("pools", poolid="x")


def test_errors_with_all_their_words(serve: Start) -> None:
    body = json.dumps({"data": None, "errors": {"poolid": "too long"}}).encode()
    with pytest.raises(ApiError, match="Proxmox refuses poolid: too long"):
        serve(answer(body, status="400 Parameter verification failed.")).client().post("pools", poolid="x")


def test_files_that_hold_no_certificate(serve: Start, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "key.pem").write_bytes(b"\xff-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    for file, words in (
        ("nosuch.pem", "can't be read: No such file or directory"),
        ("", "can't be read: Is a directory"),
        ("empty.pem", "holds no certificate"),
        ("key.pem", "holds no certificate"),
    ):
        with pytest.raises(Unreachable, match=words) as refused:
            serve().client(ca_file=str(tmp_path / file)).get("version")
        assert "proxmox.ca_file" in refused.value.summary and "pve-root-ca.pem" in refused.value.hint


@pytest.mark.parametrize("endpoint", ["https://pve1:99999", "https://[::1"])
def test_endpoints_of_an_older_plan_that_lead_nowhere(endpoint: str) -> None:
    with pytest.raises(Unreachable, match="can't be reached"):
        Client(Access(endpoint, TOKEN, "secret")).get("version")
