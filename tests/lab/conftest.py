"""A lab for each test worker, and sites on it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.site import Site

from smbplan.lab import Lab

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def machines() -> Iterator[Lab]:
    """Two nodes and a client, for all tests of this worker."""
    lab = Lab("-".join(filter(None, ["test", os.environ.get("PYTEST_XDIST_WORKER")])))
    lab.down()
    lab.up(nodes=2)
    yield lab
    lab.down()


@pytest.fixture
def lab(machines: Lab) -> Lab:
    """The same, as new."""
    machines.reset()
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
