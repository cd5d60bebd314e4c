"""A site with a virtual machine, its folder and its disks, and what the emulated cluster has of it."""

import copy
from pathlib import Path
from typing import Any

import pytest
from unit.kinds.sites import MACHINE
from unit.pve.emulated import Lab
from unit.pve.gateways import Gateways, with_storage
from unit.pve.test_qemu_clone import make_template

from smbplan.drivers.pve.machine_templates import VERSION, comment
from smbplan.engine.outcome import Outcome
from smbplan.engine.plan import Plan

BOX, POWER, FS, VOL, SPARE = "vm.machine.box", "guest.power.box", "vm.virtiofs.plain", "vm.disk.vol", "vm.disk.spare"
DATA = {"purge": True, "delete_data": True}
MARK = comment({"version": VERSION, "samba": "4.17", "built": "2026-11-01"})


@pytest.fixture
def gateways(lab: Lab, ca: Path) -> Gateways:
    make_template(lab)
    lab.ask("PUT", "/nodes/pve1/qemu/9000/config", description=MARK)
    return Gateways(lab, ca)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "plain"
    found.mkdir()
    return found


def defined(folder: Path, shares: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """The site `machined`, whose folder is there."""
    data = copy.deepcopy(MACHINE)
    data["site"] = "contained"
    data["gateways"]["box"] |= {"roots": ["/srv", str(folder.parent)], "disk": "4GiB", "boot_timeout": 5, **keys}
    data["shares"]["plain"]["storage"] = {"directory": str(folder)}
    return with_storage(data, shares)


def config(gateways: Gateways, vmid: int = 100) -> dict[str, Any]:
    found = gateways.lab.ask("GET", f"/nodes/pve1/qemu/{vmid}/config")
    assert isinstance(found, dict)
    return found


def images(gateways: Gateways, vmid: int = 100) -> list[str]:
    return sorted(path.name for path in (gateways.lab.vz / "images" / str(vmid)).glob("*"))


def guests(gateways: Gateways) -> list[int]:
    return sorted(row["vmid"] for row in gateways.lab.ask("GET", "/cluster/resources", type="vm"))


def done(gateways: Gateways, made: Plan) -> Outcome:
    assert made.refused == ()
    return gateways.run(made.steps)
