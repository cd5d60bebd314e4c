"""Containers, their volumes and their power: what is chosen once stays, what holds data stays."""

import copy
from typing import Any

import pytest
from unit.kinds.sites import CONTAINER, plan, site
from unit.simulated import Notes, World

from smbplan.engine.execute import Execution
from smbplan.engine.plan import Plan
from smbplan.kinds import expand
from smbplan.kinds.guest import CLUSTER


def changed(**keys: Any) -> dict[str, Any]:
    data = copy.deepcopy(CONTAINER)
    data["gateways"]["box"] |= keys
    return data


def made(world: World, data: dict[str, Any] = CONTAINER, **options: Any) -> Plan:
    defined = site(data)
    return plan(defined, expand(defined), world, **options)


def apply(world: World, data: dict[str, Any] = CONTAINER, **options: Any) -> Plan:
    found = made(world, data, **options)
    assert found.refused == ()
    assert Execution(found.steps, world, Notes()).run().name == "applied"
    return found


@pytest.fixture
def world() -> World:
    """The site applied; Proxmox has chosen a MAC address, and a person has tagged the container."""
    world = World()
    apply(world)
    live = world.target(CLUSTER).box("container").states["box"]
    live["networks"]["eth0"]["mac"] = "BC:24:11:46:B1:CA"
    live["tags"] = ["files", "mine", "smbplan"]
    live["volumes"] = ["/srv/spare", "/srv/vol"]
    return world


def test_the_container_comes_first_and_what_is_inside_waits_until_it_runs() -> None:
    steps = {step.id: step for step in made(World()).steps}
    order = list(steps)
    assert order.index("lxc.container.box") < order.index("lxc.volume.vol") < order.index("guest.power.box")
    inside = [step for step in steps.values() if step.target == "box" and not step.bracket]
    assert inside and all(order.index(step.id) > order.index("guest.power.box") for step in inside)


def test_what_proxmox_and_people_added_is_no_difference(world: World) -> None:
    assert made(world).changes == ()


def test_where_it_is_and_what_it_was_made_from_stay(world: World) -> None:
    elsewhere = changed(node="pve3", template="local:vztmpl/other.tar.zst")
    assert made(world, elsewhere).changes == ()
    world.target(CLUSTER).box("container").states["box"]["node"] = "pve2"
    assert made(world).changes == (), "it has migrated"


@pytest.mark.parametrize(
    ("keys", "way"), [({"storage": "fast"}, "pct move-volume"), ({"vmid": 555}, "leave the key out")]
)
def test_what_it_got_when_it_was_made_can_not_be_changed(world: World, keys: dict[str, Any], way: str) -> None:
    (refused,) = made(world, changed(**keys)).refused
    assert f"can't become {next(iter(keys.values()))}" in refused.summary and way in refused.hint


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"memory": "1GiB"}, "memory"),
        ({"cores": 4}, "cores"),
        ({"disk": "8GiB"}, "disk"),
        ({"onboot": False}, "onboot"),
    ],
)
def test_changes_in_place(world: World, keys: dict[str, Any], path: str) -> None:
    (change,) = made(world, changed(**keys)).changes
    assert (str(change.action), change.address) == ("update", "lxc.container.box")
    assert {key for key in change.after if change.after[key] != change.before[key]} == {path}


def test_disks_never_shrink(world: World) -> None:
    (refused,) = made(world, changed(disk="2GiB")).refused
    assert "would shrink from 4096 MiB to 2048 MiB" in refused.summary
    data = copy.deepcopy(CONTAINER)
    data["shares"]["vol"]["storage"]["size"] = "4GiB"
    (refused,) = made(world, data).refused
    assert "would shrink from 8192 MiB to 4096 MiB" in refused.summary


def test_destroy_parks_and_what_was_parked_comes_back(world: World) -> None:
    before = world.snapshot()
    apply(world, destroy=True)
    parked = world.target(CLUSTER).box("container").states["box"]
    assert (parked["onboot"], parked["networks"]) == (False, {})
    assert world.target(CLUSTER).box("power").states == {}
    apply(world, allow=frozenset({"many-updates"}))
    after = world.snapshot()
    after[CLUSTER][0]["container", "box"]["networks"]["eth0"]["mac"] = "BC:24:11:46:B1:CA"  # type: ignore[index]
    assert after == before


def test_purge_keeps_volumes_and_with_them_the_container(world: World) -> None:
    apply(world, destroy=True, purge=True)
    assert set(world.target(CLUSTER).box("volume").states) == {"box:/srv/vol", "box:/srv/spare"}
    assert set(world.target(CLUSTER).box("container").states) == {"box"}


def test_data_goes_where_definition_and_command_line_say_so(world: World) -> None:
    apply(world, destroy=True, purge=True, delete_data=True)
    assert set(world.target(CLUSTER).box("volume").states) == {"box:/srv/vol"}
