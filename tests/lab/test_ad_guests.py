"""All of examples/ad: a host, a container and a virtual machine are members of one domain."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import ad, lxc
from lab.containers import eventually
from lab.site import Site

from smbplan.lab import Lab

pytestmark = pytest.mark.lab
DESTROY = {"destroy": True, "allow": frozenset({"many-deletes"}), "purge": True, "delete_data": True}
MEMBERS = {"files": "projects", "box": "drawings", "machine": "ledger"}


@pytest.fixture
def site(machines: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    lab = Lab(f"{machines.name}-adg")
    lab.down()
    lab.up(nodes=2, pve=True, vms=True, domain=ad.REALM)
    yield ad.prepared(lab, tmp_path, monkeypatch, guests=True)
    lab.down()


def test_members_of_every_mode_serve_the_same_people(site: Site) -> None:
    site.edit("site.yaml", "    fallback: local\n", "    fallback: local\n    time: controllers\n")
    listed = ad.directory(site)
    waits(site)
    made = site.applied()
    proofs = {step.target for step in made.steps if step.id.endswith("#proof")}
    assert proofs == set(MEMBERS)
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    for user, name in (("anna", "files"), ("anna", "box"), ("bert", "machine")):
        assert "NT_STATUS" not in ad.kerberos(site, user, MEMBERS[name], "put /tmp/news n", f"{name}.corp.test")
    assert "news" in ad.kerberos(site, "bert", "drawings", "get n -", "box.corp.test"), "a nested group"
    assert "DENIED" in ad.kerberos(site, "anna", "ledger", "ls", "machine.corp.test")
    assert "DENIED" in ad.kerberos(site, "nobody.special", "drawings", "ls", "box.corp.test")
    ask = "id -u 'CORP\\jörg'"
    inside = f"lxc-attach -n {lxc.vmid(site, 'box', 'pve2')} --clear-env -- {ask}"
    ids = {site.shell("pve1", ask), site.shell("pve2", inside), told_by_the_machine(site, ask)}
    assert len(ids) == 1, "one id on every gateway"
    eventually(lambda: "^* corp.test" in told_by_the_machine(site, "chronyc -N sources"))
    site.applied(**DESTROY)
    assert sorted(ad.directory(site) ^ listed) == []


def waits(site: Site) -> None:
    """Nobody is there yet to look for controllers: their nodes do, and all of them would serve local accounts."""
    site.shell("dc1", "systemctl stop lab-controller")
    planned = site.plan().plan
    assert {words.partition(":")[0] for words in planned.warnings if "fallback" in words} == {
        f"gateway.{name}" for name in MEMBERS
    }
    made = {change.address for change in planned.changes}
    assert {f"domain.fallback.{name}" for name in MEMBERS} <= made and "domain.member.box" not in made
    site.shell("dc1", "systemctl start lab-controller")
    site.lab.wait_for_domain()


def told_by_the_machine(site: Site, command: str) -> str:
    (row,) = [line.split() for line in site.shell("pve2", "qm list").splitlines() if " machine " in line]
    done = json.loads(site.run("pve2", "qm", "guest", "exec", row[0], "--", "sh", "-ec", command))
    return str(done["out-data"])
