"""Which templates of virtual machines suit, what a person is told of those that don't, and where clones are made."""

from pathlib import Path
from typing import Any

import pytest
from unit.pve.conftest import Start
from unit.pve.emulated import Lab
from unit.pve.gateways import Gateways
from unit.pve.machined import DATA, MARK, config, defined, done, folder, gateways, guests, images

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


def test_a_template_of_which_anything_is_on_one_node_only_is_no_template_for_the_others(
    start: Start, ca: Path, tmp_path: Path
) -> None:
    """Its cloud-init drive, say: Proxmox looks at all that it copies."""
    labs = start(("pve1", "pve2"))
    storages = labs[0].site.root / "storage.cfg"
    shared = f"dir: shared\n\tpath {tmp_path / 'shared'}\n\tcontent images,import\n\tshared 1\n"
    storages.write_text(f"{storages.read_text()}\n{shared}")
    lab = labs[0]
    disk = f"shared:0,import-from={lab.imports('debian.qcow2', 2**31)},format=qcow2"
    new = {"name": "template", "agent": "1", "description": MARK, "ide2": "local:cloudinit"}
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu", vmid=9000, scsi0=disk, **new)) == "OK"
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu/9000/template")) == "OK"
    client = Gateways(lab, ca).client
    assert machine_templates.chosen(client, "pve1", "").vmid == 9000
    with pytest.raises(Refused) as refused:
        machine_templates.chosen(client, "pve2", "")
    assert refused.value.summary.endswith("9000 is on pve1, on storage that only that node has: local")
    assert lab.answer("POST", "/nodes/pve1/qemu/9000/clone", newid=100, target="pve2")[1].endswith("local storage)")
    lab.ask("PUT", "/nodes/pve1/qemu/9000/config", delete="ide2")
    lab.ask("PUT", "/nodes/pve1/qemu/9000/config", ide2="shared:cloudinit")
    assert machine_templates.chosen(client, "pve2", "").vmid == 9000
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu/9000/clone", newid=100, target="pve2")) == "OK"


def test_a_template_with_uefi_gives_it_to_its_clones(gateways: Gateways, folder: Path) -> None:
    """With its firmware's settings, which are a disk that comes and goes with the machine, and holds no data."""
    lab = gateways.lab
    disk = f"local:0,import-from={lab.imports('uefi.qcow2', 2**31)},format=qcow2"
    firmware = {"bios": "ovmf", "machine": "q35", "efidisk0": "local:1,efitype=4m,pre-enrolled-keys=1"}
    new = {"name": "uefi", "agent": "1", "description": MARK, "ide2": "local:cloudinit", **firmware}
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu", vmid=9001, scsi0=disk, **new)) == "OK"
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu/9001/template")) == "OK"
    for sort in ("linked", "full"):
        data = defined(folder, {"vol": {"on_destroy": "delete"}}, template="uefi", clone=sort)
        gateways.apply(data)
        (vmid,) = {*guests(gateways)} - {9000, 9001}
        found = config(gateways, vmid)
        assert (found["bios"], found["machine"]) == ("ovmf", "q35")
        assert "efitype=4m" in found["efidisk0"] and f"/vm-{vmid}-" in found["efidisk0"]
        assert done(gateways, gateways.plan({**data, "shares": {}, "gateways": {}}, **DATA)).name == "applied"
        assert (guests(gateways), images(gateways)) == ([9000, 9001], [])


def test_templates_that_no_machine_can_be_cloned_from(gateways: Gateways) -> None:
    def told(disk: int) -> list[Any]:
        wish = Wish("box", "vm", "pve1", None, "", ("local",), disk)
        return list(gateways.cluster.request("preflight", wishes=[wish]))

    assert told(4 << 30) == []
    ((_, summary, _, hint),) = told(1 << 30)
    assert "has 2048 MiB" in summary and hint == "write disk: 2GiB or more at the gateway"
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/9000/config", scsi1="local:1")
    ((_, summary, _, _),) = told(4 << 30)
    assert summary == "template 9000 (template) has more than one disk: scsi1"


def test_a_template_without_an_agent_gets_one(gateways: Gateways, folder: Path) -> None:
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/9000/config", delete="agent")
    gateways.apply(defined(folder))
    assert config(gateways)["agent"] == "enabled=1"
