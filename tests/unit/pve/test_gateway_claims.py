"""Containers as resources, against the emulated API: what is claimed, waited for, journaled, and told first."""

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from unit.pve.gateways import Gateways, defined
from unit.pve.test_gateways import BOX, DATA

from smbplan.drivers.pve import tasks
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import Unreachable
from smbplan.drivers.pve.preflight import Wish
from smbplan.drivers.turn import Claim
from smbplan.kinds import kinds
from smbplan.report import document
from smbplan.store import runs

pytestmark = pytest.mark.usefixtures("requests_follow_the_published_schema")


def test_vlan_ipv6_and_order_of_start_are_set_and_changed(gateways: Gateways) -> None:
    network = {"bridge": "vmbr0", "vlan": 5, "address": "192.0.2.9/24", "address6": "auto", "mtu": 1400}
    gateways.apply(defined(network=network, startup="order=2,up=30"))
    found = gateways.config()
    assert {"tag=5", "ip6=auto", "mtu=1400", "ip=192.0.2.9/24"} < set(found["net0"].split(","))
    assert found["startup"] == "order=2,up=30"
    gateways.apply(defined(network={"address": "192.0.2.10/24", "address6": "dhcp"}))
    changed = gateways.config()
    assert {"ip6=dhcp", "ip=192.0.2.10/24"} < set(changed["net0"].split(",")) and "tag=" not in changed["net0"]
    assert "startup" not in changed
    mac = re.compile("hwaddr=([^,]+)")
    assert mac.findall(changed["net0"]) == mac.findall(found["net0"]), "it stays the same card"


def test_an_id_that_others_take_first_is_no_failure(gateways: Gateways, monkeypatch: pytest.MonkeyPatch) -> None:
    gateways.lab.guest(100, {"hostname": "theirs"})
    real, given = Client.get, iter(["100", "100"])

    def get(self: Client, path: str, /, **params: Any) -> Any:
        late = path == "cluster/nextid" and not params
        return next(given) if late else real(self, path, **params)

    monkeypatch.setattr(Client, "get", get)
    gateways.apply(defined())
    assert gateways.config(101)["hostname"] == "box" and gateways.config(100)["hostname"] == "theirs"
    assert next(given, "none left") == "none left"


def test_what_was_begun_before_nobody_answered_is_taken_back(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said to be untouched, as nothing had been reached: the container stayed."""
    real, away = Client._once, [True]

    def once(self: Client, method: str, path: str, sent: dict[str, Any]) -> Any:
        if away and path.endswith("/status") and "/tasks/" in path:
            gateways.lab.settle()
            away.clear()
            raise Unreachable("nothing answers on that port")
        return real(self, method, path, sent)

    monkeypatch.setattr(Client, "_once", once)
    monkeypatch.setattr(tasks, "AWAY", -1.0)
    assert gateways.run(gateways.plan(defined()).steps).name == "rolled_back"
    assert gateways.lab.ask("GET", "/cluster/resources", type="vm") == []


def test_who_takes_a_run_over_waits_for_what_proxmox_still_does(gateways: Gateways) -> None:
    """A recovery found nothing to undo, and then the task of the controller that had died went on."""
    made = gateways.plan(defined()).steps
    gateways.lab.hold(True)
    dead = threading.Thread(target=gateways.run, args=[made])
    dead.start()
    while not gateways.lab.ask("GET", "/nodes/pve1/tasks", source="active"):
        time.sleep(0.01)
    there = gateways.cluster
    there.lock(Claim("contained", "run", "bob", 1.0, "t", takes_over=True))
    threading.Timer(0.3, gateways.lab.hold, [False]).start()
    began = time.monotonic()
    there.request("perform", ops=[{"call": "nothing", "arguments": {}}])
    assert time.monotonic() - began > 0.3
    dead.join()
    there.lock(Claim("contained", "run", "bob", 1.0, "t", takes_over=True), again=True)
    assert not there._unsure


def test_a_task_that_takes_too_long_is_aborted_and_leaves_nothing(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.wait, "__defaults__", (0.3, *tasks.wait.__defaults__[1:]))
    gateways.lab.hold(True)
    done = gateways.run(gateways.plan(defined()).steps)
    assert done.name == "rolled_back"
    assert "took longer than 0 s and was aborted" in done.problems[0].summary
    gateways.lab.hold(False)
    gateways.lab.settle()
    assert gateways.lab.ask("GET", "/cluster/resources", type="vm") == []
    assert list((gateways.lab.vz / "images").glob("*/*")) == []


def test_what_goes_with_a_container_is_in_the_journal(
    gateways: Gateways, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    only = defined(shares={"vol": None, "spare": None})
    gateways.apply(only)
    gateways.lab.ask("POST", "/cluster/backup", vmid="100", schedule="daily", storage="local", id="nightly")
    made = gateways.plan({**only, "gateways": {}}, **DATA)
    run = runs.start("contained", document.plan(made, kinds(), {}))
    told = {change["address"]: change["reasons"] for change in run.plan()["changes"]}
    assert "goes with it: backup job nightly" in told[BOX]


def test_a_vmid_a_node_or_a_storage_that_can_not_be_had_is_told_before_anything(gateways: Gateways) -> None:
    gateways.lab.guest(555, {"hostname": "theirs"})
    ask = gateways.cluster.request
    for wish, words in (
        (Wish("box", "lxc", "pve1", 555, None, ()), "the vmid 555 is taken"),
        (Wish("box", "lxc", "pve9", None, None, ()), "there is no node pve9"),
        (Wish("box", "lxc", "pve1", None, None, ("nosuch",)), "storage nosuch takes no disks of containers on pve1"),
        (Wish("box", "vm", "pve1", None, None, ("nosuch",)), "storage nosuch takes no disks of VMs on pve1"),
    ):
        ((gateway, summary, _, _),) = ask("preflight", wishes=[wish])
        assert (gateway, summary) == ("box", words)
    assert ask("preflight", wishes=[Wish("box", "lxc", "pve1", 556, None, ("local",))]) == []
