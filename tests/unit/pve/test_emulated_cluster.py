"""What recordings of one real node can't show: several nodes, logging in, rights, versions, tasks that are ended."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from unit.pve.emulated import TEMPLATE, Lab

from smbplan.lab.pve import auth, guestconf, guests, usercfg
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.usercfg import Entry, Pool, Token, User

Start = Callable[..., list[Lab]]
NEW = {"ostemplate": f"local:vztmpl/{TEMPLATE}", "rootfs": "local:1", "features": "nesting=1"}


@pytest.fixture
def pair(start: Start) -> list[Lab]:
    """Two nodes."""
    return start(("pve1", "pve2"))


def test_a_request_for_another_node_is_answered_by_it(pair: list[Lab]) -> None:
    first, second = pair
    upid = first.ask("POST", "/nodes/pve2/lxc", vmid=200, **NEW)
    assert upid.startswith("UPID:pve2:")
    assert first.done(upid) == "OK"
    assert (second.site.root / "nodes" / "pve2" / "lxc" / "200.conf").exists()
    assert first.ask("GET", "/nodes/pve2/lxc/200/config") == second.ask("GET", "/nodes/pve2/lxc/200/config")
    listed = first.ask("GET", "/cluster/resources", type="vm")
    assert [(entry["id"], entry["node"], entry["status"]) for entry in listed] == [("lxc/200", "pve2", "stopped")]
    assert first.answer("POST", "/nodes/pve1/lxc", vmid=200, **NEW)[1] == "CT 200 already exists on node 'pve2'"


def test_rights_are_checked_by_the_first_node_and_the_second(pair: list[Lab]) -> None:
    first, second = pair
    first.tester()
    second.client.keys |= first.client.keys
    first.guest(100, {"rootfs": "local:100/vm-100-disk-0.raw,size=1G"})
    for lab in pair:
        status, reason, _ = lab.answer("GET", "/nodes/pve1/lxc/100/config", "tester@pve!t1")
        assert (status, reason) == (403, "Permission check failed (/vms/100, VM.Audit)")
        assert lab.answer("GET", "/nodes/pve1/lxc/100/config", "tester@pve!t0")[0] == 200


def test_an_upload_reaches_the_node_that_it_is_for(pair: list[Lab]) -> None:
    request = {
        "method": "POST",
        "path": "/api2/json/nodes/pve2/storage/local/upload",
        "multipart": {"content": "vztmpl", "filename": "small.tar.zst"},
    }
    status, _, body = pair[0].client.send({"who": "root@pam", "request": request, "body": None})
    assert status == 200
    assert pair[0].done(body["data"]) == "OK"
    assert (pair[0].vz / "template" / "cache" / "small.tar.zst").read_bytes() == b"content"
    listed = pair[1].ask("GET", "/nodes/pve2/storage/local/content", content="vztmpl")
    assert {"local:vztmpl/small.tar.zst"} < {entry["volid"] for entry in listed}


def test_many_creates_at_once_on_two_nodes_take_different_ids(pair: list[Lab]) -> None:
    def create(number: int) -> str:
        lab = pair[number % 2]
        while True:
            vmid = lab.ask("GET", "/cluster/nextid")
            status, reason, body = lab.answer("POST", f"/nodes/{lab.site.node}/lxc", vmid=vmid, **NEW)
            if status == 200:
                assert lab.done(body["data"]) == "OK"
                return str(vmid)
            assert f"CT {vmid} already exists" in reason

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(create, range(12)))
    assert sorted(ids) == [str(vmid) for vmid in range(100, 112)]


def test_a_container_on_shared_storage_moves(pair: list[Lab]) -> None:
    first = pair[0]
    (first.site.root / "storage.cfg").write_text((first.site.root / "storage.cfg").read_text() + "\tshared 1\n")
    first.guest(100, {"rootfs": "local:100/vm-100-disk-0.raw,size=1G", "hostname": "moves"}, running=True)
    assert first.answer("POST", "/nodes/pve1/lxc/100/migrate", target="pve2")[0] == 500
    assert first.done(first.ask("POST", "/nodes/pve1/lxc/100/migrate", target="pve2", restart=1)) == "OK"
    assert first.ask("GET", "/nodes/pve2/lxc/100/status/current")["status"] == "running"
    assert first.answer("GET", "/nodes/pve1/lxc/100/config")[0] == 500


def test_a_node_that_is_gone(pair: list[Lab]) -> None:
    first = pair[0]
    members = json.loads((first.site.root / ".members").read_text())
    members["nodelist"]["pve2"]["port"] = 1
    (first.site.root / ".members").write_text(json.dumps(members))
    status, reason, body = first.answer("GET", "/nodes/pve2/lxc")
    assert (status, reason, body) == (595, "Connection refused", "")
    listed = {entry["node"]: entry["status"] for entry in first.ask("GET", "/nodes")}
    assert listed == {"pve1": "online", "pve2": "offline"}


def test_a_password_gives_a_ticket_and_a_ticket_a_new_one(lab: Lab) -> None:
    found = lab.ask("POST", "/access/ticket", "", username="root@pam", password="root-password")
    again = lab.ask("POST", "/access/ticket", "", username="root@pam", password=found["ticket"])
    lab.client.keys["again"] = {
        "Cookie": f"PVEAuthCookie={again['ticket']}",
        "CSRFPreventionToken": again["CSRFPreventionToken"],
    }
    lab.ask("POST", "/pools", "again", poolid="made")
    assert lab.answer("POST", "/access/ticket", "", username="root@pam", password="other")[0] == 401


def test_an_ended_create_leaves_nothing(lab: Lab) -> None:
    lab.hold(True)
    upid = lab.ask("POST", "/nodes/pve1/lxc", vmid=100, **NEW)
    while not (lab.vz / "images" / "100").exists():
        time.sleep(0.01)
    assert lab.ask("GET", "/nodes/pve1/lxc/100/config")["lock"] == "create"
    lab.ask("DELETE", f"/nodes/pve1/tasks/{upid}")
    assert lab.done(upid) == "unable to create CT 100 - received interrupt"
    assert not guests.config_path(lab.site, 100).exists()
    assert not list((lab.vz / "images" / "100").iterdir())


def test_what_a_purge_drops(lab: Lab) -> None:
    lab.guest(100, {"rootfs": "local:100/vm-100-disk-0.raw,size=1G", "unused0": "local:100/vm-100-disk-1.raw"})
    lab.tester()
    lab.ask("POST", "/pools", poolid="p")
    lab.ask("PUT", "/pools", poolid="p", vms=100)
    lab.ask("PUT", "/access/acl", path="/vms/100", roles="PVEVMUser", users="tester@pve")
    lab.ask("POST", "/cluster/backup", id="both", schedule="1:00", vmid="100,200", storage="local")
    lab.ask("POST", "/cluster/backup", id="alone", schedule="1:00", vmid="100", storage="local")
    assert lab.done(lab.ask("DELETE", "/nodes/pve1/lxc/100", purge=1)) == "OK"
    assert [(job["id"], job["vmid"]) for job in lab.ask("GET", "/cluster/backup")] == [("both", "200")]
    assert {entry["path"] for entry in lab.ask("GET", "/access/acl")} == {"/"}
    assert lab.ask("GET", "/pools", poolid="p")[0]["members"] == []
    assert not list((lab.vz / "images" / "100").iterdir())


def test_raw_keys_and_descriptions_survive(lab: Lab) -> None:
    lab.guest(100, {"rootfs": "local:100/vm-100-disk-0.raw,size=1G", "hostname": "raw"})
    path = guests.config_path(lab.site, 100)
    path.write_text(path.read_text() + "lxc.idmap: u 0 100000 65536\nlxc.idmap: g 0 100000 65536\n")
    lab.ask("PUT", "/nodes/pve1/lxc/100/config", description="50%: ü\n\nend")
    shown = lab.ask("GET", "/nodes/pve1/lxc/100/config")
    assert shown["lxc"] == [["lxc.idmap", "u 0 100000 65536"], ["lxc.idmap", "g 0 100000 65536"]]
    assert shown["description"] == "50%: ü\n\nend\n"
    assert path.read_text().startswith("#50%25%3A %C3%BC\n#\n#end\n")
    assert guestconf.render(guestconf.parse(path.read_text())) == path.read_text()


def test_a_volume_is_taken_out_and_put_back(lab: Lab) -> None:
    lab.guest(100, {"rootfs": "local:100/vm-100-disk-0.raw,size=1G", "memory": "64"})
    place = "/nodes/pve1/lxc/100/config"
    lab.ask("PUT", place, mp0="local:2,mp=/data,backup=1")
    lab.ask("PUT", place, delete="mp0")
    assert lab.ask("GET", place)["unused0"] == "local:100/vm-100-disk-1.raw"
    lab.ask("PUT", place, mp3="local:100/vm-100-disk-1.raw,mp=/other")
    shown = lab.ask("GET", place)
    assert shown["mp3"] == "local:100/vm-100-disk-1.raw,mp=/other,size=2G"
    assert "unused0" not in shown
    assert lab.done(lab.ask("PUT", "/nodes/pve1/lxc/100/resize", disk="mp3", size="+1G")) == "OK"
    assert lab.ask("GET", place)["mp3"].endswith("size=3G")
    assert lab.answer("PUT", "/nodes/pve1/lxc/100/resize", disk="mp3", size="1G")[1] == "unable to shrink disk size"
    lab.ask("PUT", place, mp3="local:1,mp=/other")
    shown = lab.ask("GET", place)
    assert (shown["mp3"], shown["unused0"]) == (
        "local:100/vm-100-disk-2.raw,mp=/other,size=1G",
        "local:100/vm-100-disk-1.raw",
    )
    lab.ask("PUT", place, protection=1)
    assert lab.answer("DELETE", "/nodes/pve1/lxc/100")[1] == "can't remove CT 100 - protection mode enabled"


# Not recorded: what differs in 8.4 is taken from the published schemas of both versions.
@pytest.mark.parametrize(
    ("dialect", "unprivileged", "keepattrs"), [("8.4", None, 400), ("9.1", 1, 200)], ids=["8.4", "9.1"]
)
def test_the_versions_differ(start: Start, dialect: str, unprivileged: int | None, keepattrs: int) -> None:
    lab = start(dialect=dialect)[0]
    assert lab.ask("GET", "/version")["release"] == dialect
    assert lab.done(lab.ask("POST", "/nodes/pve1/lxc", vmid=100, **NEW)) == "OK"
    assert lab.ask("GET", "/nodes/pve1/lxc/100/config").get("unprivileged") == unprivileged
    answer = lab.answer("PUT", "/nodes/pve1/lxc/100/config", mp0="local:1,mp=/a,keepattrs=1")
    assert answer[0] == keepattrs
    roles = {role["roleid"]: role["privs"].split(",") for role in lab.ask("GET", "/access/roles")}
    assert ("VM.Monitor" in roles["PVEVMAdmin"]) == (dialect == "8.4")
    assert ("VM.GuestAgent.Unrestricted" in roles["PVEVMAdmin"]) == (dialect == "9.1")
    lab.tester()
    privileged = lab.answer("POST", "/nodes/pve1/lxc", "tester@pve!t0", vmid=101, unprivileged=0, **NEW)
    assert (privileged[0], "Sys.Modify" in privileged[1]) == (403, dialect == "9.1")


def test_rights_along_a_path(tmp_path: Path) -> None:
    config = usercfg.UserConfig(
        users={"root@pam": User(), "a@pve": User(comment="with: colon")},
        tokens={"a@pve!all": Token(privsep=0), "a@pve!own": Token(privsep=1)},
        groups={"g": ({"a@pve"}, "")},
        roles={"mine": {"VM.Audit", "VM.Console"}},
        pools={"p": Pool(vms={7})},
        acl={
            Entry("/", "group", "g", "PVEAuditor"): 0,
            Entry("/vms", "user", "a@pve", "mine"): 1,
            Entry("/vms/5", "user", "a@pve", "NoAccess"): 1,
            Entry("/vms/6", "group", "g", "PVEVMUser"): 1,
            Entry("/pool/p", "user", "a@pve", "PVEVMAdmin"): 1,
            Entry("/vms", "token", "a@pve!own", "PVEVMAdmin"): 1,
        },
    )
    (tmp_path / "user.cfg").write_text(usercfg.render(config))
    assert usercfg.load(tmp_path) == config

    def held(user: str, path: str) -> set[str]:
        return set(Rights(tmp_path, 9.1, user).permissions(path))

    assert "Sys.Audit" in held("a@pve", "/")
    assert held("a@pve", "/nodes") == set()  # the entry at / doesn't reach below it
    assert held("a@pve", "/vms/4") == {"VM.Audit", "VM.Console"}
    assert held("a@pve", "/vms/5") == set()
    assert "VM.PowerMgmt" in held("a@pve", "/vms/6")  # nearer to the path than the user's own entry
    assert "VM.Allocate" in held("a@pve", "/vms/7")  # from the pool
    assert held("a@pve!all", "/vms/4") == held("a@pve", "/vms/4")
    assert held("a@pve!own", "/vms/4") == {"VM.Audit", "VM.Console"}  # no more than its owner
    assert held("a@pve!own", "/") == set()
    assert not auth.usable(config, "a@pve!gone")
