"""Containers that share a node: it is asked for all of them at once, and none of them answers for another."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import lxc
from lab.site import Site

from smbplan.errors import Refused
from smbplan.kinds.guest import CLUSTER
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
SITE = """\
version: 1
site: many
proxmox: lab
defaults:
  gateway: {mode: lxc, template: "local:vztmpl/debian-12-samba_1_amd64.tar.zst", disk: 1GiB, discovery: false}
users:
  alice: {password: {env: ALICE_PASSWORD}}
gateways:
"""
GATEWAY = "  g{number}: {{node: pve1, network: {{address: {net}.{host}/24, gateway: {net}.1}}}}\n"
SHARE = "  s{number}: {{gateway: g{number}, storage: {{volume: local, size: 64MiB}}, access: {{write: [alice]}}}}\n"


@pytest.fixture
def site(machines: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    lab = Lab(f"{machines.name}-many")
    lab.down()
    lab.up(nodes=1, pve=True, client=False, btrfs=False)
    monkeypatch.setenv("SMBPLAN_LAB", lab.name)
    monkeypatch.setenv("ALICE_PASSWORD", "alice-Geheim-1")
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    (tmp_path / "site").mkdir()
    yield Site(lab, tmp_path / "site")
    lab.down()


def written(site: Site, count: int) -> None:
    numbers = range(1, count + 1)
    gateways = [GATEWAY.format(number=each, net=lxc.network(site.lab), host=50 + each) for each in numbers]
    shares = [SHARE.format(number=each) for each in numbers]
    (site.folder / "site.yaml").write_text("".join([SITE, *gateways, "shares:\n", *shares]))


def inside(site: Site, gateway: str, script: str) -> str:
    return site.run(
        "pve1", "lxc-attach", "-n", lxc.vmid(site, gateway, "pve1"), "--clear-env", "--", "sh", "-ec", script
    )


def test_a_plan_asks_their_node(site: Site) -> None:
    trips = list[int]()
    for count in (2, 3):
        written(site, count)
        site.applied()
        planned = site.plan()
        assert planned.plan.changes == ()
        assert [planned.counts[f"g{each}"].connections for each in range(1, count + 1)] == [0] * count
        trips.append(planned.counts[CLUSTER].round_trips)
    assert trips[0] == trips[1], "whatever the number of containers"

    inside(site, "g2", "net conf setparm s2 comment theirs")
    assert site.differences() == ["update samba.share.s2"]
    inside(site, "g2", "net conf delparm s2 comment")
    site.shell("pve1", f"pct stop {lxc.vmid(site, 'g3', 'pve1')}")
    assert site.differences() == ["create guest.power.g3"]
    site.applied()

    hostile = "printf '%s\\n' '#!/bin/sh' 'exec yes' >/usr/local/sbin/python3; chmod +x /usr/local/sbin/python3"
    inside(site, "g1", hostile)
    with pytest.raises(Refused) as refused:
        site.plan()
    assert {trouble.address for trouble in refused.value.troubles} == {"gateway.g1"}, "the others have answered"
    inside(site, "g1", "rm /usr/local/sbin/python3")
    assert site.differences() == []
