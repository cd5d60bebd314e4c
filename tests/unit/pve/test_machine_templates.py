"""Which templates of virtual machines suit, what a person is told of those that don't, and where clones are made."""

from pathlib import Path
from typing import Any

import pytest
from unit.pve.conftest import Start
from unit.pve.emulated import Lab
from unit.pve.gateways import Gateways
from unit.pve.test_machine_gateways import MARK, defined, folder, gateways

from smbplan.drivers.agent.core import Refused
from smbplan.drivers.pve import machine_templates, templates
from smbplan.drivers.pve.config import described
from smbplan.drivers.pve.machine_templates import VERSION, comment
from smbplan.drivers.pve.preflight import Wish

__all__ = ["folder", "gateways"]
pytestmark = pytest.mark.usefixtures("requests_follow_the_published_schema")


def another(lab: Lab, vmid: int = 9001, storage: str = "local", **keys: Any) -> None:
    """One more template, on storage that takes images."""
    disk = f"{storage}:0,import-from={lab.imports(f'{vmid}.qcow2', 2**31)},format=qcow2"
    new = {"name": f"other{vmid}", "agent": "1", "description": MARK, **keys}
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu", vmid=vmid, scsi0=disk, **new)) == "OK"
    assert lab.done(lab.ask("POST", f"/nodes/pve1/qemu/{vmid}/template")) == "OK"


def fast(lab: Lab, folder: Path, more: str = "") -> None:
    """A second storage for disks."""
    found = lab.site.root / "storage.cfg"
    found.write_text(f"{found.read_text()}\ndir: fast\n\tpath {folder}\n\tcontent images\n{more}")


def told(gateways: Gateways, **keys: Any) -> tuple[str, str, str]:
    """Summary, detail and hint of the only trouble with a new VM."""
    wish = Wish(
        **{"gateway": "box", "mode": "vm", "node": "pve1", "vmid": None, "template": "", "storages": (), **keys}
    )
    ((_, summary, detail, hint),) = gateways.cluster.request("preflight", wishes=[wish])
    return summary, detail, hint


@pytest.mark.parametrize(
    "mark",
    [
        {"version": True},
        {"version": "1"},
        {"version": VERSION, "built": "z"},
        {"version": VERSION, "built": "20261101"},
        {"version": VERSION, "built": 5},
    ],
)
def test_a_mark_that_smbplan_never_wrote_does_not_count(gateways: Gateways, mark: dict[str, Any]) -> None:
    another(gateways.lab, description=comment(mark))
    assert machine_templates.chosen(gateways.client, "pve1", "").vmid == 9000
    with pytest.raises(Refused, match=r"template 9001 \(other9001\) has no mark"):
        machine_templates.chosen(gateways.client, "pve1", "9001")


def test_notes_of_any_guest_end_no_command(gateways: Gateways, folder: Path) -> None:
    deep = '<!-- smbplan {"a":' + "[" * 2500 + "]" * 2500 + "} -->"
    gateways.lab.machine()
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/200/config", description=deep)
    another(gateways.lab, description=deep)
    assert gateways.plan(defined(folder)).refused == ()
    assert machine_templates.chosen(gateways.client, "pve1", "").vmid == 9000


@pytest.mark.parametrize(
    "attached",
    [{"virtiofs0": "secrets"}, {"usb0": "spice"}, {"args": "-nodefaults"}, {"hookscript": "local:snippets/a"}],
)
def test_what_is_attached_to_a_template_would_be_in_every_clone(
    gateways: Gateways, folder: Path, attached: dict[str, Any]
) -> None:
    (key,) = attached
    gateways.lab.ask("POST", "/cluster/mapping/dir", id="secrets", map=[f"node=pve1,path={folder}"])
    (gateways.lab.vz / "snippets").mkdir(exist_ok=True)
    (gateways.lab.vz / "snippets/a").touch()
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/9000/config", **attached)
    summary, _, hint = told(gateways)
    assert summary == f"template 9000 (template) has what every clone would have: {key}"
    assert hint.startswith(f"take {key} off it")
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/9000/config", scsi1="local:1")
    assert told(gateways)[2].startswith(f"take scsi1, {key} off it")


def test_a_template_of_somebody_else_is_not_to_be_changed_for_us(gateways: Gateways) -> None:
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/9000/config", description="", scsi1="local:1")
    assert told(gateways)[0] == "there is no template for VMs on pve1"


def test_a_name_that_no_template_has_leads_to_those_that_suit(gateways: Gateways) -> None:
    another(gateways.lab, description=comment({"version": VERSION + 1}))
    summary, detail, hint = told(gateways, template="nosuch")
    assert (summary, detail) == ("there is no template nosuch for VMs on pve1", "")
    assert hint.endswith("or leave template: out; these suit: 9000 (template)")
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/9000/config", description="")
    summary, detail, hint = told(gateways, template="nosuch")
    assert "qm template 9000" in detail
    assert hint == "`smbplan image build vm --node pve1` makes one; leave template: out then"


@pytest.mark.parametrize(("storage", "lies"), [("fast", "fast"), ("", "local")])
def test_one_made_by_hand_lies_where_the_gateways_disk_does(gateways: Gateways, storage: str, lies: str) -> None:
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/9000/config", description="")
    detail = told(gateways, storage=storage)[1]
    assert f"--scsi0 {lies}:0,import-from" in detail and f"--ide2 {lies}:cloudinit" in detail


@pytest.mark.parametrize("roomiest", ["pve1", "pve2"])
def test_a_machine_without_a_node_is_made_where_its_template_is(
    start: Start, ca: Path, tmp_path: Path, roomiest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much memory another node has."""
    (lab, _) = start(("pve1", "pve2"))
    fast(lab, tmp_path / "fast", "\tnodes pve2\n")
    another(lab)
    monkeypatch.setattr(templates, "roomiest", lambda client: roomiest)
    found = Gateways(lab, ca)
    wish = {"node": None, "storage": "fast", "storages": ("fast",)}
    assert told(found, **wish)[0] == "storage fast takes no disks of VMs on pve1"
    ask = found.cluster.request
    assert ask("preflight", wishes=[Wish("box", "vm", None, None, "", ("local",), storage="local")]) == []


def test_a_linked_clone_needs_a_right_on_the_storage_of_its_template(lab: Lab, ca: Path, tmp_path: Path) -> None:
    """On that of its CDs it needs none, and a full clone lies elsewhere."""
    fast(lab, tmp_path / "fast")
    another(lab, storage="fast", ide2="local:cloudinit")
    token = "smbplan@pve!apply"
    lab.token(token)
    lab.give("/vms", "smbplan@pve", "PVEVMAdmin")
    found = Gateways(lab, ca, token)
    summary, _, hint = told(found)
    assert summary == f"{token} lacks Datastore.AllocateSpace on /storage/fast, where a clone of 9001 would lie"
    assert hint.startswith("smbplan doctor")
    wish = Wish("box", "vm", "pve1", None, "", (), storage="local")
    assert found.cluster.request("preflight", wishes=[wish]) == []


def test_what_a_template_is_made_of(lab: Lab, ca: Path, tmp_path: Path) -> None:
    fast(lab, tmp_path / "fast")
    nets = {"net0": "virtio,bridge=vmbr7,tag=30", "net1": "virtio,bridge=vmbr1", "net2": "virtio"}
    another(lab, storage="fast", ide2="local:cloudinit", **nets)
    one = machine_templates.chosen(Gateways(lab, ca).client, "pve1", "")
    assert (one.storages, one.bases) == (("fast", "local"), ("fast",))
    assert one.bridges == ("vmbr1", "vmbr7/30")


def test_a_mark_without_a_day_is_what_people_write_by_hand(gateways: Gateways) -> None:
    mark = described({}, {"template": {"version": VERSION}})
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/9000/config", description=mark)
    assert machine_templates.chosen(gateways.client, "pve1", "template").vmid == 9000
