"""Configurations of virtual machines: what applies at once, what waits, and where disks go."""

from collections.abc import Callable
from typing import Any

import pytest
from unit.pve.emulated import Lab

from smbplan.lab.pve import guestconf, guests

Start = Callable[..., list[Lab]]
VM = "/nodes/pve1/qemu/200"
CONFIG = f"{VM}/config"
VALUES = {
    "agent": "1",
    "boot": "order=scsi0;net0",
    "cores": "1",
    "memory": "512",
    "name": "vm",
    "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
    "scsi0": "local:200/vm-200-disk-0.qcow2,size=2G",
}


@pytest.fixture
def running(lab: Lab) -> Lab:
    """A machine that runs."""
    lab.machine(VALUES, running=True)
    return lab


def waiting(lab: Lab) -> dict[str, Any]:
    """What is pending; None for what is to be deleted."""
    rows = lab.ask("GET", f"{VM}/pending")
    return {row["key"]: row.get("pending") for row in rows if "pending" in row or "delete" in row}


def test_what_a_running_machine_takes_at_once(running: Lab) -> None:
    free = {"name": "other", "onboot": "1", "description": "d", "tags": "b;A", "ciuser": "me", "startup": "order=1"}
    running.ask("PUT", CONFIG, **free)
    running.ask("PUT", CONFIG, net1="virtio,bridge=vmbr1", scsi1="local:1,format=qcow2", balloon=256)
    assert waiting(running) == {}
    shown = running.ask("GET", CONFIG, current=1)
    assert (shown["name"], shown["tags"], shown["ciuser"], shown["balloon"]) == ("other", "a;b", "me", 256)
    assert shown["scsi1"] == "local:200/vm-200-disk-1.qcow2,size=1G"
    assert shown["net1"].startswith("virtio=BC:24:11:") and shown["net1"].endswith(",bridge=vmbr1")


def test_what_waits_for_a_restart(running: Lab) -> None:
    late = {"cores": 2, "memory": "1024", "machine": "q35", "cpu": "host", "virtiofs0": "mm", "serial0": "socket"}
    running.ask("PUT", CONFIG, **late, balloon=0, efidisk0="local:1", ide2="local:cloudinit")
    pending = waiting(running)
    assert pending.items() >= late.items()
    assert set(pending) == {*late, "balloon", "efidisk0", "ide2"}
    assert running.ask("GET", CONFIG)["memory"] == "1024"
    assert running.ask("GET", CONFIG, current=1)["memory"] == "512"
    path = guests.config_path(running.site, 200, "qemu")
    assert "\n[PENDING]\n" in path.read_text()
    assert guestconf.render(guestconf.parse(path.read_text(), "qemu")) == path.read_text()
    running.ask("PUT", CONFIG, revert="cores,balloon,virtiofs0")
    assert set(waiting(running)) == {*late, "efidisk0", "ide2"} - {"cores", "virtiofs0"}
    assert running.done(running.ask("POST", f"{VM}/status/shutdown")) == "OK"
    assert waiting(running) == {}
    shown = running.ask("GET", CONFIG)
    assert (shown["memory"], shown["cores"]) == ("1024", 1)
    assert shown["ide2"] == "local:200/vm-200-cloudinit.qcow2,media=cdrom"


def test_without_hotplug_all_waits(running: Lab) -> None:
    running.ask("PUT", CONFIG, hotplug="0")
    running.ask("PUT", CONFIG, net1="virtio,bridge=vmbr1", scsi1="local:1", net0=VALUES["net0"] + ",tag=5")
    assert set(waiting(running)) == {"net1", "scsi1"}  # a VLAN needs no unplugging
    running.ask("PUT", CONFIG, revert="scsi1")
    # The disk was made already: it stays, as one that nothing uses.
    assert running.ask("GET", CONFIG)["unused0"] == "local:200/vm-200-disk-1.raw"


def test_disks_that_are_taken_out(running: Lab) -> None:
    running.ask("PUT", CONFIG, scsi1="local:1", scsi2="local:1")
    running.ask("PUT", CONFIG, delete="scsi1,scsi0")
    shown = running.ask("GET", CONFIG)
    assert (shown["unused0"], shown["unused1"]) == ("local:200/vm-200-disk-1.raw", VALUES["scsi0"].partition(",")[0])
    assert shown["boot"] == "order=net0"
    running.ask("PUT", CONFIG, scsi5="local:200/vm-200-disk-1.raw,ssd=1")
    shown = running.ask("GET", CONFIG)
    assert shown["scsi5"] == "local:200/vm-200-disk-1.raw,size=1G,ssd=1"
    assert "unused0" not in shown
    running.ask("PUT", CONFIG, delete="unused1")
    running.ask("PUT", f"{VM}/unlink", idlist="scsi2", force=1)
    left = sorted(path.name for path in (running.vz / "images" / "200").iterdir())
    assert left == ["vm-200-disk-1.raw"]


def test_a_disk_in_the_place_of_another_keeps_the_other(running: Lab) -> None:
    running.ask("PUT", CONFIG, scsi0="local:3,format=qcow2")
    shown = running.ask("GET", CONFIG)
    assert shown["scsi0"] == "local:200/vm-200-disk-1.qcow2,size=3G"
    assert shown["unused0"] == "local:200/vm-200-disk-0.qcow2"
    text = "hotplug problem - unable to change media type\n"
    status, _, body = running.answer("PUT", CONFIG, scsi0="none,media=cdrom")
    assert (status, body["errors"]) == (400, {"scsi0": text})


def test_a_machine_that_cannot_be_told_keeps_it_pending(running: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> list[str]:
        raise RuntimeError("no such bus")

    monkeypatch.setattr(running.machines, "changed", refuse)
    status, _, body = running.answer("PUT", CONFIG, net1="virtio,bridge=vmbr0")
    assert (status, body["errors"]) == (400, {"net1": "hotplug problem - no such bus\n"})
    assert set(waiting(running)) == {"net1"}
    monkeypatch.setattr(running.machines, "changed", lambda *_: ["net1"])
    running.ask("PUT", CONFIG, net1="virtio,bridge=vmbr0", name="told")
    assert set(waiting(running)) == {"net1"}
    assert running.ask("GET", CONFIG, current=1)["name"] == "told"


@pytest.mark.parametrize(
    ("params", "status", "reason"),
    [
        ({"digest": "0" * 40, "cores": 2}, 500, "checksum mismatch (file change by other user?)"),
        ({"delete": "nosuch"}, 400, "delete: unknown option 'nosuch'"),
        ({"revert": "nosuch"}, 400, "revert: unknown option 'nosuch'"),
        ({"boot": "order=scsi9"}, 500, "invalid bootorder: device 'scsi9' does not exist'"),
        ({"balloon": 4096}, 500, "balloon value too large (must be smaller than assigned memory)"),
        ({"scsi1": "nosuch:1"}, 500, "storage 'nosuch' does not exist"),
        ({"scsi1": "local:200/vm-200-disk-9.raw"}, 500, "volume local:200/vm-200-disk-9.raw does not exist"),
        ({"ide2": "local:iso/x.iso"}, 400, "ide2: explicit 'media=cdrom' is required for iso images"),
        ({"scsi1": "local:1,import-from=local:import/x.raw"}, 400, "scsi1: 'import-from' requires special syntax"),
        ({"scsi1": "local:0,import-from=local:iso/x.iso"}, 400, "scsi1: local:iso/x.iso has wrong type 'iso'"),
        ({"sshkeys": "nonsense"}, 500, "SSH public key validation error"),
        ({"hotplug": "nosuch"}, 400, "hotplug: invalid format - unknown hotplug feature 'nosuch'"),
        ({}, 500, "no options specified"),
    ],
)
def test_refusals(lab: Lab, params: dict[str, Any], status: int, reason: str) -> None:
    lab.machine(VALUES)
    before = guests.config_path(lab.site, 200, "qemu").read_text()
    found, text, body = lab.answer("PUT", CONFIG, **params)
    said = [f"{key}: {value}" for key, value in (body.get("errors") or {}).items()] or [text]
    assert (found, said[0][: len(reason)]) == (status, reason)
    assert guests.config_path(lab.site, 200, "qemu").read_text() == before


def test_a_lock_and_protection(lab: Lab) -> None:
    lab.machine(VALUES)
    lab.ask("PUT", CONFIG, protection=1)
    assert lab.answer("PUT", CONFIG, delete="scsi0")[1] == "can't remove drive 'scsi0' - protection mode enabled"
    assert lab.answer("DELETE", VM)[1] == "can't remove VM 200 - protection mode enabled"
    lab.ask("PUT", CONFIG, lock="backup")
    assert lab.answer("PUT", CONFIG, cores=2)[1] == "VM is locked (backup)"
    assert lab.done(lab.ask("POST", f"{VM}/status/start")) == "VM is locked (backup)"
    lab.ask("PUT", CONFIG, cores=2, skiplock=1)
    lab.ask("PUT", CONFIG, delete="lock", skiplock=1)
    assert lab.ask("GET", CONFIG)["cores"] == 2


def test_secrets_are_hashed_and_hidden(lab: Lab) -> None:
    lab.machine(VALUES)
    upid = lab.ask("POST", CONFIG, cipassword="geheim", ciuser="me")
    assert lab.done(upid) == "OK"
    log = lab.ask("GET", f"/nodes/pve1/tasks/{upid}/log")
    assert log[0]["t"] == "update VM 200: -cipassword <hidden> -ciuser me"
    assert lab.ask("GET", CONFIG)["cipassword"] == "**********"
    text = guests.config_path(lab.site, 200, "qemu").read_text()
    assert "cipassword: $5$" in text and "geheim" not in text
    assert {row["key"] for row in lab.ask("GET", f"{VM}/cloudinit")} == {"cipassword", "ciuser"}


def test_a_task_that_changes_a_machine_fails_like_the_request(lab: Lab) -> None:
    lab.machine(VALUES)
    text = "volume local:200/vm-200-disk-9.raw does not exist"
    assert lab.done(lab.ask("POST", CONFIG, scsi1="local:200/vm-200-disk-9.raw")) == text
    assert lab.done(lab.ask("PUT", f"{VM}/resize", disk="scsi0", size="1G")) == "shrinking disks is not supported"
    assert lab.done(lab.ask("PUT", f"{VM}/resize", disk="scsi1", size="9G")) == "disk 'scsi1' does not exist"
    assert lab.done(lab.ask("PUT", f"{VM}/resize", disk="scsi0", size="+1G")) == "OK"
    assert lab.ask("GET", CONFIG)["scsi0"].endswith("size=3G")


# From the published schemas of both versions.
@pytest.mark.parametrize(("dialect", "newer"), [("8.4", 400), ("9.1", 200)], ids=["8.4", "9.1"])
def test_the_versions_differ(start: Start, dialect: str, newer: int) -> None:
    lab = start(dialect=dialect)[0]
    lab.machine(VALUES)
    for values in ({"agent": "1,freeze-fs=0"}, {"allow-ksm": 0}, {"tpmstate0": "local:1,format=raw,version=v2.0"}):
        assert lab.answer("PUT", CONFIG, **values)[0] == newer
    older = lab.answer("PUT", CONFIG, scsi1="local:1,cyls=4")[0]
    assert (older, newer) in ((200, 400), (400, 200))
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu", vmid=300)) == "OK"
    made = lab.ask("GET", "/nodes/pve1/qemu/300/config")["meta"]
    assert made.startswith("creation-qemu=9.2.0," if dialect == "8.4" else "creation-qemu=10.0.13,")
    assert lab.ask("PUT", f"{VM}/resize", disk="scsi0", size="+1G").startswith("UPID:pve1:")


def test_an_empty_tag_list_is_stored_as_a_blank(lab: Lab) -> None:
    lab.machine({**VALUES, "tags": "a"})
    lab.ask("PUT", CONFIG, tags="")
    assert lab.ask("GET", CONFIG)["tags"] == " "
    lab.ask("PUT", CONFIG, delete="tags", description="line\n\n100%: ü\n")
    shown = lab.ask("GET", CONFIG)
    assert "tags" not in shown and shown["description"] == "line\n\n100%: ü"
