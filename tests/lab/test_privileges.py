"""The commands that doctor prints make a token that may do what the site needs, and no privilege of it is too much."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.published import privileges as published
from lab.site import Site

from smbplan import app
from smbplan.cli import main as entry
from smbplan.doctor import Finding, State, examine
from smbplan.drivers.pve.client import Client
from smbplan.errors import Refused
from smbplan.kinds import privileges
from smbplan.lab import Lab
from smbplan.observe import endpoints

pytestmark = pytest.mark.lab
TOKEN = "smbplan@pve!apply"


@pytest.fixture(scope="module", params=["9.1", "8.4"])
def cluster(machines: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = Lab(f"{machines.name}-token")
    lab.down()
    lab.up(nodes=1, pve=True, dialect=request.param)
    yield lab
    lab.down()


@pytest.fixture
def site(cluster: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A container with a share on a volume; where it is made is left open. The token does not exist yet."""
    monkeypatch.setenv("ALICE_PASSWORD", "alice-Geheim-1")
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("TOKEN_SECRET", raising=False)
    network = str(cluster.proxmox["endpoint"]).removeprefix("https://").rpartition(".")[0]
    text = {
        "version": 1,
        "site": "least",
        "proxmox": {**cluster.proxmox, "token": {"id": TOKEN, "secret": {"env": "TOKEN_SECRET"}}},
        "gateways": {
            "office": {
                "mode": "lxc",
                "template": "local:vztmpl/debian-12-samba_1_amd64.tar.zst",
                "storage": "local-btrfs",
                "disk": "1GiB",
                "discovery": False,
                "network": {"address": f"{network}.61/24"},
            }
        },
        "users": {"alice": {"password": {"env": "ALICE_PASSWORD"}}},
        "shares": {
            "letters": {
                "gateway": "office",
                "storage": {"volume": "shared", "size": "256MiB", "on_destroy": "delete"},
                "access": {"write": ["alice"]},
            }
        },
    }
    folder = tmp_path / "least"
    folder.mkdir()
    (folder / "site.yaml").write_text(json.dumps(text))
    return Site(cluster, folder)


def doctor(site: Site) -> list[Finding]:
    loaded = app.validate(site.folder).site
    return examine(loaded, endpoints(loaded))


def test_a_token_by_the_printed_commands_is_enough_and_has_nothing_to_spare(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["doctor", str(site.folder)]) == 1
    printed = capsys.readouterr().out
    lines = [line.strip() for line in printed.splitlines() if line.startswith("  pveum ")]
    told = [site.shell("pve1", line) for line in lines]
    (made,) = [json.loads(words) for words in told if words.startswith("{")]
    assert made["full-tokenid"] == TOKEN
    monkeypatch.setenv("TOKEN_SECRET", made["value"])
    found = doctor(site)
    assert [each for each in found if each.state is not State.OK] == []
    assert "root by SSH, with pct" in [each.summary for each in found if each.check == "node pve1"]

    asked: set[tuple[str, str]] = set()
    real = Client._request

    def request(self: Client, method: str, path: str, params: dict[str, Any]) -> Any:
        asked.add((method, path))
        return real(self, method, path, params)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "_request", request)
        site.applied()
        assert site.differences() == []
        site.edit("site.yaml", '"256MiB"', '"320MiB"')
        site.applied()
        site.applied(destroy=True, purge=True, delete_data=True)
    left = "pct list; ls -A /mnt/btrfs/images/* /mnt/pve/shared/images/* 2>/dev/null || true"
    assert site.shell("pve1", left).strip() == ""
    granted = privileges.grants(app.validate(site.folder).site)
    for method, path in asked:
        need = published(method, path)
        assert need is None or any(
            need[0] == grant.path or (grant.below and need[0].startswith(f"{grant.path}/"))
            for grant in granted
            if set(need[1]) & set(grant.role.privileges)
        ), (method, path, need)

    for role in dict.fromkeys(grant.role for grant in granted):
        for name in role.privileges:
            rest = ",".join(each for each in role.privileges if each != name)
            site.shell("pve1", f"pveum role modify {role.name} --privs '{rest}'")
            found = [each for each in doctor(site) if each.check == "privileges"]
            paths = [grant.path for grant in granted if grant.role == role]
            assert [each.summary for each in found] == [f"{TOKEN} lacks {name} on {path}" for path in paths]
            if name in REFUSED:
                assert refused(site) == f"{TOKEN} lacks {REFUSED[name]}"
                assert site.shell("pve1", left).strip() == "", "what was made is taken back"
            assert found[0].commands[0] == f"pveum role modify {role.name} --privs {name} --append 1"
            for line in found[0].commands:
                site.shell("pve1", line)
    assert [each for each in doctor(site) if each.state is not State.OK] == []


# What apply then says; VM.Audit is looked for before anything is planned.
REFUSED = {
    "Datastore.AllocateSpace": "Datastore.AllocateSpace on /storage/local-btrfs",
    "Datastore.Audit": "Datastore.AllocateSpace or Datastore.Audit on /storage/local",
    "SDN.Use": "SDN.Use on /sdn/zones/localnetwork/vmbr0",
    "Sys.Audit": "Sys.Audit on /nodes",
    "VM.Allocate": "VM.Allocate on /vms",
    "VM.Audit": "VM.Audit on /vms",
    "VM.PowerMgmt": "VM.PowerMgmt on /vms/100",
}


def refused(site: Site) -> str:
    """Why apply ends without anything done."""
    try:
        done = site.apply()
    except Refused as refusal:
        return refusal.troubles[0].summary
    assert done.outcome.name == "rolled_back", done.outcome
    return done.outcome.problems[0].summary.partition("failed: ")[2] or done.outcome.problems[0].summary
