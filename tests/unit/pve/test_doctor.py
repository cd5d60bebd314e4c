"""What doctor prints for a site with VMs, against the emulated API: enough for its token, whatever the template is."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from unit.kinds.sites import site
from unit.pve.emulated import Lab
from unit.pve.gateways import TOKEN, Gateways
from unit.pve.machined import MARK, defined, folder
from unit.pve.test_node_commands import Run, run

from smbplan.doctor import Finding, State, examine
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Unreachable
from smbplan.drivers.pve.preflight import Wish
from smbplan.kinds import privileges
from smbplan.kinds.guest import CLUSTER

__all__ = ["folder", "run"]


class Nowhere(Channel):
    """A node that SSH doesn't reach."""

    def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
        raise Unreachable("no way to a node here")


def doctor(data: dict[str, Any], gateways: Gateways) -> list[Finding]:
    """What it finds of the token's privileges."""
    endpoint = Endpoint(CLUSTER, api=gateways.api)
    found = examine(site(data), {CLUSTER: endpoint}, lambda at, counts: Nowhere(at, counts or Counts()))
    return [finding for finding in found if finding.check == "privileges"]


@pytest.fixture
def elsewhere(lab: Lab, tmp_path: Path) -> Lab:
    """With a template on a storage and at a bridge that no gateway names."""
    storages = lab.site.root / "storage.cfg"
    storages.write_text(f"{storages.read_text()}\ndir: fast\n\tpath {tmp_path / 'fast'}\n\tcontent images\n")
    disk = f"fast:0,import-from={lab.imports('debian.qcow2', 2**31)},format=qcow2"
    new = {"name": "template", "agent": "1", "description": MARK, "net0": "virtio,bridge=vmbr7,tag=30"}
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu", vmid=9000, scsi0=disk, ide2="fast:cloudinit", **new)) == "OK"
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu/9000/template")) == "OK"
    return lab


@pytest.mark.parametrize("clone", ["linked", "full"])
def test_the_printed_commands_are_enough_for_a_clone_of_any_template(
    elsewhere: Lab, ca: Path, run: Run, folder: Path, clone: str
) -> None:
    data = defined(folder, clone=clone, startup="order=1")
    (told,) = doctor(data, Gateways(elsewhere, ca))
    assert told.summary.startswith(f"{TOKEN} may do all")
    for line in told.commands:
        done = run(*shlex.split(line))
        assert (done.returncode, done.stderr) == (0, ""), line
    elsewhere.token(privileges.OWN, privsep=1)  # with a secret that is known
    gateways = Gateways(elsewhere, ca, privileges.OWN)
    assert [finding.state for finding in doctor(data, gateways)] == [State.OK]
    wish = Wish("box", "vm", "pve1", None, "", ("local",), storage="" if clone == "linked" else "local")
    assert gateways.cluster.request("preflight", wishes=[wish]) == [], "a right that does not hold below is one, too"
    gateways.apply(data)
    paths = {path for line in told.commands for path in line.split() if path.startswith("/")}
    assert ("/storage/fast" in paths) == (clone == "linked"), "a full clone lies elsewhere"
    assert "/sdn/zones/localnetwork/vmbr7/30" in paths


def test_who_sees_no_template_yet_is_told_to_ask_again(elsewhere: Lab, ca: Path, run: Run, folder: Path) -> None:
    """The commands of the second time are the rest."""
    data = defined(folder, clone="linked")
    elsewhere.token(privileges.OWN, privsep=1)
    gateways = Gateways(elsewhere, ca, privileges.OWN)
    first = doctor(data, gateways)
    (vms,) = [finding for finding in first if finding.summary.endswith("on /vms")]
    assert "doctor again" in vms.fix
    for line in first[0].commands:
        assert run(*shlex.split(line)).returncode == 0, line
    assert [finding.summary for finding in doctor(data, gateways)] == [
        f"{privileges.OWN} lacks SDN.Use on /sdn/zones/localnetwork/vmbr7/30",
        f"{privileges.OWN} lacks Datastore.AllocateSpace on /storage/fast",
    ]
