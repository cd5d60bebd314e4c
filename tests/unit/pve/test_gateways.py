"""Containers as resources, against the emulated API over HTTPS: what Proxmox refuses, keeps back and drops."""

import hashlib
import ssl
from pathlib import Path

import pytest
from unit.pve.emulated import Lab
from unit.pve.gateways import TOKEN, Gateways, defined, reasons
from unit.simulated import Notes

from smbplan.drivers.pve import related
from smbplan.drivers.pve.client import Access, Client
from smbplan.drivers.pve.errors import ApiError, Unreachable, colons
from smbplan.drivers.pve.nodes import Nodes
from smbplan.engine.execute import Execution
from smbplan.engine.outcome import Entry, resumed
from smbplan.engine.step import Status
from smbplan.kinds import kinds
from smbplan.lab.pve import cli_guests
from smbplan.report import document, markdown, text

BOX, VOL, SPARE, POWER = "lxc.container.box", "lxc.volume.vol", "lxc.volume.spare", "guest.power.box"
DATA = {"purge": True, "delete_data": True}
pytestmark = pytest.mark.usefixtures("requests_follow_the_published_schema")


def pool_of(lab: Lab, vmid: int = 100) -> str:
    rows = lab.ask("GET", "/cluster/resources", type="vm")
    return str(next(row for row in rows if row["vmid"] == vmid).get("pool", ""))


def test_a_pool_is_set_changed_and_left(gateways: Gateways) -> None:
    lab = gateways.lab
    for name in ("one", "two"):
        lab.pool(name, "")
    gateways.apply(defined(pool="one"))
    assert pool_of(lab) == "one"
    gateways.apply(defined(pool="two"))
    assert pool_of(lab) == "two"
    back = gateways.run(gateways.plan(defined(pool="one", cores=1)).steps, fail=BOX)
    assert (back.name, pool_of(lab), gateways.config()["cores"]) == ("rolled_back", "two", 2)
    gateways.apply(defined())
    assert pool_of(lab) == ""
    back = gateways.run(gateways.plan(defined(pool="one")).steps, fail=BOX)
    assert (back.name, pool_of(lab)) == ("rolled_back", "")


@pytest.mark.parametrize(("ssh", "lock"), [(True, "create"), (True, "destroyed"), (False, "create")])
def test_one_whose_node_died_while_it_was_made_or_removed_goes(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch, ssh: bool, lock: str
) -> None:
    """Proxmox leaves its lock, and no API call takes that off."""

    def unlock(_: Nodes, node: str, tool: str, vmid: int) -> None:
        if not ssh:
            raise Unreachable(f"no way to {node}")
        assert (tool, cli_guests.unlock("lxc")(gateways.lab.site, [str(vmid)])) == ("pct", 0)

    monkeypatch.setattr(Nodes, "unlock", unlock)
    step = next(each for each in gateways.plan(defined()).steps if each.id == BOX)
    assert gateways.run((step,)).name == "applied"
    conf = gateways.lab.site.root / "nodes/pve1/lxc/100.conf"
    conf.write_text(f"{conf.read_text()}lock: {lock}\n")
    start = resumed([Entry(BOX, Status.DOING)], [step])
    done = Execution([step], gateways.fleet, Notes(), start=start).run()
    assert done.statuses[BOX] is (Status.UNDONE if ssh else Status.STRANDED), done.problems
    assert conf.exists() is not ssh
    assert ssh or "pct unlock" in done.problems[0].hint


def test_an_unknown_pool_stops_before_anything_is_done(gateways: Gateways) -> None:
    done = gateways.run(gateways.plan(defined(pool="nosuch")).steps)
    assert done.name == "rolled_back"
    assert done.problems[0].summary == "Proxmox has no pool nosuch"
    assert "pvesh create /pools" in done.problems[0].hint
    assert gateways.lab.ask("GET", "/cluster/resources", type="vm") == []
    gateways.apply(defined())
    done = gateways.run(gateways.plan(defined(pool="nosuch", memory="1GiB")).steps)
    assert (done.name, done.problems[0].summary) == ("rolled_back", "Proxmox has no pool nosuch")
    assert gateways.differences(defined()) == []


@pytest.mark.parametrize("rule", ["registered-tags", "user-tag-access"])
def test_tags_that_are_refused_are_no_difference(lab: Lab, ca: Path, rule: str) -> None:
    lab.tester()
    lab.give("/storage/local", "tester@pve", "PVEDatastoreAdmin")
    value = {"registered-tags": "smbplan;critical", "user-tag-access": "user-allow=list,user-allow-list=files;plain"}
    lab.ask("PUT", "/cluster/options", **{rule: value[rule]})
    gateways = Gateways(lab, ca, "tester@pve!t0")
    done = gateways.apply(defined())
    assert [(each.address, each.text) for each in done.warnings] == [
        (BOX, "tag smbplan is refused; the mark in the description does without it")
    ]
    assert gateways.config()["tags"] == "files"
    assert set(gateways.cluster.guests.find()) == {"box"}, "found by its mark"
    done = gateways.apply(defined(tags=["files", "plain", "critical"]))
    assert {each.text.split()[1] for each in done.warnings} == {"smbplan", "critical"}
    assert gateways.config()["tags"] == "files;plain"
    back = gateways.run(gateways.plan(defined(tags=["files", "plain", "critical", "other"])).steps, fail=BOX)
    assert back.name == "rolled_back"
    assert gateways.differences(defined(tags=["files", "plain", "critical"])) == []
    lab.ask("PUT", "/nodes/pve1/lxc/100/config", tags="critical;files;plain;smbplan")
    assert gateways.differences(defined(tags=["files", "plain", "critical"])) == []


def test_a_protected_container_is_parked_and_never_purged(gateways: Gateways) -> None:
    data = defined(protection=True)
    gateways.apply(data)
    assert gateways.config()["protection"] == 1
    assert {"mp0", "mp1"} < gateways.config().keys(), "its volumes came all the same"
    gateways.apply(defined({"vol": {"backup": True}, "spare": {"size": "2GiB"}}, protection=True))
    assert gateways.config()["protection"] == 1
    destroy = {"destroy": True, "allow": frozenset({"many-deletes"})}
    for options in ({"purge": True}, DATA):
        refused = {hazard.address: hazard for hazard in gateways.plan(data, **destroy, **options).refused}
        assert SPARE in refused or "delete_data" not in options
        assert all("is protected, so that Proxmox never" in hazard.summary for hazard in refused.values())
        assert all("write protection: false" in hazard.hint for hazard in refused.values())
    assert SPARE in {
        hazard.address for hazard in gateways.plan(defined({"spare": None}, protection=True), **DATA).refused
    }
    gateways.run(gateways.plan(data, **destroy).steps)
    parked = gateways.config()
    assert (parked["onboot"], parked["protection"], "net0" in parked) == (0, 1, False)


def test_a_protected_container_without_volumes_is_refused_too(gateways: Gateways) -> None:
    data = defined({"vol": None, "spare": None}, protection=True)
    gateways.apply(data)
    (refused,) = gateways.plan(data, destroy=True, purge=True).refused
    assert refused.address == BOX and "container 100 is protected" in refused.summary


@pytest.mark.parametrize("step", [BOX, SPARE, POWER])
def test_protection_is_not_in_the_way_of_an_undo(gateways: Gateways, step: str) -> None:
    done = gateways.run(gateways.plan(defined(protection=True), atomic=True).steps, fail=step)
    assert done.name == "rolled_back", done.statuses
    assert gateways.lab.ask("GET", "/cluster/resources", type="vm") == []
    assert not list(gateways.lab.vz.glob("images/100/*"))


def test_what_goes_with_a_container_is_told_in_the_plan(gateways: Gateways) -> None:
    lab, data = gateways.lab, defined({"vol": None, "spare": None})
    gateways.apply(data)
    lab.tester()
    lab.ask("PUT", "/access/acl", path="/vms/100", roles="PVEVMUser", users="tester@pve")
    lab.ask("POST", "/cluster/backup", id="both", schedule="1:00", vmid="100,200", storage="local")
    lab.ask("POST", "/cluster/backup", id="alone", schedule="1:00", vmid="100", storage="local")
    (lab.site.root / "firewall").mkdir(exist_ok=True)
    (lab.site.root / "firewall" / "100.fw").write_text("[OPTIONS]\nenable: 1\n[RULES]\nIN ACCEPT -p tcp\nIN DROP\n")
    assert gateways.differences(data) == [], "no drift"
    made = gateways.plan(data, destroy=True, purge=True)
    expected = (
        "goes with it: backup job alone",
        "goes with it: its place in backup job both",
        "goes with it: the rights on /vms/100 of tester@pve (PVEVMUser)",
        "goes with it: 2 firewall rules",
    )
    assert reasons(made, BOX) == expected
    assert reasons(gateways.plan(data, destroy=True), BOX) == ("is stopped and kept; --purge removes it",)
    told = document.plan(made, kinds(), {})
    assert next(each for each in told["changes"] if each["address"] == BOX)["reasons"] == list(expected)
    assert "its place in backup job both" in text.plan(made, kinds())
    assert "its place in backup job both" in markdown.plan(made, kinds())
    gateways.run(made.steps)
    assert [(job["id"], job["vmid"]) for job in lab.ask("GET", "/cluster/backup")] == [("both", "200")]


def test_what_the_token_may_not_read_is_left_out(lab: Lab, ca: Path) -> None:
    lab.tester()
    gateways = Gateways(lab, ca)
    gateways.apply(defined())
    lab.ask("POST", "/cluster/backup", id="alone", schedule="1:00", vmid="100", storage="local")
    lab.token("small@pve!t")
    lab.give("/vms", "small@pve", "PVEVMAdmin")
    assert related.drops(gateways.client, {100: "nodes/pve1/lxc/100"}) == {100: ["backup job alone"]}
    small = Gateways(lab, ca, "small@pve!t")
    assert lab.answer("GET", "/cluster/backup", "small@pve!t")[0] == 403
    assert small.plan(defined()).changes == ()
    assert related.drops(small.client, {100: "nodes/pve1/lxc/100"}) == {100: []}
    lab.client.port = 1
    with pytest.raises(ApiError):
        related.drops(Gateways(lab, ca, "small@pve!t").client, {100: "nodes/pve1/lxc/100"})


def test_services_and_copies_go_too() -> None:
    class Told:
        def get(self, path: str) -> list[dict[str, object]]:
            return {
                "cluster/ha/resources": [{"sid": "ct:100"}, {"sid": "ct:101"}, {"sid": "vm:7"}],
                "cluster/replication": [{"id": "100-0", "guest": 100, "target": "pve2"}, {"id": "7-0", "guest": 7}],
            }.get(path, [])

    found = related.drops(Told(), {100: "a", 102: "b"})  # type: ignore[arg-type]
    assert found == {100: ["HA resource ct:100", "replication job 100-0 to pve2"], 102: []}


@pytest.mark.parametrize("ours", [0, 1, 3])
def test_requests_of_a_read(gateways: Gateways, ours: int) -> None:
    for number in range(4):
        gateways.lab.guest(200 + number, {"rootfs": f"local:{200 + number}/vm-disk-0.raw,size=1G"})
    data = defined({"vol": None, "spare": None})
    box = data["gateways"].pop("box")
    each = ({**box, "network": {"address": f"192.0.2.{10 + number}/24"}} for number in range(ours))
    data["gateways"] = {f"box{number}": found for number, found in enumerate(each)} | {"native": {}}
    gateways.apply(data)
    there = gateways.cluster
    there.request("read", keys=[])
    lists = len(related.LISTS) if ours else 0
    assert there.counts.round_trips == 2 + (4 + 2 * ours) + lists + ours  # the rights and the list of guests once


def test_warnings_of_tasks_reach_the_report(gateways: Gateways) -> None:
    made = gateways.plan(defined(), {"nesting": False})
    done = gateways.run(made.steps)
    (warned,) = done.warnings
    assert warned.address == BOX and "You may need to enable nesting" in warned.text
    assert document.applied("r", made.steps, done)["warnings"] == [{"address": BOX, "text": warned.text}]
    assert f"Warning: {BOX}: {warned.text}" in text.applied("r", made.steps, done)
    assert "⚠️" in markdown.applied("r", made.steps, done)


@pytest.mark.parametrize(
    ("shares", "keys", "address", "words"),
    [
        ({}, {"nameserver": "192.0.2.1"}, BOX, ("nameserver takes effect at its next start",)),
        ({}, {"searchdomain": "a.b", "cores": 1}, BOX, ("searchdomain takes effect at its next start",)),
        ({}, {"memory": "1GiB", "cores": 1, "onboot": False}, BOX, ()),
        ({"vol": {"backup": True}}, {}, VOL, ("backup takes effect at its container's next start",)),
        ({"vol": {"size": "9GiB"}}, {}, VOL, ()),
    ],
)
def test_what_waits_for_a_start_is_said(
    gateways: Gateways, shares: dict, keys: dict, address: str, words: tuple
) -> None:  # type: ignore[type-arg]
    gateways.apply(defined())
    assert reasons(gateways.plan(defined(shares, **keys)), address) == words
    gateways.apply(defined(shares, **keys))
    rows = gateways.lab.ask("GET", "/nodes/pve1/lxc/100/pending")
    assert bool([row for row in rows if "pending" in row]) == bool(words), "as the plan says"
    gateways.restart()
    assert gateways.differences(defined(shares, **keys)) == []
    assert not [row for row in gateways.lab.ask("GET", "/nodes/pve1/lxc/100/pending") if "pending" in row]


def test_a_volume_grows_and_gets_another_flag_at_once(gateways: Gateways) -> None:
    gateways.apply(defined())
    gateways.apply(defined({"vol": {"size": "9GiB", "backup": True}}))
    gateways.restart()
    assert gateways.differences(defined({"vol": {"size": "9GiB", "backup": True}})) == []


GONE = {"spare": None}


def images(gateways: Gateways) -> int:
    return len(list(gateways.lab.vz.glob("images/100/*.raw"))) - 1  # but for the root disk


def test_a_volume_of_a_running_container_goes_after_its_restart(gateways: Gateways) -> None:
    gateways.apply(defined())
    made = gateways.plan(defined(GONE), **DATA)
    assert reasons(made, SPARE) == (
        "stays mounted until its container is restarted, and the next apply after that deletes it",
    )
    done = gateways.apply(defined(GONE), **DATA)
    assert "stays mounted until the container is restarted" in done.warnings[0].text
    assert images(gateways) == 2
    assert gateways.differences(defined(GONE)) == [], "no drift meanwhile, with flags or without"
    gateways.apply(defined(GONE, memory="1GiB"))
    gateways.restart()
    made = gateways.plan(defined(GONE, memory="1GiB"))
    assert [change.address for change in made.changes] == [SPARE]
    assert reasons(made, SPARE) == ("was to be deleted as soon as its container had been stopped",)
    gateways.apply(defined(GONE, memory="1GiB"))
    assert images(gateways) == 1
    assert not [key for key in gateways.config() if key.startswith("unused")]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_share_that_comes_back_has_its_volume_again(gateways: Gateways, restarted: bool) -> None:
    gateways.apply(defined())
    volume = gateways.config()["mp1"]
    gateways.apply(defined(GONE), **DATA)
    if restarted:
        gateways.restart()
    gateways.apply(defined())
    mounts = [value.partition(",")[0] for key, value in gateways.config(current=1).items() if key[:2] == "mp"]
    assert volume.partition(",")[0] in mounts and images(gateways) == 2
    gateways.restart()
    assert gateways.differences(defined()) == [] and images(gateways) == 2


def test_a_new_volume_never_takes_the_place_of_one_that_is_still_mounted(gateways: Gateways) -> None:
    gateways.apply(defined(GONE))
    data = defined(GONE)
    data["shares"]["other"] = {**data["shares"].pop("vol"), "storage": {"volume": "local", "size": "1GiB"}}
    gateways.lab.ask("PUT", "/nodes/pve1/lxc/100/config", delete="mp0")
    gateways.apply(data)
    now = gateways.config(current=1)
    assert now["mp0"].endswith("mp=/srv/vol,backup=0,size=8G") and "mp=/srv/other" in now["mp1"]


def test_an_undone_volume_of_a_running_container_goes_after_its_restart(gateways: Gateways) -> None:
    gateways.apply(defined(GONE))
    done = gateways.run(gateways.plan(defined()).steps, fail=SPARE)
    assert done.name == "rolled_back", done.statuses
    assert gateways.differences(defined(GONE)) == []
    gateways.restart()
    gateways.apply(defined(GONE))
    assert images(gateways) == 1


def test_a_volume_that_somebody_took_off_is_not_destroyed_with_its_container(gateways: Gateways) -> None:
    data = defined({"vol": None})
    gateways.apply(data)
    gateways.lab.ask("PUT", "/nodes/pve1/lxc/100/config", delete="mp0")
    gateways.restart()
    made = gateways.plan(data, destroy=True, **DATA)
    assert reasons(made, BOX) == ("has volumes, which stay",)
    assert gateways.run(made.steps).name == "applied"
    assert images(gateways) == 1 and "unused0" in gateways.config()
    gateways.apply(data)
    assert gateways.config()["mp0"].startswith("local:100/vm-100-disk-1.raw,")


def test_a_start_that_settles_what_was_pending(gateways: Gateways) -> None:
    gateways.apply(defined())
    gateways.lab.guest(101, {"rootfs": "local:101/vm-101-disk-0.raw,size=1G"})
    gateways.apply(defined(nameserver="192.0.2.1"))
    assert gateways.lab.done(gateways.lab.ask("POST", "/nodes/pve1/lxc/100/status/stop")) == "OK"
    assert gateways.differences(defined(nameserver="192.0.2.1")) == [f"create {POWER}"]
    gateways.apply(defined(nameserver="192.0.2.1"))


def access(gateways: Gateways, **trust: str) -> Client:
    return Client(Access(gateways.api["endpoint"], TOKEN, "secret", **trust))  # type: ignore[arg-type]


def test_whom_we_trust(gateways: Gateways, certificate: tuple[Path, Path], ca: Path, tmp_path: Path) -> None:
    right = colons(hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate[0].read_text())).hexdigest())
    wrong = ":".join(["AB"] * 32)
    assert access(gateways, ca_file=str(ca)).get("version")["release"] == "9.1"
    assert access(gateways, fingerprint=right).get("version")["release"] == "9.1"
    with pytest.raises(Unreachable) as shown:
        access(gateways, fingerprint=wrong).get("version")
    assert shown.value.summary.endswith("shows another certificate than the one that is written")
    assert right in shown.value.detail and wrong in shown.value.detail
    with pytest.raises(Unreachable, match="signed by nobody whom this machine knows") as refused:
        access(gateways).get("version")
    assert "proxmox.fingerprint" in refused.value.hint and "ca_file" in refused.value.hint
    with pytest.raises(Unreachable, match="signed by nobody"):
        access(gateways, ca_file=str(other_authority(tmp_path))).get("version")


def other_authority(folder: Path) -> Path:
    from smbplan.lab.pve import backend, certificates
    from smbplan.lab.pve.site import Site

    certificates.ensure(Site("pve9", folder, folder, backend.Dry(folder, "pve9", folder)), "127.0.0.1")
    return folder / "pve-root-ca.pem"


def test_any_certificate_where_that_is_written(gateways: Gateways) -> None:
    trusting = Client(Access(gateways.api["endpoint"], TOKEN, "secret", verify=False))  # type: ignore[arg-type]
    assert trusting.get("version")["release"] == "9.1"
