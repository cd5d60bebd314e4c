"""The agent's folders, in place of the host's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from smbplan.drivers.agent import core, journal, lease, main, turns
from smbplan.drivers.agent.inventory import Inventory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for module in (core, lease, main, turns):
        monkeypatch.setattr(module, "LOCAL", tmp_path / "smbplan")
    for module in (core, lease, journal, main, turns):
        monkeypatch.setattr(module, "STATE", tmp_path / "smbplan")
    monkeypatch.setattr(Inventory.__init__, "__defaults__", (tmp_path / "smbplan" / "inventory.json",))
    monkeypatch.setattr(core.IMAGES, "_folder", tmp_path / "images" / "office" / "run")
    monkeypatch.setattr(core.IMAGES, "of", lambda *_: None)
    monkeypatch.setattr(lease, "LOCK", f"{tmp_path}/run/smbplan{{}}.lock")
    yield tmp_path / "smbplan"
