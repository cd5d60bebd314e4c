"""Servers for the tests of this folder."""

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab.published import violations
from unit.pve.emulated import TEMPLATE, Lab
from unit.pve.gateways import Gateways
from unit.pve.replay import Client

from smbplan.drivers.pve.client import Client as ApiClient
from smbplan.lab.pve import auth, backend, certificates, server
from smbplan.lab.pve.__main__ import initialise
from smbplan.lab.pve.site import Site, load_machines

Start = Callable[..., list[Lab]]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One for all servers of these tests."""
    folder = tmp_path_factory.mktemp("certificate")
    site = Site("pve1", folder, folder, backend.Dry(folder, "pve1", folder))
    return certificates.ensure(site, "127.0.0.1")


@pytest.fixture
def start(tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a fresh cluster with the recordings' storage and template; a Lab for each node."""
    monkeypatch.setattr(auth, "_ROUNDS", 1)
    root, vz = tmp_path / "pve", tmp_path / "vz"
    labs: list[Lab] = []
    servers: list[server.Server] = []

    def begin(nodes: tuple[str, ...] = ("pve1",), dialect: str = "9.1") -> list[Lab]:
        initialise(root, dict.fromkeys(nodes, "127.0.0.1"), dialect, "root-password")
        content = "backup,rootdir,iso,vztmpl,images,snippets"
        (root / "storage.cfg").write_text(f"dir: local\n\tpath {vz}\n\tcontent {content}\n\tprune-backups keep-all=1\n")
        for folder in ("template/cache", "template/iso", "dump"):
            (vz / folder).mkdir(parents=True)
        (vz / "template" / "cache" / TEMPLATE).write_bytes(b"0")
        ticket = auth.make_ticket(root, "root@pam")
        key = {"Cookie": f"PVEAuthCookie={ticket}", "CSRFPreventionToken": auth.make_csrf(root, "root@pam")}
        members = json.loads((root / ".members").read_text())
        for node in nodes:
            local = tmp_path / node
            (local / "tasks").mkdir(parents=True)
            (root / "nodes" / node / "pve-ssl.pem").write_bytes(certificate[0].read_bytes())
            machines = partial(load_machines, "dry", root, node, local)
            site = Site(node, root, local, backend.Dry(root, node, local), auth_delay=0, open_machines=machines)
            running = server.Server(site, ("127.0.0.1", 0), *certificate)
            threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
            members["nodelist"][node]["port"] = running.server_port
            servers.append(running)
            labs.append(Lab(site, Client(running.server_port, tmp_path, {"root@pam": dict(key)})))
        (root / ".members").write_text(json.dumps(members))
        return labs

    yield begin
    for lab in labs:
        lab.hold(False)
        lab.settle()
    for running in servers:
        running.shutdown()
        running.server_close()


@pytest.fixture
def lab(start: Start) -> Lab:
    """A cluster of one node."""
    return start()[0]


@pytest.fixture
def requests_follow_the_published_schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """8.4 knows nothing that 9.1 does not."""
    wrong: list[str] = []
    real = ApiClient._request

    def send(self: ApiClient, method: str, path: str, params: dict[str, Any]) -> Any:
        wrong.extend(violations(method, path, params, "8.4"))
        return real(self, method, path, params)

    monkeypatch.setattr(ApiClient, "_request", send)
    yield
    assert wrong == []


@pytest.fixture
def ca(certificate: tuple[Path, Path]) -> Path:
    return certificate[0].parents[2] / "pve-root-ca.pem"


@pytest.fixture
def gateways(lab: Lab, ca: Path) -> Gateways:
    return Gateways(lab, ca)
