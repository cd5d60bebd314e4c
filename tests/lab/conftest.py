"""A lab for each test worker, and sites on it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.published import violations
from lab.site import Site

from smbplan.drivers.pve.client import Client
from smbplan.lab import Lab
from smbplan.lab.state import State

# What takes longest. Each worker begins with one line of these, so that none of them comes last.
FIRST = (
    ("test_vm.py",),
    ("test_vm_faults.py",),
    ("test_machines.py", "test_lxc.py", "test_lxc_faults.py"),
    ("test_faults.py", "test_native.py", "test_containers.py"),
)
EXAMPLES = Path(__file__).parents[2] / "examples"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """xdist's worksteal gives each worker an equal part, in this order; who has none left takes from others' ends."""
    heads = [[item for name in names for item in items if item.path.name == name] for names in FIRST]
    rest = [item for item in items if not any(item in head for head in heads)]
    labs = [item for item in rest if item.get_closest_marker("lab")]
    units = [item for item in rest if item not in labs]
    parts, size, ordered = len(heads), -(-len(items) // len(heads)), list[pytest.Item]()
    for number, head in enumerate(heads):
        ordered += [*head, *labs[number * len(labs) // parts : (number + 1) * len(labs) // parts]]
        quick = units[: size * (number + 1) - len(ordered)]
        ordered, units = ordered + quick, units[len(quick) :]
    items[:] = [*ordered, *units]


@pytest.fixture(autouse=True)
def requests_follow_the_published_schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever smbplan asks of a cluster in any test; one that plays 8.4 is held to what 8.4 knows."""
    wrong: list[str] = []
    real = Client._request

    def request(self: Client, method: str, path: str, params: dict[str, Any]) -> Any:
        lab = self.access.ca_file.split("/")[4] if "/smbplan/lab/" in self.access.ca_file else ""
        wrong.extend(violations(method, path, params, State(lab).dialect() if lab else "9.1"))
        return real(self, method, path, params)

    monkeypatch.setattr(Client, "_request", request)
    yield
    assert wrong == []


@pytest.fixture(scope="session")
def machines() -> Iterator[Lab]:
    """Two nodes and a client, for all tests of this worker."""
    lab = Lab("-".join(filter(None, ["test", os.environ.get("PYTEST_XDIST_WORKER")])))
    lab.down()
    lab.up(nodes=2)
    yield lab
    lab.down()


@pytest.fixture(scope="module", params=["9.1", "8.4"])
def cluster(machines: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Three nodes of Proxmox VE. 8.4 is a dialect from the published schemas' differences; it was not recorded."""
    lab = Lab(f"{machines.name}-pve")
    lab.down()
    lab.up(nodes=3, pve=True, dialect=request.param)
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def domain(machines: Lab) -> Iterator[Lab]:
    """Two nodes, a client, and the controller of an Active Directory domain."""
    lab = Lab(f"{machines.name}-ad")
    lab.down()
    lab.up(nodes=2, domain="CORP.TEST")
    yield lab
    lab.down()


@pytest.fixture
def lab(machines: Lab) -> Lab:
    """The same, as new; but for the client, where nothing is managed."""
    machines.reset("pve1", "pve2")
    return machines


@pytest.fixture
def site(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """examples/quickstart, on this worker's lab."""
    return prepared(lab, tmp_path, monkeypatch, "quickstart")


def prepared(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str) -> Site:
    for name in ("ALICE", "BOB", "CAROL"):
        monkeypatch.setenv(f"{name}_PASSWORD", f"{name.lower()}-Geheim-1")
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    folder = tmp_path / example
    shutil.copytree(EXAMPLES / example, folder)
    for path in folder.glob("*.yaml"):
        path.write_text(path.read_text().replace("/lab/default/", f"/lab/{lab.name}/"))
    return Site(lab, folder)
