"""A cluster whose nodes have different versions of Proxmox VE, as while it is upgraded."""

from pathlib import Path
from typing import Any

import pytest
from unit.kinds.sites import site
from unit.pve.emulated import Lab
from unit.pve.gateways import Gateways
from unit.pve.machined import FS, defined, folder

from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError
from smbplan.engine import plan as planning
from smbplan.kinds import expand, kinds
from smbplan.kinds.guest import CLUSTER

__all__ = ["folder"]


@pytest.mark.parametrize(
    ("versions", "refused"),
    [
        (
            {"version": "9.1.8", "nodes/pve1/version": "8.3.5"},
            ["Proxmox VE 8.3.5 has no virtio-fs, which came with 8.4"],
        ),
        ({"version": "8.3.5", "nodes/pve1/version": "9.1.8"}, []),
        ({"version": "8.3.5"}, ["Proxmox VE 8.3.5 has no virtio-fs, which came with 8.4"]),
        ({"version": "9.1.8"}, []),
    ],
)
def test_virtio_fs_needs_8_4_on_the_node_of_its_gateway(
    lab: Lab, ca: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], refused: list[str]
) -> None:
    """Where that doesn't answer, the endpoint speaks for it. No other node is asked."""
    asked: list[str] = []
    real = Client.get

    def get(self: Client, path: str, /, **params: Any) -> Any:
        if not path.endswith("version"):
            return real(self, path, **params)
        asked.append(path)
        if path not in versions:
            raise ApiError("no route to host", "", "", 595)
        return {"version": versions[path]}

    monkeypatch.setattr(Client, "get", get)
    gateways = Gateways(lab, ca)
    wanted = [item for item in expand(site(defined(folder))) if item.target == CLUSTER]
    keys = {item.key: kinds()[item.kind].options(item) for item in wanted}
    live, _ = gateways.fleet.read(CLUSTER, keys)
    made = planning.build("contained", wanted, {CLUSTER: live}, kinds())
    assert [each.summary for each in made.refused if each.address == FS] == refused
    assert asked == ["version", "nodes/pve1/version"]


def test_versions_matter_to_virtio_fs_only(lab: Lab, ca: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Client.get

    def get(self: Client, path: str, /, **params: Any) -> Any:
        assert not path.endswith("version")
        return real(self, path, **params)

    monkeypatch.setattr(Client, "get", get)
    live, _ = Gateways(lab, ca).fleet.read(CLUSTER, {})
    assert live.facts["versions"] == {}
