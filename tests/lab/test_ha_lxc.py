"""examples/ha-lxc: a cluster of three containers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import ad, ha, lxc, snapshot
from lab.containers import eventually
from lab.site import Site

from smbplan import app, domains
from smbplan import ha as clusters
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.ha import Ha
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
PATIENCE = 30.0  # seconds that a pause may last on a machine that runs four tests at once; bench/ha.py measures
DESTROY = {"destroy": True, "allow": frozenset({"many-deletes"}), "purge": True, "delete_data": True}


@pytest.fixture(scope="module")
def nodes(machines: Lab) -> Iterator[Lab]:
    lab = Lab(f"{machines.name}-hal")
    lab.down()
    lab.up(nodes=3, pve=True, shared=True, btrfs=False, domain="CORP.TEST")
    yield lab
    lab.down()


@pytest.fixture
def site(nodes: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return ha.fresh(nodes, tmp_path, monkeypatch, "ha-lxc")


def test_a_cluster_of_containers_comes_survives_and_goes(site: Site) -> None:
    before = {node: snapshot.take(site.lab, node) for node in ha.NODES.values()}
    third = next(line for line in (site.folder / "site.yaml").read_text().splitlines() if "files3:" in line) + "\n"
    site.edit("site.yaml", third, "")
    site.applied()
    site.edit("site.yaml", "    ha:\n", f"{third}    ha:\n")
    site.applied()
    assert site.differences() == []
    addresses = ha.serves_everywhere(site)
    survives(site, addresses)
    site.applied(**DESTROY)
    site.shell("pve1", "rm -rf /mnt/shared/drawings /mnt/shared/projects")
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node


def survives(site: Site, addresses: list[str]) -> None:
    """The container that serves the second address is killed; the next apply starts it again."""
    loaded = app.validate(site.folder).site
    lost = next(node for node in clusters.status(loaded, "files").nodes if addresses[1] in node.addresses)
    host = ha.NODES[lost.name]
    with ha.served(site, *addresses) as ended:
        site.shell(host, f"lxc-stop -k -n {lxc.vmid(site, lost.name, host)}")
        there = clusters.status(loaded, "files")
        assert [node.health for node in there.nodes if node.name == lost.name] == ["unreachable"]
        eventually(
            lambda: addresses[1] in {each for node in clusters.status(loaded, "files").nodes for each in node.addresses}
        )
        assert site.differences() == [f"create guest.power.{lost.name}"]
        site.applied()
        eventually(lambda: clusters.status(loaded, "files").good, 60)
        assert site.differences() == []
        seen = ended()
    for each in seen:
        assert (each.lost, each.wrong) == (0, 0), each.address
        assert each.longest() < PATIENCE, (each.address, each.longest(), each.errors)


def test_containers_are_one_member_of_a_domain(site: Site) -> None:
    before = {node: snapshot.take(site.lab, node) for node in ha.NODES.values()}
    listed, password, dc = ad.directory(site), site.lab.state.password, site.address("dc1")
    domain = f"""domains:
  corp:
    realm: CORP.TEST
    join: {{user: joiner, password: {{file: {password}}}}}
    register_names: true
    fallback: local
    probes: {{anna: {{password: {{file: {password}}}}}}}
gateways:"""
    site.edit("site.yaml", "gateways:", domain)
    site.edit("site.yaml", "    mode: lxc\n", f"    mode: lxc\n    domain: corp\n    nameserver: {dc}\n")
    site.edit("site.yaml", "read: [bob]", "read: [bob, '@CORP\\All Staff']")
    site.shell("dc1", "systemctl stop lab-controller")
    try:
        (warning,) = [words for words in site.plan().plan.warnings if "fallback" in words]
        assert warning.startswith("gateway.files: no controller of its domain answers"), "their nodes have looked"
    finally:
        site.shell("dc1", "systemctl start lab-controller")
    site.lab.wait_for_domain()
    site.applied()
    assert site.differences() == []
    for last in (61, 62, 63):
        assert "blocks" in ha.at(site, last, "anna", "ls"), "the first session of all"
    assert [row for row in domains.check(app.validate(site.folder).site, "corp") if row.ok is not True] == []
    site.applied(**DESTROY)
    site.shell("pve1", "rm -rf /mnt/shared/drawings /mnt/shared/projects")
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node
    assert sorted(ad.directory(site) ^ listed) == []


def test_a_container_that_fails_in_the_midst_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, met = {node: snapshot.take(site.lab, node) for node in ha.NODES.values()}, Ha._ask, list[str]()

    def ask(self: Ha, name: str, do: str, **words: Any) -> Any:
        answer = real(self, name, do, **words)
        if f"{do} {name}" == "power files3" and not met:
            met.append(name)
            raise ChannelError(f"{name}: seeded fault", "what CTDB says of it")
        return answer

    monkeypatch.setattr(Ha, "_ask", ask)
    done = site.apply(atomic=True)
    assert met and done.outcome.name == "rolled_back", done.outcome.problems
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node


def test_what_their_nodes_have_to_share_first(site: Site) -> None:
    site.shell("pve2", "umount /mnt/shared")
    (words,) = [hazard.summary for hazard in site.plan().plan.refused]
    assert words.startswith("/mnt/shared on files2 is another folder than on files1 (")
    assert site.lab.exec("pve1", ["pct", "list"]).stdout == b""
