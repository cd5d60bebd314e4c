"""Machines without Samba, the machine itself, ZFS, and the wheel outside the checkout."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import snapshot
from lab.conftest import prepared
from lab.site import Site

from smbplan.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def bare_lab(machines: Lab) -> Iterator[Lab]:
    lab = Lab(f"{machines.name}-bare")
    lab.down()
    lab.up(nodes=2, samba=False, zfs=True)
    yield lab
    lab.down()


@pytest.fixture
def bare(bare_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    bare_lab.reset()
    return prepared(bare_lab, tmp_path, monkeypatch, "quickstart")


# Debian packages leave their system accounts when they are purged, by policy.
LEFT = re.compile("^account ")


def only_vault(site: Site) -> None:
    """The gateway `vault` with one share on ZFS: what a small host has."""
    (site.folder / "people.yaml").unlink()
    (site.folder / "shares.yaml").unlink()
    text = (site.folder / "site.yaml").read_text()
    (site.folder / "site.yaml").write_text(
        text.replace(text[text.index("  files:") : text.index("  vault:")], "")
        + "users:\n  alice: {password: {env: ALICE_PASSWORD}}\n"
        + "groups:\n  engineers: {members: [alice]}\n"
        + "shares:\n  data:\n    gateway: vault\n    storage: {zfs: tank/data, quota: 32MiB}\n"
        + "    access: {write: ['@engineers']}\n    previous_versions: true\n"
    )


def test_samba_is_installed_without_debians_shares_and_purged_again(bare: Site) -> None:
    only_vault(bare)
    before = snapshot.take(bare.lab, "pve2")
    made = bare.applied()
    install = next(step for step in made.steps if step.id == "packages.vault")
    assert install.nature == "kept" and install.why
    assert bare.differences() == []
    effective = bare.shell("pve2", "testparm -s 2>/dev/null")
    assert "[printers]" not in effective and "[homes]" not in effective
    active = bare.shell("pve2", "systemctl list-units --plain --no-legend --state=active --type=service")
    assert "nmbd" not in active and "smbd" in active
    snapshots = "systemctl start smbplan-snapshot-data.service; zfs list -H -t snapshot -o name"
    assert bare.shell("pve2", snapshots) == "", "nothing to bring back"
    bare.shell("pve2", "echo precious >/tank/data/f")
    assert "tank/data@smbplan-" in bare.shell("pve2", snapshots)
    bare.shell("pve2", "rm /tank/data/f")
    assert bare.shell("pve2", "zfs get -Hpo value quota tank/data").strip() == str(32 << 20)
    bare.applied(destroy=True, purge=True)
    assert "tank/data@smbplan-" in bare.shell("pve2", "zfs list -H -t snapshot -o name"), (
        "what was deleted may be wanted"
    )
    # zfs-fuse lets go of a dataset a moment after the last file of it was closed.
    bare.shell("pve2", "until zfs destroy -r tank/data 2>/dev/null; do sleep 0.2; done; rmdir /tank/data")
    rest = [line for line in snapshot.differences(before, snapshot.take(bare.lab, "pve2")) if not LEFT.search(line)]
    assert rest == []


# Kills while dpkg unpacks: the agent alone, so that apt-get goes on, or everything, as a power failure does.
KILL = """(
until pgrep -x dpkg; do sleep 0.05; done; sleep 0.5
apt=$(pgrep -x apt-get); agent=$(ps -o ppid= -p $apt); kill -9 {}
) >/tmp/killed 2>&1 &"""


@pytest.mark.parametrize("killed", ["$agent", "$agent $apt $(pgrep -x dpkg)"], ids=["agent", "everything"])
def test_an_installation_whose_agent_is_killed_leaves_no_policy_and_is_purged_wholly(bare: Site, killed: str) -> None:
    only_vault(bare)
    before = snapshot.take(bare.lab, "pve2")
    bare.shell("pve2", KILL.format(killed))
    done = bare.apply()
    assert done.outcome.name == "rolled_back", done.outcome
    bare.shell("pve2", "! pgrep -x 'apt-get|dpkg' && ! ls /usr/sbin/policy-rc.d")
    bare.applied()
    effective = bare.shell("pve2", "testparm -s 2>/dev/null")
    assert "[printers]" not in effective and "[homes]" not in effective
    active = bare.shell("pve2", "systemctl list-units --plain --no-legend --state=active --type=service")
    assert "nmbd" not in active and "smbd" in active
    bare.applied(destroy=True, purge=True)
    rest = [line for line in snapshot.differences(before, snapshot.take(bare.lab, "pve2")) if not LEFT.search(line)]
    assert rest == []


def test_the_wheel_works_on_the_machine_itself(site: Site, tmp_path: Path) -> None:
    """Built, installed by pip outside the checkout, and run on a node with `connection: local`."""
    checkout = Path(__file__).parents[2]
    home = tmp_path / "installed"
    build = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "-w", tmp_path, checkout]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("smbplan-*.whl"))
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--target", home, wheel],
        check=True,
        capture_output=True,
    )
    assert (home / "smbplan" / "data" / "templates" / "smb.conf.j2").exists()
    assert (home / "smbplan" / "data" / "schemas" / "smbplan.schema.json").exists()
    needed = """
        annotated_doc annotated_types cachebox click deepdiff jinja2 markdown_it markupsafe mdurl networkx orderly_set
        platformdirs pydantic pydantic_core pygments rich ruamel _ruamel_yaml*.so shellingham typer typing_extensions.py
        typing_inspection
    """
    packages = Path(sysconfig.get_paths()["purelib"])
    for pattern in needed.split():
        for path in packages.glob(pattern):
            (shutil.copytree if path.is_dir() else shutil.copy)(path, home / path.name)
    text = (site.folder / "site.yaml").read_text().replace("host: pve1", "connection: local")
    text = text.replace(text[text.index("  vault:") :], "")
    shares = (site.folder / "shares.yaml").read_text()
    shares = shares[: shares.index("  books:")]
    archive = tmp_path / "node.tar"
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "site.yaml").write_text(text + (site.folder / "people.yaml").read_text() + shares)
    subprocess.run(["tar", "-C", tmp_path, "-cf", archive, "installed", "local"], check=True)
    site.lab.exec("pve1", ["tar", "-C", "/opt", "-x"], archive.read_bytes())
    run = "cd /; ALICE_PASSWORD=a-1 BOB_PASSWORD=b-1 CAROL_PASSWORD=c-1 PYTHONPATH=/opt/installed python3 -m smbplan"
    site.shell("pve1", f"{run} apply /opt/local --yes")
    assert "No differences" in site.shell("pve1", f"{run} plan /opt/local --detailed-exitcode")
    assert sorted(site.shell("pve1", "net conf listshares").split()) == ["home", "projects", "welcome"]
    assert "smbplan" in site.shell("pve1", f"{run} schema")
    site.shell("pve1", f"{run} destroy /opt/local --yes --purge")
    assert site.shell("pve1", "net conf listshares").split() == []
    verify = f"{run} runs verify --format json || true"
    assert told(site, verify) == (True, 4), "the system's log knows how both runs began and ended"
    site.shell("pve1", CUT)
    assert told(site, verify) == (False, 4)


# The end of the last run, and the last line of its journal.
CUT = """
cd /root/.local/state/smbplan/*/runs; last=$(ls | tail -n 1); sed -i '$d' $last/journal.jsonl; rm $last/outcome.json
"""


def told(site: Site, verify: str) -> tuple[bool, int]:
    """Whether what is written of the runs is whole, and how many of their ends the system's log knows."""
    (one,) = json.loads(site.shell("pve1", verify))["sites"]
    return one["whole"], one["logged"]
