"""Virtual machines as resources, against the emulated API over HTTPS: clones, changes, disks, folders."""

import threading
from pathlib import Path
from typing import Any

import pytest
from lab.containers import eventually
from unit.kinds.sites import site
from unit.pve.conftest import Start
from unit.pve.gateways import Gateways, reasons
from unit.pve.machined import (
    BOX,
    DATA,
    FS,
    MARK,
    POWER,
    VOL,
    config,
    defined,
    done,
    folder,
    gateways,
    guests,
    images,
)
from unit.pve.test_qemu_clone import make_template
from unit.simulated import Notes

from smbplan.drivers.agent.core import Refused
from smbplan.drivers.pve import machine_templates, qga
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.config import described, sealed
from smbplan.drivers.pve.errors import ApiError
from smbplan.drivers.pve.machine_templates import VERSION, comment
from smbplan.engine import plan as planning
from smbplan.engine.execute import Execution
from smbplan.engine.outcome import Entry, resumed
from smbplan.engine.resource import Live
from smbplan.engine.step import Move, Status
from smbplan.kinds import expand, kinds, privileges
from smbplan.kinds.guest import CLUSTER
from smbplan.lab.pve.dry_machines import DryMachines

__all__ = ["folder", "gateways"]
pytestmark = pytest.mark.usefixtures("requests_follow_the_published_schema")


def test_a_machine_with_its_folder_and_disks(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    found = config(gateways)
    assert (found["name"], found.get("memory", "512"), found["cores"], found["balloon"]) == ("box", "512", 2, 0)
    assert found["virtiofs0"] == "smb-contained-plain,cache=auto,expose-acl=1,expose-xattr=1"
    assert "serial=vol" in found["scsi1"] or "serial=vol" in found["scsi2"]
    assert "size=4G" in found["scsi0"] and found["ipconfig0"] == "ip=192.0.2.9/24,gw=192.0.2.1"
    assert "ssh-ed25519%20AAAA" in found["sshkeys"] and found["ciuser"] == "root"
    (mapping,) = gateways.lab.ask("GET", "/cluster/mapping/dir")
    assert mapping["id"] == "smb-contained-plain" and mapping["map"] == [f"node=pve1,path={folder}"]
    assert len(images(gateways)) == 4, "root disk, cloud-init drive, two disks"


def test_a_linked_clone_lies_where_its_template_does(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder, clone="linked"))
    assert "base-9000-disk-0.qcow2/100/" in config(gateways)["scsi0"]


def test_changes_in_place_and_those_that_wait_for_a_restart(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    made = gateways.plan(defined(folder, {"vol": {"size": "9GiB"}}, memory="1GiB", cores=4, disk="6GiB", tags=["new"]))
    assert reasons(made, BOX) == (
        "cores and memory take effect at its next start",
        "the file system on its root disk grows at its next start",
    )
    gateways.apply(defined(folder, {"vol": {"size": "9GiB"}}, memory="1GiB", cores=4, disk="6GiB", tags=["new"]))
    running = gateways.lab.ask("GET", "/nodes/pve1/qemu/100/config", current=1)
    assert (running.get("memory", "512"), config(gateways)["memory"]) == ("512", "1024")
    live, _ = gateways.fleet.read("@proxmox", {})
    assert live.facts["guests"]["box"]["waiting"] == ["cores", "memory"]
    assert "size=6G" in config(gateways)["scsi0"] and any("size=9G" in str(each) for each in config(gateways).values())
    (refused,) = gateways.plan(defined(folder, {"vol": {"size": "9GiB"}}, disk="5GiB")).refused
    assert "would shrink from 6144 MiB" in refused.summary


@pytest.mark.parametrize("step", [BOX, "pve.mapping.plain", FS, VOL, POWER])
def test_a_step_that_fails_leaves_nothing(gateways: Gateways, folder: Path, step: str) -> None:
    done = gateways.run(gateways.plan(defined(folder), atomic=True).steps, fail=step)
    assert done.name == "rolled_back", done.problems
    assert (guests(gateways), images(gateways)) == ([9000], [])
    assert gateways.lab.ask("GET", "/cluster/mapping/dir") == []


def test_an_agent_that_never_answers_leaves_nothing(gateways: Gateways, folder: Path) -> None:
    (gateways.lab.site.local / "dry-machines" / "100.silent").touch()
    done = gateways.run(gateways.plan(defined(folder), atomic=True).steps)
    assert done.name == "rolled_back"
    assert done.problems[0].summary == "the guest agent of VM 100 on pve1 did not answer within 5 s"
    assert (guests(gateways), images(gateways)) == ([9000], [])


def test_a_clone_that_can_not_be_finished_goes_again(
    gateways: Gateways, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task has made it, and what comes next is refused."""
    real = Client.put

    def put(self: Client, path: str, /, **params: Any) -> Any:
        if path.endswith("/qemu/100/resize"):
            raise ApiError("no room left", "", "make room")
        return real(self, path, **params)

    monkeypatch.setattr(Client, "put", put)
    done = gateways.run(gateways.plan(defined(folder), atomic=True).steps)
    assert (done.name, done.problems[0].summary) == ("rolled_back", "no room left")
    assert (guests(gateways), images(gateways)) == ([9000], [])


def test_a_clone_that_was_cut_short_is_taken_away_by_recovery(gateways: Gateways, folder: Path) -> None:
    """Killed between the clone and its settings: the mark is there, and nothing else."""
    (step,) = [each for each in gateways.plan(defined(folder)).steps if each.id == BOX]
    assert isinstance(step.do, Move) and step.do.record
    told = {"mark": sealed(f"contained/{BOX}", 100), "records": {}, "making": True}
    upid = gateways.lab.ask("POST", "/nodes/pve1/qemu/9000/clone", newid=100, description=described({}, told))
    assert gateways.lab.done(upid) == "OK"
    start = resumed([Entry(BOX, Status.DOING)], [step])
    gateways.fleet.begin("run", [CLUSTER])
    done = Execution([step], gateways.fleet, Notes(), start=start).run()
    assert done.statuses[BOX] is Status.UNDONE, done.problems
    assert (guests(gateways), images(gateways)) == ([9000], [])


@pytest.mark.parametrize(("during", "marked"), [("disk", False), ("cloned", True)])
def test_a_clone_that_is_still_being_made_is_waited_for_and_taken_away(
    gateways: Gateways, folder: Path, monkeypatch: pytest.MonkeyPatch, during: str, marked: bool
) -> None:
    """Proxmox writes our mark with the first disk, which here is the cloud-init drive, and the lock stays longer."""
    (step,) = [each for each in gateways.plan(defined(folder)).steps if each.id == BOX]
    copying, go_on = folder / "copying", folder / "go-on"  # a task is a process of its own
    real = getattr(DryMachines, during)

    def slow(self: DryMachines, *words: Any) -> Any:
        copying.touch()
        eventually(go_on.exists)
        return real(self, *words)

    monkeypatch.setattr(DryMachines, during, slow)
    told = {"mark": sealed(f"contained/{BOX}", 100), "records": {}, "making": True}
    given = {"newid": 100, "description": described({}, told)}
    asked = gateways.lab.ask("POST", "/nodes/pve1/qemu/9000/clone", "root@pam!plan", **given)
    eventually(copying.exists)
    assert ("description" in config(gateways), config(gateways)["lock"]) == (marked, "clone")
    threading.Timer(0.5, go_on.touch).start()
    start = resumed([Entry(BOX, Status.DOING)], [step])
    gateways.fleet.begin("run", [CLUSTER])
    done = Execution([step], gateways.fleet, Notes(), start=start).run()
    assert done.statuses[BOX] is Status.UNDONE, done.problems
    assert gateways.lab.done(asked) == "OK"
    assert (guests(gateways), images(gateways), done.warnings) == ([9000], [], [])


def test_a_guest_that_its_node_left_half_made_is_told_with_the_commands(gateways: Gateways, folder: Path) -> None:
    (step,) = [each for each in gateways.plan(defined(folder)).steps if each.id == BOX]
    (gateways.lab.site.root / "nodes/pve1/qemu-server/100.conf").write_text("lock: clone\n")
    gateways.fleet.begin("run", [CLUSTER])
    done = Execution([step], gateways.fleet, Notes(), start=resumed([Entry(BOX, Status.DOING)], [step])).run()
    (warned,) = done.warnings
    assert "`qm unlock 100` and `qm destroy 100 --purge` there remove it" in warned.text


def test_what_somebody_set_at_a_disk_stays(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    key = next(key for key, value in config(gateways).items() if "serial=vol" in str(value))
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/100/config", **{key: f"{config(gateways)[key]},cache=writeback"})
    assert gateways.differences(defined(folder)) == []
    change = {"vol": {"backup": True, "size": "9GiB"}}
    gateways.apply(defined(folder, change))
    found = config(gateways)[key]
    assert "cache=writeback" in found and "backup=1" in found and "size=9G" in found and "iothread=1" in found


def test_parked_then_removed_and_data_stays_unless_it_is_asked_twice(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    gone = defined(folder)
    gone["shares"], gone["gateways"] = {}, {}
    parked = done(gateways, gateways.plan(gone))
    assert parked.name == "applied"
    found = config(gateways)
    assert (found["name"], "net0" in found, found.get("onboot", 0)) == ("box-parked", False, 0)
    assert gateways.plan(gone).changes == ()
    refused = done(gateways, gateways.plan(gone, purge=True, delete_data=True))
    assert refused.name == "applied" and 100 in guests(gateways), "vol is to be kept"
    assert not any("serial=spare" in str(value) for value in config(gateways).values())
    assert any("serial=vol" in str(value) for value in config(gateways).values())


def test_a_machine_without_data_is_removed_wholly(gateways: Gateways, folder: Path) -> None:
    data = defined(folder, {"vol": None})
    gateways.apply(data)
    gone = {**data, "shares": {}, "gateways": {}}
    made = gateways.plan(gone, **DATA)
    assert done(gateways, made).name == "applied"
    assert (guests(gateways), images(gateways)) == ([9000], [])


def test_a_clone_or_copy_with_our_mark_is_foreign(gateways: Gateways, folder: Path) -> None:
    data = defined(folder)
    gateways.apply(data)
    lab = gateways.lab
    lab.done(lab.ask("POST", "/nodes/pve1/qemu/100/status/stop"))
    assert lab.done(lab.ask("POST", "/nodes/pve1/qemu/100/clone", newid=150, full=1)) == "OK"
    assert config(gateways, 150)["description"] == config(gateways)["description"]
    lab.done(lab.ask("POST", "/nodes/pve1/qemu/100/status/start"))
    assert gateways.differences(data) == []


def test_templates_are_known_by_their_mark_and_version(gateways: Gateways, folder: Path) -> None:
    lab, client = gateways.lab, gateways.client
    (found,) = machine_templates.every(client)
    assert (found.vmid, found.version, found.samba, found.suits) == (9000, VERSION, "4.17", True)
    for description, words in (
        (comment({"version": VERSION + 1}), f"is of version {VERSION + 1}"),
        ("", "there is no template for VMs on pve1"),
    ):
        lab.ask("PUT", "/nodes/pve1/qemu/9000/config", description=description)
        with pytest.raises(Refused) as refused:
            machine_templates.chosen(client, "pve1", "")
        assert words in refused.value.summary
        assert "smbplan image build vm --node pve1" in refused.value.hint and "qm template 9000" in refused.value.detail
    with pytest.raises(Refused) as refused:
        machine_templates.chosen(client, "pve1", "9000")
    assert "has no mark" in refused.value.summary and "qm set 9000 --description" in refused.value.hint


@pytest.mark.parametrize("dialect", ["9.1", "8.4"])
def test_a_token_with_what_doctor_grants_is_enough_and_no_privilege_is_spare(
    start: Start,
    ca: Path,
    folder: Path,
    dialect: str,
) -> None:
    (lab,) = start(dialect=dialect)
    make_template(lab)
    lab.ask("PUT", "/nodes/pve1/qemu/9000/config", description=MARK)
    token, data = "smbplan@pve!apply", defined(folder, {"vol": {"on_destroy": "delete"}}, clone="linked")
    lab.token(token, privsep=1)
    granted = privileges.grants(site(data), dialect)
    for role in dict.fromkeys(grant.role for grant in granted):
        lab.ask("POST", "/access/roles", roleid=role.name, privs=",".join(role.privileges))
    for grant in granted:
        for who in ({"users": "smbplan@pve"}, {"tokens": token}):
            lab.ask("PUT", "/access/acl", path=grant.path, roles=grant.role.name, propagate=int(grant.below), **who)
    gateways = Gateways(lab, ca, token)
    gateways.apply(data)
    gateways.apply(defined(folder, {"vol": {"on_destroy": "delete", "size": "9GiB"}}, clone="linked", memory="1GiB"))
    gone = {**data, "shares": {}, "gateways": {}}
    assert done(gateways, gateways.plan(gone, **DATA)).name == "applied"
    assert (guests(gateways), images(gateways)) == ([9000], [])
    (machines,) = [grant.role for grant in granted if grant.path == "/vms"]
    agent = "VM.Monitor" if dialect == "8.4" else "VM.GuestAgent.Unrestricted"
    assert agent in machines.privileges
    for name in ("VM.Clone", agent):
        rest = ",".join(each for each in machines.privileges if each != name)
        lab.ask("PUT", f"/access/roles/{machines.name}", privs=rest)
        refused = gateways.run(gateways.plan(data, atomic=True).steps)
        assert refused.name == "rolled_back", (name, refused.problems)
        assert name in refused.problems[0].summary, refused.problems
        assert (guests(gateways), images(gateways)) == ([9000], []), name
    lab.ask("PUT", f"/access/roles/{machines.name}", privs=",".join(machines.privileges))


def test_an_agent_that_is_busy_is_asked_again(gateways: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its machine runs: Proxmox waits a few seconds for an answer, and says that there is no agent."""
    gateways.lab.machine({"agent": "1"}, running=True)
    monkeypatch.setattr(qga, "LONGEST", 0.01)
    silent, path = gateways.lab.machines.folder / "200.silent", "nodes/pve1/qemu/200"
    client, real = gateways.client, Client._request

    def request(self: Client, method: str, path: str, params: dict[str, Any]) -> Any:
        """Every other one finds it busy."""
        silent.unlink(missing_ok=True) if silent.exists() else silent.touch()
        return real(self, method, path, params)

    monkeypatch.setattr(Client, "_request", request)
    assert qga.execute(client, path, ["true"]).code == 0
    monkeypatch.setattr(Client, "_request", real)
    monkeypatch.setattr(qga, "BUSY", 0.05)
    silent.touch()
    with pytest.raises(ApiError, match="agent is not running"):
        qga.execute(client, path, ["true"])
    silent.unlink()
    gateways.lab.done(gateways.lab.ask("POST", "/nodes/pve1/qemu/200/status/stop"))
    with pytest.raises(ApiError, match="VM 200 is not running"):
        qga.execute(client, path, ["true"])


def test_a_linked_clone_is_where_its_template_is_whatever_storage_says(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder, clone="linked", storage="elsewhere"))
    assert gateways.differences(defined(folder, clone="linked", storage="elsewhere")) == []
    (refused,) = gateways.plan(defined(folder, clone="full", storage="elsewhere")).refused
    assert "its storage is local" in refused.summary


def test_a_machine_that_was_made_is_never_taken_for_one_that_is_being_made(gateways: Gateways, folder: Path) -> None:
    """After a crash without a journal: the next plan finishes it, and what is attached then is somebody's."""
    told = {"mark": sealed(f"contained/{BOX}", 100), "records": {}, "making": True}
    upid = gateways.lab.ask("POST", "/nodes/pve1/qemu/9000/clone", newid=100, description=described({}, told))
    assert gateways.lab.done(upid) == "OK"
    data = defined(folder, {"vol": None, "spare": None, "plain": None}) | {"shares": {}}
    gateways.apply(data, adopt=True)
    gateways.lab.ask("PUT", "/nodes/pve1/qemu/100/config", scsi9="local:1")
    made = gateways.plan({**data, "gateways": {}}, **DATA)
    assert done(gateways, made).name == "applied"
    assert "scsi9" in config(gateways), "it is parked with what is not ours"


def test_a_folder_for_a_running_machine_restarts_it_and_goes_back_if_that_fails(
    gateways: Gateways, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = defined(folder, {"plain": None})
    gateways.apply(without)
    assert reasons(gateways.plan(defined(folder)), FS) == ("restarts the VM, which ends its sessions",)
    machines = gateways.lab.machines.folder
    real = Client.post

    def post(self: Client, path: str, /, **params: Any) -> Any:
        broken = machines / "100.broken"
        there = "virtiofs0" in config(gateways) if path.endswith("/status/start") else False
        broken.write_text("virtiofsd failed") if there else broken.unlink(missing_ok=True)
        return real(self, path, **params)

    with monkeypatch.context() as patched:
        patched.setattr(Client, "post", post)
        failed = gateways.run(gateways.plan(defined(folder), atomic=True).steps)
    assert failed.name == "rolled_back" and "virtiofsd failed" in failed.problems[0].summary
    left = gateways.plan(without).changes
    assert "virtiofs0" not in config(gateways) and left == (), [(c.before, c.after, c.record, c.resource) for c in left]
    status = gateways.lab.ask("GET", "/nodes/pve1/qemu/100/status/current")
    assert status["status"] == "running", "its other shares go on"
    gateways.apply(defined(folder))


def test_what_cloud_init_sets_waits_for_a_start_and_is_told(gateways: Gateways, folder: Path) -> None:
    gateways.apply(defined(folder))
    other = defined(folder, network={"address": "192.0.2.10/24"}, nameserver="192.0.2.1")
    gateways.apply(other)
    live, _ = gateways.fleet.read("@proxmox", {})
    waiting = live.facts["guests"]["box"]["waiting"]
    assert {"address", "nameserver"} <= set(waiting)
    for verb in ("stop", "start"):
        assert gateways.lab.done(gateways.lab.ask("POST", f"/nodes/pve1/qemu/100/status/{verb}")) == "OK"
    live, _ = gateways.fleet.read("@proxmox", {})
    assert "nameserver" not in live.facts["guests"]["box"]["waiting"]


def test_virtio_fs_needs_8_4(gateways: Gateways, folder: Path) -> None:
    wanted = [item for item in expand(site(defined(folder))) if item.target == "@proxmox"]
    for version, refused in (("8.3.5", True), ("8.4.1", False), ("9.1.8", False)):
        live = {"@proxmox": Live({"version": version})}
        made = planning.build("contained", wanted, live, kinds())
        assert [each.summary for each in made.refused] == (
            ["Proxmox VE 8.3.5 has no virtio-fs, which came with 8.4"] if refused else []
        )
        assert all("volume: STORAGE" in each.hint for each in made.refused)
