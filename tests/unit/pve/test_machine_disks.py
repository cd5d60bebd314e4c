"""Disks of shares in virtual machines that somebody has moved, doubled or taken off."""

from pathlib import Path
from typing import Any

import pytest
from unit.kinds.sites import site
from unit.pve.gateways import Gateways, reasons
from unit.pve.machined import BOX, DATA, VOL, config, defined, done, folder, gateways, guests, images

from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError
from smbplan.engine import plan as planning
from smbplan.engine.resource import Live
from smbplan.engine.step import Move
from smbplan.kinds import expand, kinds

__all__ = ["folder", "gateways"]
pytestmark = pytest.mark.usefixtures("requests_follow_the_published_schema")
CONFIG = "/nodes/pve1/qemu/100/config"


def key_of(gateways: Gateways, serial: str) -> str:
    return next(key for key, value in config(gateways).items() if f"serial={serial}" in str(value))


def taken_off(gateways: Gateways, serial: str) -> str:
    """Its volume."""
    key = key_of(gateways, serial)
    volume = str(config(gateways)[key]).partition(",")[0]
    gateways.lab.ask("PUT", CONFIG, delete=key)
    assert volume in config(gateways).values(), "it is unused"
    return volume


def test_one_that_was_taken_off_comes_back_with_its_data(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    volume, there = taken_off(gateways, "vol"), images(gateways)
    made = gateways.plan(defined(folder))
    assert [change.address for change in made.changes] == [VOL]
    assert reasons(made, VOL) == ("it was taken off, and is attached again with its data",)
    failed = gateways.run(gateways.plan(defined(folder), atomic=True).steps, fail=VOL)
    assert failed.name == "rolled_back", failed.problems
    assert volume in config(gateways).values(), "it is off again, as it was"
    gateways.apply(defined(folder, {"vol": {"size": "9GiB"}}))
    assert config(gateways)[key_of(gateways, "vol")].startswith(f"{volume},") and images(gateways) == there
    assert "size=9G" in config(gateways)[key_of(gateways, "vol")]
    assert not any(key.startswith("unused") for key in config(gateways))


def test_one_that_is_gone_is_not_replaced_by_an_empty_one(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/100/unlink", idlist=key_of(gateways, "vol"), force=1)
    (refused,) = gateways.plan(defined(folder)).refused
    assert (refused.address, refused.guardrail) == (VOL, "lost-disk")
    assert "its disk is gone from the VM of box, and a new one would be empty" in refused.summary
    gateways.apply(defined(folder), allow=frozenset({"lost-disk"}))
    assert key_of(gateways, "vol")


def test_one_that_somebody_attached_after_the_plan_is_not_taken_for_ours(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder, {"vol": None}))
    made = gateways.plan(defined(folder), atomic=True)
    gateways.lab.ask("PUT", CONFIG, scsi9="local:12,serial=vol,backup=0")
    before = config(gateways)["scsi9"]
    assert gateways.run(made.steps).name == "rolled_back"
    assert config(gateways)["scsi9"] == before, "and is there still"


def test_the_volume_that_was_in_use_last_comes_back(gateways: Gateways, folder: Path) -> None:
    """As after `qm disk move`, which leaves the former volume with the machine."""
    gateways.apply(defined(folder))
    key = key_of(gateways, "vol")
    value = config(gateways)[key]
    former = value.partition(",")[0]
    gateways.lab.ask("PUT", CONFIG, delete=key)
    gateways.lab.ask("PUT", CONFIG, **{key: value.replace(former, "local:8")})
    gateways.apply(defined(folder, {"vol": {"size": "9GiB"}}))
    taken_off(gateways, "vol")
    _, errors = gateways.fleet.read("@proxmox", {})
    (told,) = errors.values()
    assert "may be" in told["summary"] and former in told["summary"] and "serial=vol" in told["hint"]


def test_a_disk_that_can_not_grow_is_off_again(
    gateways: Gateways, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateways.apply(defined(folder))
    volume = taken_off(gateways, "vol")
    made = gateways.plan(defined(folder, {"vol": {"size": "9GiB"}}), atomic=True)
    real = Client.put

    def put(self: Client, path: str, /, **params: Any) -> Any:
        if path.endswith("/resize"):
            raise ApiError("no room left", "", "make room")
        return real(self, path, **params)

    monkeypatch.setattr(Client, "put", put)
    done = gateways.run(made.steps)
    assert (done.name, done.problems[0].summary) == ("rolled_back", "no room left")
    assert volume in config(gateways).values()


def test_a_protected_machine_gets_its_disk_back_and_off_again(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder, protection=True))
    gateways.lab.ask("PUT", CONFIG, protection=0)
    volume = taken_off(gateways, "vol")
    gateways.lab.ask("PUT", CONFIG, protection=1)
    done = gateways.run(gateways.plan(defined(folder, protection=True), atomic=True).steps, fail=VOL)
    assert done.name == "rolled_back", done.problems
    assert volume in config(gateways).values() and config(gateways)["protection"] == 1


@pytest.mark.parametrize(("type_", "action"), [("", "create"), ("ext4", None)])
def test_a_disk_that_is_empty_still_gets_its_file_system(folder: Path, type_: str, action: str | None) -> None:
    """As after an apply that could not look into the machine; nobody has to adopt what is not there."""
    (item,) = [item for item in expand(site(defined(folder))) if item.address == "filesystem.vol"]
    state = {"type": type_, "uuid": "", "size": item.desired["size"]}
    made = planning.build("contained", [item], {"box": Live({}, {item.key: state})}, kinds())
    if action is None:
        assert [each.address for each in made.refused] == ["filesystem.vol"] * len(made.refused) != []
        return
    assert made.refused == ()
    (step,) = [step for step in made.steps if step.id == "filesystem.vol"]
    assert isinstance(step.do, Move)
    assert (made.changes[0].action, step.do.before, step.do.record and step.do.record.original) == (action, state, None)


def test_a_boot_order_makes_no_share_the_root_disk(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    gateways.lab.ask("PUT", CONFIG, boot=f"order={key_of(gateways, 'spare')};scsi0")
    assert gateways.differences(defined(folder)) == []


def test_two_with_one_serial_number_are_told(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    gateways.lab.ask("PUT", CONFIG, scsi9="local:8,serial=vol")
    _, errors = gateways.fleet.read("@proxmox", {})
    (told,) = errors.values()
    assert "have one serial number, vol" in told["summary"] and "scsi9" in told["summary"]


@pytest.mark.parametrize("whose", ["a share that is gone", "somebody"])
def test_a_machine_with_a_disk_that_stays_is_parked_and_says_so(gateways: Gateways, folder: Path, whose: str) -> None:
    data: dict[str, Any] = defined(folder, {"plain": None})
    gateways.apply(data)
    if whose == "somebody":
        data = defined(folder, {"plain": None, "vol": {"on_destroy": "delete"}})
        gateways.apply(data)
        gateways.lab.ask("PUT", CONFIG, scsi9="local:1,serial=backup")
    else:
        data = defined(folder, {"plain": None, "vol": None})
        assert done(gateways, gateways.plan(data)).name == "applied"
    gone = {**data, "shares": {}, "gateways": {}}
    made = gateways.plan(gone, **DATA)
    assert "has volumes, which stay" in reasons(made, BOX)
    assert done(gateways, made).name == "applied"
    assert 100 in guests(gateways) and key_of(gateways, "backup" if whose == "somebody" else "vol")
    assert not any("serial=spare" in str(value) for value in config(gateways).values())
    assert gateways.plan(gone).changes == ()
