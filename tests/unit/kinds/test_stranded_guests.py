"""The commands for guests that a person has to finish: for ours alone, and never for their data."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from unit.kinds.sites import CONTAINER
from unit.kinds.test_container import apply, changed, made
from unit.simulated import Notes, World

from smbplan.engine.execute import Execution
from smbplan.engine.resource import Key
from smbplan.engine.step import Move
from smbplan.report import guests, text
from smbplan.report.manual import commands

CLUSTER = "@proxmox"
LOOK = (
    "@proxmox# grep -l '^#.*<!-- smbplan ' /etc/pve/nodes/*/lxc/*.conf | xargs -r grep -HE '^hostname: box(|-parked)$'"
    "  # tells NODE and ID of what follows"
)
MARKED = "description: mine%0A%0A<!-- smbplan eNpLTEpOSU1LBwAJYAKj -->\nhostname: box\n"


@pytest.fixture
def world() -> World:
    found = World()
    apply(found)
    return found


def mine(world: World) -> World:
    """As the cluster tells it: found by its mark, with its id."""
    live = world.target(CLUSTER).box("container").states["box"]
    live |= {"mark": "contained/lxc.container.box", "vmid": 100, "node": "pve2", "volumes": []}
    return world


def test_one_that_was_made_in_the_run_is_looked_up_by_its_mark() -> None:
    come = [step for step in made(World()).steps if step.target == CLUSTER]
    told = commands(list(reversed(come)))
    assert told[:2] == [LOOK, "@proxmox:NODE# pct stop ID"] and told.count(LOOK) == 1
    assert told[-1].startswith("@proxmox:NODE# pct config ID | awk ")
    assert sum("--delete" in line for line in told) == 2
    assert not any("pct list" in line for line in told)


def test_one_that_was_there_is_named_with_its_id_and_node(world: World) -> None:
    grow = commands(made(mine(world), changed(memory="1GiB")).steps[:1])
    assert grow == ["@proxmox:pve2# pct set 100 --memory 512"]
    moved = commands(made(world, changed(pool="b")).steps[:1])
    assert moved == ["@proxmox:pve2# pvesh set /pools --poolid b --delete 1 --vms 100"]
    gone = made(world, destroy=True, purge=True, delete_data=True).steps
    told = commands([step for step in gone if step.target == CLUSTER])
    assert told and all(line.startswith("@proxmox:pve2# pct ") and " 100" in line for line in told)


def test_the_look_finds_ours_on_any_node_whole_parked_or_packed(tmp_path: Path) -> None:
    note = "#notes of a person\n#<!-- smbplan eNpLTEpOSU1LBwAJYAKj -->\n"
    for node, vmid, lines in (
        ("pve1", 100, f"{note}hostname: box\n"),
        ("pve2", 101, "#no mark\nhostname: box\n"),
        ("pve2", 102, f"{note}hostname: box-parked\n"),
        ("pve2", 103, f"{note}hostname: boxes\n"),
    ):
        conf = tmp_path / "nodes" / node / "lxc" / f"{vmid}.conf"
        conf.parent.mkdir(parents=True, exist_ok=True)
        conf.write_text(lines)
    look = LOOK.partition("# ")[2].replace("/etc/pve", str(tmp_path))
    found = subprocess.run(["bash", "-c", look], capture_output=True, text=True, check=True).stdout
    assert [line.removeprefix(f"{tmp_path}/nodes/").split(":")[0] for line in found.splitlines()] == [
        "pve1/lxc/100.conf",
        "pve2/lxc/102.conf",
    ]


def typed(command: str, config: str, folder: Path) -> tuple[str, str]:
    """What it shows, and what it has `pct` change, for a guest with this configuration."""
    (folder / "config").write_text(config)
    fake, done = folder / "pct", folder / "done"
    fake.write_text(f'#!/bin/sh\ncase $1 in config) cat {folder}/config;; *) echo "$@" >> {done};; esac\n')
    fake.chmod(0o755)
    places = {"PATH": f"{folder}:/usr/bin:/bin"}
    shown = subprocess.run(["bash", "-c", command], env=places, capture_output=True, text=True, check=False)
    assert not shown.stderr
    return shown.stdout, done.read_text() if done.exists() else ""


@pytest.mark.parametrize(
    ("config", "destroyed"),
    [
        (MARKED, True),
        (f"{MARKED}mp0: /srv/folder,mp=/srv/folder\n", True),
        (f"{MARKED}mp0: local:100/vm-100-disk-1.raw,mp=/srv/vol,size=1G\n", False),
        (f"{MARKED}unused0: local:100/vm-100-disk-1.raw\n", False),
        ("hostname: box\n", False),
        ("description: smbplan\nhostname: box\n", False),
    ],
)
def test_destroying_meets_ours_alone_and_no_volume(world: World, tmp_path: Path, config: str, destroyed: bool) -> None:
    gone = made(mine(world), destroy=True, purge=True, delete_data=True).steps
    told = commands([step for step in gone if step.target == CLUSTER])
    (command,) = (line.partition("# ")[2] for line in told if "pct destroy" in line)
    volumes = "".join(line for line in config.splitlines(True) if "disk-1" in line)
    assert typed(command, config, tmp_path) == (volumes, "destroy 100\n" if destroyed else "")


@pytest.mark.parametrize(
    ("lock", "done"),
    [("", ""), ("lock: create\n", "unlock ID\n"), ("lock: destroyed\n", "unlock ID\n"), ("lock: backup\n", "")],
)
def test_one_whose_node_died_while_it_was_made_loses_its_lock(tmp_path: Path, lock: str, done: str) -> None:
    come = [step for step in made(World()).steps if step.target == CLUSTER]
    (command,) = (line.partition("# ")[2] for line in commands(come) if "pct unlock" in line)
    assert typed(command, f"{MARKED}{lock}", tmp_path) == ("", done)


def test_a_mount_point_is_taken_off_by_its_whole_path(tmp_path: Path) -> None:
    come = [step for step in made(World()).steps if step.target == CLUSTER]
    (command,) = (line.partition("# ")[2] for line in commands(come) if "mp=/srv/vol," in line)
    config = "mp0: local:1,mp=/srv/vol2,size=1G\nmp1: local:2,size=1G,mp=/srv/vol\n"
    assert typed(command, config, tmp_path) == ("", "set ID --delete mp1\n")


@pytest.mark.parametrize(
    ("config", "key"), [("", "mp0"), ("mp0: /srv/a,mp=/srv/a\n", "mp1"), ("mp1: /srv/b,mp=/srv/b\n", "mp0")]
)
def test_a_folder_comes_back_beside_the_others(tmp_path: Path, config: str, key: str) -> None:
    state = {"volume": "/srv/folder", "path": "/srv/folder"}
    back = Move("lxc.bind.folder", Key("bind", "box:/srv/folder"), None, state)
    _, line = guests.commands(back, CLUSTER, {})
    shown, done = typed(line.partition("# ")[2], f"{MARKED}{config}", tmp_path)
    assert (shown, done.split()[:3]) == ("", ["set", "ID", f"--{key}"])


def ended(world: World, data: Mapping[str, Any], **options: Any) -> str:
    found = made(world, data, destroy=True, **options)
    outcome = Execution(found.steps, world, Notes()).run()
    assert outcome.name == "applied"
    return text.applied("r", found.steps, outcome)


def test_what_went_with_its_container_is_not_told_as_parked() -> None:
    data = {**CONTAINER, "shares": {"spare": CONTAINER["shares"]["spare"]}}
    world = World()
    apply(world, data)
    assert "  packages.box\n" in ended(world, data)
    assert "Parked" not in ended(world, data, purge=True, delete_data=True)
