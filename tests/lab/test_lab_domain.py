"""The lab's Active Directory domain: a real controller, tickets, names and accounts."""

import os
from collections.abc import Iterator

import pytest
from lab.containers import sh

from smbplan.lab import Lab

pytestmark = pytest.mark.lab
NAME = "-".join(filter(None, ["domain", os.environ.get("PYTEST_XDIST_WORKER")]))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(NAME)
    lab.down()
    lab.up(nodes=1, domain="corp.test")
    yield lab
    lab.down()


def ticket(lab: Lab, user: str) -> int:
    return lab.exec("client", ["kinit", f"{user}@CORP.TEST"], lab.state.password.read_text()).returncode


def test_users_get_tickets_and_sessions_with_them(lab: Lab) -> None:
    for user in ("anna", "jörg", "nobody.special", "joiner"):
        assert ticket(lab, user) == 0, user
    listed = sh(lab, "smbclient --use-kerberos=required -N //dc1.corp.test/netlogon -c ls", "client")
    assert "blocks available" in listed
    wrong = lab.exec("client", ["kinit", "anna@CORP.TEST"], "wrong\n")
    assert wrong.returncode != 0


def test_the_client_finds_the_controller_by_dns_and_all_by_name(lab: Lab) -> None:
    assert ".102 " in sh(lab, "getent ahostsv4 corp.test", "client"), "the zone is known by DNS only"
    assert sh(lab, "cat /etc/resolv.conf", "pve1") == "", "that is the gateway's definition's matter"
    assert sh(lab, "getent ahostsv4 dc1.corp.test | head -1 | cut -d' ' -f1", "pve1").endswith(".102")


def test_groups_hold_groups_and_nobody_joins_unasked(lab: Lab) -> None:
    members = sh(lab, "samba-tool group listmembers 'All Staff'", "dc1").split("\n")
    assert sorted(members) == ["Engineers", "Sales Team"]
    quota = "ldbsearch -H /var/lib/samba/private/sam.ldb -s base -b dc=corp,dc=test ms-DS-MachineAccountQuota"
    assert "ms-DS-MachineAccountQuota: 0" in sh(lab, quota, "dc1")


def test_a_reset_makes_the_domain_anew(lab: Lab) -> None:
    sh(lab, "samba-tool user create stray Stray-Geheim-1", "dc1")
    lab.reset("dc1")
    assert "stray" not in sh(lab, "samba-tool user list", "dc1")
    assert ticket(lab, "anna") == 0
