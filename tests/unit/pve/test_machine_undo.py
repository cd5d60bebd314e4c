"""Virtual machines whose changes go back, or meet others: what somebody has set stays, and what is not ours is left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.pve.gateways import Gateways
from unit.pve.machined import BOX, FS, config, defined, folder, gateways, guests

from smbplan.drivers.pve.guests import Guests
from smbplan.engine.step import Move

__all__ = ["folder", "gateways"]
pytestmark = pytest.mark.usefixtures("requests_follow_the_published_schema")
CONFIG = "/nodes/pve1/qemu/100/config"
OWN = ("description", "digest")


def rolled_back(gateways: Gateways, data: dict[str, Any], fail: str = BOX) -> dict[str, tuple[Any, Any]]:
    """What a failed change has left in the configuration: {key: (before, after)}."""
    before = config(gateways)
    done = gateways.run(gateways.plan(data, atomic=True).steps, fail=fail)
    assert done.name == "rolled_back", done.problems
    after = config(gateways)
    keys = {*before, *after} - {*OWN}
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def waiting(gateways: Gateways) -> Any:
    return gateways.fleet.read("@proxmox", {})[0].facts["guests"]["box"]["waiting"]


def test_what_somebody_set_at_a_network_card_stays(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    card = config(gateways)["net0"].replace("virtio=", "e1000=") + ",link_down=1,queues=4"
    gateways.lab.ask("PUT", CONFIG, net0=card)
    card = config(gateways)["net0"]
    assert gateways.differences(defined(folder)) == []
    assert rolled_back(gateways, defined(folder, network={"address": "192.0.2.10/24"})) == {}
    gateways.apply(defined(folder, network={"address": "192.0.2.10/24"}))
    assert (config(gateways)["net0"], config(gateways)["ipconfig0"]) == (card, "ip=192.0.2.10/24")
    gateways.apply(defined(folder, network={"address": "192.0.2.10/24", "vlan": 5}))
    assert set(config(gateways)["net0"].split(",")) == {*card.split(","), "tag=5"}


@pytest.mark.parametrize(
    ("first", "then"), [({"ssh_keys": []}, {}), ({}, {"nameserver": "192.0.2.1", "network": {"address": "dhcp"}})]
)
def test_an_undo_leaves_nothing_behind(
    gateways: Gateways, folder: Path, first: dict[str, Any], then: dict[str, Any]
) -> None:
    gateways.apply(defined(folder, **first))
    assert rolled_back(gateways, defined(folder, **then)) == {}
    assert waiting(gateways) == [], "nothing waits for a start that would change nothing"


def test_a_user_that_somebody_chose_keeps_the_keys(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder, ssh_keys=[]))
    gateways.lab.ask("PUT", CONFIG, ciuser="admin")
    gateways.apply(defined(folder))
    assert config(gateways)["ciuser"] == "admin" and "sshkeys" in config(gateways)


def test_sockets_stay_where_the_cores_allow_it(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    gateways.lab.ask("PUT", CONFIG, sockets=2, cores=1)
    assert gateways.differences(defined(folder)) == []
    assert rolled_back(gateways, defined(folder, cores=3)) == {}
    gateways.apply(defined(folder, cores=4))
    assert (config(gateways)["sockets"], config(gateways)["cores"]) == (2, 2)
    gateways.apply(defined(folder, cores=3))
    assert (config(gateways).get("sockets", 1), config(gateways)["cores"]) == (1, 3)


def test_a_plan_that_was_saved_by_an_older_version_is_carried_out(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    (step,) = [each for each in gateways.plan(defined(folder, cores=4)).steps if each.id == BOX]
    assert isinstance(step.do, Move)
    new = ("sockets", "ciuser", "kept")
    states = [
        {key: value for key, value in state.items() if key not in new} for state in (step.do.before, step.do.after)
    ]
    old = replace(step, do=replace(step.do, before=states[0], after=states[1]))
    assert gateways.run((old,)).name == "applied"
    assert config(gateways)["cores"] == 4


def many(folder: Path, *names: str, **keys: Any) -> dict[str, Any]:
    data = defined(folder, **keys) | {"shares": {}}
    box = data["gateways"]["box"]
    found = {name: {**box, "network": {"address": f"192.0.2.{70 + number}/24"}} for number, name in enumerate(names)}
    return {**data, "gateways": found}


def test_gateways_that_are_made_at_once_have_ids_of_their_own(gateways: Gateways, folder: Path) -> None:
    gateways.apply(many(folder, "one", "two", "three", "four"))
    found = {config(gateways, vmid)["name"] for vmid in guests(gateways)}
    assert found == {"template", "one", "two", "three", "four"}


def test_who_loses_an_id_takes_nothing_from_who_has_it(
    gateways: Gateways, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another gateway of the same site, complete, protected and stopped."""
    gateways.apply(many(folder, "one", protection=True))
    before = config(gateways)
    gateways.lab.done(gateways.lab.ask("POST", "/nodes/pve1/qemu/100/status/stop"))
    ids: Iterator[int] = iter([100, 101])
    monkeypatch.setattr(Guests, "free_id", lambda self: next(ids))
    made = gateways.plan(many(folder, "one", "two", protection=True))
    done = gateways.run(tuple(step for step in made.steps if "two" in step.address))
    assert done.name == "applied", done.problems
    assert (config(gateways), config(gateways, 101)["name"]) == (before, "two")


def test_a_folder_for_a_machine_that_does_not_answer_afterwards(gateways: Gateways, folder: Path) -> None:
    """The error is that of its start with the folder, and it runs without it."""
    gateways.apply(defined(folder, {"plain": None}))
    made = gateways.plan(defined(folder), atomic=True)
    (gateways.lab.machines.folder / "100.silent").touch()
    done = gateways.run(made.steps)
    assert done.name == "rolled_back"
    (problem,) = done.problems
    assert (problem.address, "did not answer within 5 s" in problem.summary) == (FS, True), problem
    assert "does not start without it: the guest agent of VM 100" in problem.hint
    assert "virtiofs0" not in gateways.lab.ask("GET", CONFIG, current=1)
    assert gateways.lab.ask("GET", "/nodes/pve1/qemu/100/status/current")["status"] == "running"
    assert gateways.lab.ask("GET", "/cluster/mapping/dir") == []
