"""Clusters: what can't be, and what a person gets to read."""

import pytest
from unit.checked import problems

SITE = """\
version: 1
site: office
gateways:
  files:
    nodes:
      n1: {host: pve1, address: 10.0.0.1}
      n2: {host: 10.0.0.2}
      n3: {address: 10.0.0.3}
    ha: {shared: /mnt/ceph, addresses: [192.0.2.61/24, '2001:db8::61/64 dev eth1'], failover: 10s}
users:
  alice: {uid: 10000, password: {env: ALICE}}
shares:
  a:
    gateway: files
    storage: {directory: /mnt/ceph/a}
    access: {write: [alice]}
"""


def test_a_cluster_is_good() -> None:
    assert problems(SITE) == []


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("    nodes:", "    mode: vm\n    nodes:", "4:3", "VMs can't be nodes of a cluster yet (write mode: native"),
        ("failover: 10s", "failover: 5s", "9:5", "5s is less than it takes to notice that a node is lost"),
        ("failover: 10s", "failover: soon", "9:95", "'soon' is no duration (write 10s or 2min)"),
        ("192.0.2.61/24", "192.0.2.61", "9:41", "'192.0.2.61' is no floating address"),
        ("192.0.2.61/24", "192.0.2.61/24, 192.0.2.61/32", "9:5", "192.0.2.61 is listed twice"),
        ("192.0.2.61/24", "10.0.0.2/24", "7:11", "10.0.0.2 is the address of a floating one, too"),
        ("{host: 10.0.0.2}", "{host: pve2}", "7:11", "nobody knows where the other nodes reach it"),
        ("address: 10.0.0.3", "address: 10.0.0.1", "8:11", "10.0.0.1 is the address of n1, too"),
        ("    nodes:", "    host: pve9\n    nodes:", "4:3", "host can't stand at a cluster"),
        ("uid: 10000, ", "", "11:3", "cluster 'files' needs the uid of alice: all its nodes have to give the same one"),
        ("/mnt/ceph/a", "/mnt/cephalopod", "15:14", "/mnt/cephalopod is not on what the nodes of the cluster share"),
        ("/mnt/ceph/a", "/mnt/ceph/.smbplan/files", "15:14", "/mnt/ceph/.smbplan/files is not on what"),
        ("/mnt/ceph/a", "/mnt/ceph", "15:14", "/mnt/ceph is not on what the nodes of the cluster share"),
        ("{directory: /mnt/ceph/a}", "{zfs: tank/a}", "15:14", "the nodes of a cluster share folders"),
        ("gateway: files", "gateway: n2", "14:14", "'n2' is a node of the cluster 'files'"),
        ("    access", "    recycle: true\n    access", "16:14", "recycle bins are not emptied on clusters yet"),
        ("failover: 10s}", "lock: {file: /root/lock}}", "9:9", "/root/lock is not on what the nodes share"),
        ("failover: 10s}", "lock: {command: x}}", "9:85", "nobody knows how long this lock outlives its holder"),
        ("    nodes:\n", "    discovery: true\n    nodes:\n", "4:3", "discovery can't stand at a cluster"),
        ("users:", "  n3: {host: pve3}\nusers:", "8:11", "'n3' is the name of another gateway or node"),
    ],
)  # fmt: skip
def test_what_can_not_be(old: str, new: str, place: str, words: str) -> None:
    assert old in SITE
    found = problems(SITE.replace(old, new, 1))
    assert any(each.startswith(place) and words in each for each in found), found


def test_one_node_is_no_cluster() -> None:
    text = SITE.replace("      n2: {host: 10.0.0.2}\n      n3: {address: 10.0.0.3}\n", "")
    assert any("write both nodes: (two or more) and ha:" in each for each in problems(text))


def test_ids_that_are_proposed_are_free() -> None:
    text = SITE.replace("users:\n", "users:\n  bob: {password: {env: B}}\n  carol: {password: {env: C}}\n")
    found = [each for each in problems(text) if "needs the uid" in each]
    assert [each.rsplit("uid: ", 1)[1][:5] for each in found] == ["10001", "10002"]
