"""Virtual machines from images: creating, templates, clones of both kinds, destroying, moving."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from unit.pve.emulated import Lab

from smbplan.lab.pve import guests, images
from smbplan.lab.pve.machine import MachineError

Start = Callable[..., list[Lab]]
QEMU = "/nodes/pve1/qemu"
BASE = "local:9000/base-9000-disk-0.qcow2"
NEW = {
    "agent": "1",
    "description": "template 1",
    "ide2": "local:cloudinit",
    "ipconfig0": "ip=dhcp",
    "name": "template",
    "net0": "virtio,bridge=vmbr0",
    "serial0": "socket",
    "tags": "b;a",
}


@pytest.fixture
def template(lab: Lab) -> Lab:
    """A template of an uploaded image, with a cloud-init drive."""
    make_template(lab)
    return lab


def make_template(lab: Lab) -> None:
    image = lab.imports("debian.qcow2", 2**31)
    disk = f"local:0,import-from={image},format=qcow2,discard=on"
    assert lab.done(lab.ask("POST", QEMU, vmid=9000, scsi0=disk, **NEW)) == "OK"
    assert lab.done(lab.ask("POST", f"{QEMU}/9000/template")) == "OK"


def clone(lab: Lab, newid: int, **params: Any) -> str:
    return lab.done(lab.ask("POST", f"{QEMU}/9000/clone", newid=newid, **params))


def config(lab: Lab, vmid: int) -> dict[str, Any]:
    shown: dict[str, Any] = lab.ask("GET", f"{QEMU}/{vmid}/config")
    return shown


def disks(lab: Lab, vmid: int) -> list[str]:
    return sorted(path.name for path in (lab.vz / "images" / str(vmid)).glob("*"))


def test_a_template_is_made_of_an_image(template: Lab) -> None:
    shown = config(template, 9000)
    assert shown["scsi0"] == f"{BASE},discard=on,size=2G"
    assert (shown["template"], shown["boot"]) == (1, "order=scsi0;ide2;net0")
    assert disks(template, 9000) == ["base-9000-disk-0.qcow2", "vm-9000-cloudinit.qcow2"]
    text = "you can't start a vm if it's a template"
    assert template.done(template.ask("POST", f"{QEMU}/9000/status/start")) == text
    assert template.answer("POST", f"{QEMU}/9000/template")[1] == "you can't convert a template to a template"
    (row,) = template.ask("GET", "/cluster/resources", type="vm")
    assert (row["template"], row["status"], row["tags"]) == (1, "stopped", "b;a")
    listed = template.ask("GET", "/nodes/pve1/storage/local/content", vmid=9000)
    assert {(entry["content"], entry["size"]) for entry in listed} == {("images", 2**31), ("images", 4 * 2**20)}


def test_a_linked_clone(template: Lab) -> None:
    assert clone(template, 100, name="files", description="mine") == "OK"
    old, new = config(template, 9000), config(template, 100)
    assert new["scsi0"] == f"{BASE}/100/vm-100-disk-0.qcow2,discard=on,size=2G"
    assert new["ide2"] == "local:100/vm-100-cloudinit.qcow2,media=cdrom,size=4M"
    assert (new["name"], new["description"], new["tags"]) == ("files", "mine", "b;a")
    assert "template" not in new
    for key in ("net0", "smbios1", "vmgenid"):
        assert new[key] != old[key]
    assert new["meta"] == old["meta"]
    image = images.read(template.vz / "images" / "100" / "vm-100-disk-0.qcow2")
    assert (image.size, image.backing) == (2**31, "../9000/base-9000-disk-0.qcow2")
    listed = template.ask("GET", "/nodes/pve1/storage/local/content", vmid=100)
    assert f"{BASE}/100/vm-100-disk-0.qcow2" in {entry["volid"] for entry in listed}
    for refused in ("storage", "format"):
        text = f"parameter '{refused}' not allowed for linked clones"
        value = {"storage": "local", "format": "raw"}[refused]
        assert template.answer("POST", f"{QEMU}/9000/clone", newid=101, **{refused: value})[1] == text


def test_a_full_clone_and_one_of_a_machine(template: Lab) -> None:
    assert clone(template, 100, full=1, format="raw") == "OK"
    shown = config(template, 100)
    assert shown["scsi0"] == "local:100/vm-100-disk-0.raw,discard=on,size=2G"
    assert (shown["name"], shown["description"]) == ("Copy-of-VM-template", "template 1")
    assert template.done(template.ask("POST", f"{QEMU}/100/clone", newid=101)) == "OK"
    assert config(template, 101)["scsi0"].startswith("local:101/vm-101-disk-0.raw,")
    text = "Linked clone feature is not supported for 'local:100/vm-100-disk-0.raw' (scsi0)"
    assert template.answer("POST", f"{QEMU}/100/clone", newid=102, full=0)[1] == text
    features = [template.ask("GET", f"{QEMU}/{vmid}/feature", feature="clone")["hasFeature"] for vmid in (100, 9000)]
    assert features == [0, 1]


def test_a_template_with_linked_clones_stays(template: Lab) -> None:
    assert clone(template, 100) == "OK"
    text = f"base volume '{BASE}' is still in use by linked cloned"
    assert template.done(template.ask("DELETE", f"{QEMU}/9000")) == text
    assert config(template, 9000)["template"] == 1
    answer = template.answer("DELETE", f"/nodes/pve1/storage/local/content/{BASE}")
    assert answer[1] == "base volume '9000/base-9000-disk-0.qcow2' is still in use by linked clones"
    for vmid in (100, 9000):
        assert template.done(template.ask("DELETE", f"{QEMU}/{vmid}", purge=1)) == "OK"
        assert disks(template, vmid) == []


def test_clones_at_once_take_their_ids_once(template: Lab) -> None:
    def one(vmid: int) -> str:
        status, reason, body = template.answer("POST", f"{QEMU}/9000/clone", newid=vmid)
        return template.done(body["data"]) if status == 200 else reason

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(one, [100, 101, 102, 100, 101, 102]))
    assert outcomes.count("OK") == 3
    assert {text for text in outcomes if text != "OK"} == {
        f"unable to create VM {vmid}: config file already exists" for vmid in (100, 101, 102)
    }


@pytest.mark.parametrize("full", [0, 1])
def test_a_clone_that_fails_leaves_nothing(template: Lab, monkeypatch: pytest.MonkeyPatch, full: int) -> None:
    def broken(*_: Any) -> str:
        raise MachineError("no space left")

    monkeypatch.setattr(template.machines, "cloned", broken)
    assert clone(template, 100, full=full) == "clone failed: no space left"
    assert not guests.config_path(template.site, 100, "qemu").exists()
    assert disks(template, 100) == []


def test_a_create_that_fails_leaves_nothing(lab: Lab) -> None:
    values = {"scsi0": "local:1", "scsi1": "local:0,import-from=local:import/no.raw"}
    text = "unable to create VM 100 - volume 'local:import/no.raw' does not exist"
    assert lab.done(lab.ask("POST", QEMU, vmid=100, **values)) == text
    assert not guests.config_path(lab.site, 100, "qemu").exists()
    assert disks(lab, 100) == []
    assert lab.ask("GET", "/cluster/nextid") == "100"


def test_a_pool_rights_and_backups_forget_a_machine(template: Lab) -> None:
    template.tester()
    template.ask("POST", "/pools", poolid="p")
    assert clone(template, 100, pool="p") == "OK"
    template.ask("PUT", "/access/acl", path="/vms/100", roles="PVEVMUser", users="tester@pve")
    template.ask("POST", "/cluster/backup", id="both", schedule="1:00", vmid="100,200", storage="local")
    (template.site.root / "firewall").mkdir()
    (template.site.root / "firewall" / "100.fw").write_text("[RULES]\n")
    assert [m["vmid"] for m in template.ask("GET", "/pools", poolid="p")[0]["members"]] == [100]
    assert template.done(template.ask("DELETE", f"{QEMU}/100", purge=1)) == "OK"
    assert template.ask("GET", "/pools", poolid="p")[0]["members"] == []
    assert {entry["path"] for entry in template.ask("GET", "/access/acl")} == {"/"}
    assert template.ask("GET", "/cluster/backup")[0]["vmid"] == "200"
    assert not (template.site.root / "firewall" / "100.fw").exists()


def test_unreferenced_disks_go_on_request(lab: Lab) -> None:
    lab.machine(running=True)
    left = lab.ask("POST", "/nodes/pve1/storage/local/content", vmid=200, filename="x", size="1G", format="qcow2")
    assert left == "local:200/vm-200-disk-1.qcow2"
    assert lab.answer("DELETE", f"{QEMU}/200")[1] == "VM 200 is running - destroy failed"
    assert lab.done(lab.ask("POST", f"{QEMU}/200/status/stop")) == "OK"
    assert lab.done(lab.ask("DELETE", f"{QEMU}/200")) == "OK"
    assert disks(lab, 200) == ["vm-200-disk-1.qcow2"]
    lab.machine()
    assert lab.done(lab.ask("DELETE", f"{QEMU}/200", destroy_unreferenced_disks=1)) == "OK"
    assert disks(lab, 200) == []


def test_a_machine_goes_to_another_node(start: Start) -> None:
    first, second = start(("pve1", "pve2"))
    first.machine()
    place = f"{QEMU}/200/migrate"
    assert first.done(first.ask("POST", place, target="pve2")) == "can't migrate VM - check log"
    text = (first.site.root / "storage.cfg").read_text()
    (first.site.root / "storage.cfg").write_text(text + "\tshared 1\n")
    first.ask("PUT", f"{QEMU}/200/config", virtiofs0="mm")
    assert first.done(first.ask("POST", place, target="pve2")) == (
        "can't migrate to 'pve2': missing mapped devices virtiofs0"
    )
    first.ask("PUT", f"{QEMU}/200/config", delete="virtiofs0", ide2="local:cloudinit")
    assert first.done(first.ask("POST", f"{QEMU}/200/status/start")) == "OK"
    assert first.answer("POST", place, target="pve2")[1] == "can't migrate running VM without --online"
    assert first.done(first.ask("POST", f"{QEMU}/200/status/stop")) == "OK"
    assert first.answer("POST", place, target="pve3")[1] == "no such cluster node 'pve3'"
    assert first.done(first.ask("POST", place, target="pve2")) == "OK"
    assert second.ask("GET", "/nodes/pve2/qemu/200/status/current")["status"] == "stopped"
    assert first.answer("GET", f"{QEMU}/200/config")[0] == 500


def test_a_clone_is_made_for_another_node(start: Start) -> None:
    first = start(("pve1", "pve2"))[0]
    make_template(first)
    answer = first.answer("POST", f"{QEMU}/9000/clone", newid=100, target="pve2")
    assert answer[1] == "can't clone VM to node 'pve2' (VM uses local storage)"
    path = first.site.root / "storage.cfg"
    path.write_text(path.read_text() + "\tshared 1\n")
    assert clone(first, 100, target="pve2") == "OK"
    assert re.match(r"virtio=BC:24:11:", first.ask("GET", "/nodes/pve2/qemu/100/config")["net0"])
    listed = {row["vmid"]: row["node"] for row in first.ask("GET", "/cluster/resources", type="vm")}
    assert listed == {100: "pve2", 9000: "pve1"}


@pytest.mark.parametrize("dialect", ["8.4", "9.1"])
def test_images_are_uploaded(start: Start, dialect: str) -> None:
    lab = start(dialect=dialect)[0]
    place = "/nodes/pve1/storage/local"

    def upload(name: str) -> tuple[int, str, Any]:
        parts = {"content": "import", "filename": name}
        request = {"method": "POST", "path": f"/api2/json{place}/upload", "multipart": parts}
        return lab.client.send({"who": "root@pam", "request": request, "body": None})

    assert upload("d.qcow2")[1] == "storage 'local' does not support 'import' content"
    lab.ask("PUT", "/storage/local", content="images,import,iso")
    assert upload("d.exe")[2]["errors"] == {"filename": "wrong file extension"}
    for name in ("d.qcow2", "d.raw", "d.vmdk", "d.ova"):
        assert lab.done(upload(name)[2]["data"]) == "OK"
    listed = lab.ask("GET", f"{place}/content", content="import")
    assert [entry["volid"] for entry in listed] == [f"local:import/d.{end}" for end in ("ova", "qcow2", "raw", "vmdk")]
    assert lab.done(lab.ask("DELETE", f"{place}/content/local:import/d.vmdk")) == "OK"
    disk = "local:0,import-from=local:import/d.raw"
    assert lab.done(lab.ask("POST", QEMU, vmid=100, scsi0=disk)) == "OK"
    assert config(lab, 100)["scsi0"] == "local:100/vm-100-disk-0.raw,size=7"
