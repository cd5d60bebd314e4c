"""Which rights changes of virtual machines and of mappings need."""

from pathlib import Path
from typing import Any

import pytest
from unit.pve.emulated import MACHINE, Lab

QEMU = "/nodes/pve1/qemu"
CONFIG = f"{QEMU}/200/config"
DIR = "/cluster/mapping/dir"
WHO = "a@pve!t"


@pytest.fixture
def granted(lab: Lab) -> Lab:
    """A machine, and a token with no rights."""
    lab.machine({**MACHINE, "ide2": "none,media=cdrom", "virtiofs0": "mm"})
    lab.token(WHO)
    return lab


def give(lab: Lab, path: str, *privileges: str) -> None:
    name = "r" + path.replace("/", "-")
    if name not in {role["roleid"] for role in lab.ask("GET", "/access/roles")}:
        lab.ask("POST", "/access/roles", roleid=name)
    lab.ask("PUT", f"/access/roles/{name}", privs=",".join(privileges))
    lab.give(path, "a@pve", name)


def refused(lab: Lab, method: str, path: str, **params: Any) -> str:
    """Why; '' if it is allowed."""
    status, reason, _ = lab.answer(method, path, WHO, **params)
    return reason.removeprefix("Permission check failed ").strip("()") if status in (403, 500) else ""


@pytest.mark.parametrize(
    ("params", "needed"),
    [
        ({"memory": 1024}, "VM.Config.Memory"),
        ({"cores": 2}, "VM.Config.CPU"),
        ({"machine": "q35"}, "VM.Config.HWType"),
        ({"name": "x"}, "VM.Config.Options"),
        ({"ciuser": "x"}, "VM.Config.Cloudinit|VM.Config.Network"),
        ({"ipconfig0": "ip=dhcp"}, "VM.Config.Cloudinit|VM.Config.Network"),
        ({"boot": "order=scsi0"}, "VM.Config.Disk"),
        ({"ide2": "none,media=cdrom"}, "VM.Config.CDROM"),
        ({"delete": "scsi0"}, "VM.Config.Disk"),
        ({"delete": "virtiofs0"}, "VM.Config.Disk"),
        ({"serial0": "socket"}, "VM.Config.HWType"),
    ],
)
def test_each_option_needs_its_right(granted: Lab, params: dict[str, Any], needed: str) -> None:
    other = "VM.Config.CPU" if needed != "VM.Config.CPU" else "VM.Config.Disk"
    give(granted, "/vms/200", other)
    assert refused(granted, "PUT", CONFIG, **params) == f"/vms/200, {needed}"
    give(granted, "/vms/200", needed.partition("|")[0], "VM.Config.Disk")
    give(granted, "/mapping/dir", "Mapping.Use")
    assert refused(granted, "PUT", CONFIG, **params) == ""


def test_what_only_root_may(granted: Lab) -> None:
    granted.give("/", "a@pve", "Administrator")
    for key, value in (("args", "-x"), ("hookscript", "local:snippets/x"), ("lock", "backup"), ("vmgenid", "1")):
        assert refused(granted, "PUT", CONFIG, **{key: value}) == f"only root can set '{key}' config"
    real = "only root can modify 'serial0' config for real devices"
    assert refused(granted, "PUT", CONFIG, serial0="/dev/ttyS0") == real
    assert refused(granted, "PUT", CONFIG, scsi1="/dev/sdb") == "Only root can pass arbitrary filesystem paths."
    assert granted.answer("DELETE", f"{QEMU}/200", WHO, skiplock=1)[0] == 400


def test_a_folder_of_a_node_needs_the_right_to_use_it(granted: Lab) -> None:
    give(granted, "/vms", "VM.Config.Disk", "VM.Allocate", "VM.Clone")
    give(granted, "/storage/local", "Datastore.AllocateSpace")
    text = "/mapping/dir/mm, Mapping.Use"
    assert refused(granted, "PUT", CONFIG, virtiofs0="mm,cache=never") == text
    assert refused(granted, "POST", QEMU, vmid=201, virtiofs1="mm") == text
    assert refused(granted, "POST", f"{QEMU}/200/clone", newid=202, full=1) == text
    task = granted.ask("POST", CONFIG, WHO, virtiofs0="mm,cache=never")  # looked at in the task
    assert granted.done(task) == f"Permission check failed ({text})"
    give(granted, "/mapping/dir/mm", "Mapping.Use")
    assert refused(granted, "PUT", CONFIG, virtiofs0="mm,cache=never") == ""
    assert refused(granted, "PUT", CONFIG, virtiofs0="nn") == "/mapping/dir/nn, Mapping.Use"
    assert granted.done(granted.ask("POST", f"{QEMU}/200/clone", WHO, newid=202, full=1)) == "OK"


def test_clones_and_imports_need_what_they_take_and_make(granted: Lab) -> None:
    image = granted.imports("d.raw", 2**20)
    give(granted, "/mapping/dir", "Mapping.Use")
    give(granted, "/vms/200", "VM.Audit")
    place = f"{QEMU}/200/clone"
    assert refused(granted, "POST", place, newid=300, full=1) == "/vms/200, VM.Clone"
    give(granted, "/vms/200", "VM.Clone")
    assert refused(granted, "POST", place, newid=300, full=1) == "Permission check failed"
    give(granted, "/vms/300", "VM.Allocate", "VM.Config.Disk")
    assert refused(granted, "POST", place, newid=300, full=1) == "/storage/local, Datastore.AllocateSpace"
    assert refused(granted, "POST", QEMU, vmid=301) == "Permission check failed"
    disk = f"local:0,import-from={image}"
    assert refused(granted, "POST", QEMU, vmid=300, scsi0=disk) == "/storage/local, Datastore.AllocateSpace"
    give(granted, "/storage/local", "Datastore.AllocateSpace")
    assert refused(granted, "POST", QEMU, vmid=300, scsi0="local:0,import-from=local:200/vm-200-disk-0.qcow2") == ""
    assert refused(granted, "POST", QEMU, vmid=300, scsi0="local:0,import-from=/etc/shadow").startswith("Only root")


def test_who_may_see_and_change_mappings(granted: Lab, tmp_path: Path) -> None:
    entry = f"node=pve1,path={tmp_path}"
    granted.ask("POST", DIR, id="mm", map=entry)
    granted.ask("POST", DIR, id="nn", map=entry)
    assert granted.ask("GET", DIR, WHO) == []
    assert refused(granted, "GET", f"{DIR}/mm") == "Permission check failed"
    for name in ("Mapping.Audit", "Mapping.Use", "Mapping.Modify"):
        give(granted, "/mapping/dir/mm", name)
        assert [row["id"] for row in granted.ask("GET", DIR, WHO)] == ["mm"]
        assert refused(granted, "GET", f"{DIR}/mm") == ""
    assert refused(granted, "PUT", f"{DIR}/mm", map=entry) == ""  # Modify on this one
    assert refused(granted, "DELETE", f"{DIR}/mm") == "/mapping/dir, Mapping.Modify"
    assert refused(granted, "POST", DIR, id="oo", map=entry) == "/mapping/dir, Mapping.Modify"
    give(granted, "/mapping/dir", "Mapping.Modify")
    assert refused(granted, "POST", DIR, id="oo", map=entry) == ""
    assert refused(granted, "DELETE", f"{DIR}/mm") == ""
