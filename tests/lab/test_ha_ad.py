"""examples/ha-ad: a cluster that joins a domain once, serves its users at every address, and leaves."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import ad, ha
from lab.containers import eventually
from lab.faults import FAULTS, Fault, Pool
from lab.site import Site

from smbplan import app, domains
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
LASTS = (61, 62, 63)
MANY = frozenset({"many-updates", "many-deletes"})


@pytest.fixture(scope="module")
def nodes(machines: Lab) -> Iterator[Lab]:
    lab = Lab(f"{machines.name}-had")
    lab.down()
    lab.up(nodes=4, shared=True, btrfs=False, domain="CORP.TEST")
    yield lab
    lab.down()


@pytest.fixture
def site(nodes: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return ha.outsiders(nodes, tmp_path, monkeypatch)


def everywhere(site: Site, commands: str) -> list[str]:
    return [site.shell(node, commands) for node in ha.NODES.values()]


def test_a_cluster_is_one_member_and_serves_the_domain_at_every_address(site: Site) -> None:
    before, listed = ha.seen(site), ad.directory(site)
    made = site.applied()
    assert [step.id for step in made.steps if step.id.endswith("#proof")] == ["samba.share.projects#proof"]
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    for last in LASTS:
        assert "NT_STATUS" not in ha.at(site, last, "anna", f"put /tmp/news n{last}"), "the first session of all"
        assert "news" in ha.at(site, last, "bert", f"get n{last} -"), "All Staff holds Sales Team"
        assert "DENIED" in ha.at(site, last, "bert", "put /tmp/news m")
        assert "DENIED" in ha.at(site, last, "nobody.special", "ls")
        assert "news" in ha.at(site, last, "bert", f"get n{last} -", "shares.corp.test")
        assert "NT_STATUS" not in ha.smb(site, ha.floating(site, last), "projects", "ls"), "local accounts, too"
    assert len(set(everywhere(site, "id 'CORP\\anna'"))) == 1, "the same ids on all nodes"
    assert everywhere(site, "ls /etc/krb5.keytab 2>/dev/null || :") == ["", "", ""]
    assert [row for row in domains.check(app.validate(site.folder).site, "corp") if row.ok is not True] == []
    listed_now = ad.administered(
        site, f"dns query dc1 corp.test files A -U Administrator --password={ad.password(site)}"
    )
    assert all(ha.floating(site, last) in listed_now for last in LASTS)
    assert site.address("pve1") not in listed_now
    drifts(site)
    moves_its_addresses(site)
    grows_and_shrinks(site)
    site.applied(**ad.DESTROY)
    site.applied(purge=True, delete_data=True, **ad.DESTROY)
    site.shell("pve1", f"rm -rf {ha.SHARED}/projects")
    assert ha.as_before(site, before) == []
    assert sorted(ad.directory(site) ^ listed) == []


def drifts(site: Site) -> None:
    """A node that does not start winbindd, names in DNS, and a domain that refuses the account."""
    site.shell("pve2", "rm /etc/ctdb/events/legacy/49.winbind.script; systemctl stop winbind")
    # A round of CTDB's monitoring that was under way may call the node unhealthy, until the next one.
    eventually(lambda: site.differences() == ["update ctdb.winbind.files"], 30)
    changes = [(change.address, change.reasons) for change in site.plan().plan.changes]
    assert changes == [("ctdb.winbind.files", ("CTDB does not start it on files2",))]
    site.applied()
    assert site.differences() == []
    who = f"-U Administrator --password={ad.password(site)}"
    ad.administered(site, f"dns delete dc1 corp.test files A {ha.floating(site, 62)} {who}")
    assert site.differences() == ["update domain.member.files"], "one of the addresses is missing"
    site.applied()
    assert site.differences() == []
    ad.administered(site, "user setpassword 'FILES$' --newpassword=Broken-Geheim-1")
    everywhere(site, "systemctl restart winbind")
    eventually(lambda: site.differences() == ["update domain.member.files"], 30)
    (change,) = site.plan().plan.changes
    assert change.reasons == ("the domain refuses its machine account; it joins again",)
    site.applied()
    assert site.differences() == []
    for last in LASTS:
        assert "news" in ha.at(site, last, "bert", "get n61 -")
    site.shell("pve1", "wbinfo --change-secret")
    for last in LASTS:
        assert "news" in ha.at(site, last, "bert", "get n61 -"), "every node knows the new password"


def moves_its_addresses(site: Site) -> None:
    """DNS has them, and no other, when the apply ends."""
    for number, node in enumerate(ha.NODES.values(), 1):
        site.shell(node, f"ip addr add fd00:19::{number}/64 dev eth0 nodad")
    old, new = f"{ha.floating(site, 63)}/24", f"{ha.floating(site, 64)}/24, 'fd00:19::64/64'"
    for before, after in ((old, new), (new, old)):
        site.edit("site.yaml", before, after)
        site.applied()
        assert site.differences() == []
        who = f"-U Administrator --password={ad.password(site)}"
        found = ad.administered(site, f"dns query dc1 corp.test shares ALL {who}")
        assert (ha.floating(site, 63) in found) is (after == old)
        assert (ha.floating(site, 64) in found) is (after == new) is ("fd00:0019" in found), found
    for number, node in enumerate(ha.NODES.values(), 1):
        site.shell(node, f"ip addr del fd00:19::{number}/64 dev eth0")


def grows_and_shrinks(site: Site) -> None:
    """A node that comes is a member from its first moment on."""
    node = f"      files4: {{host: pve4, address: {site.address('pve4')}}}\n    ha:"
    site.edit("site.yaml", "    ha:", node)
    site.applied()
    assert site.differences() == []
    assert "succeeded" in site.shell("pve4", "wbinfo -t")
    site.edit("site.yaml", f"      files2: {{host: pve2, address: {site.address('pve2')}}}\n", "")
    site.applied()
    assert site.differences() == []
    gone = site.shell("pve2", "ls /etc/ctdb/events/legacy /var/lib/ctdb/persistent; systemctl is-active winbind || :")
    assert "winbind.script" not in gone and "secrets" not in gone and "inactive" in gone
    for last in LASTS:
        assert "news" in ha.at(site, last, "bert", "get n61 -")
    site.edit("site.yaml", node, "    ha:")
    site.edit(
        "site.yaml", "      files3:", f"      files2: {{host: pve2, address: {site.address('pve2')}}}\n      files3:"
    )
    site.applied()
    assert site.differences() == []


def test_a_cluster_can_become_a_member_and_be_none_again(site: Site) -> None:
    """It serves local accounts before, meanwhile and afterwards."""
    path = site.folder / "site.yaml"
    whole = path.read_text()
    foreign = "      read: ['@CORP\\All Staff']\n      deny: ['CORP\\nobody.special']\n"
    alone = whole.replace("    domain: corp\n    aliases: [shares.corp.test]\n", "").replace(foreign, "")
    path.write_text(alone.replace(", '@CORP\\Engineers'", ""))
    site.applied()
    addresses = [ha.floating(site, last) for last in LASTS]
    for text in (whole, alone.replace(", '@CORP\\Engineers'", "")):
        path.write_text(text)
        site.applied(allow=MANY)
        assert site.differences() == []
        assert all("NT_STATUS" not in ha.smb(site, address, "projects", "ls") for address in addresses)
        member = text == whole
        assert all(("blocks" in ha.at(site, last, "anna", "ls")) is member for last in LASTS)
        assert everywhere(site, "ls /etc/ctdb/events/legacy | grep -c winbind || :") == ["1\n" if member else "0\n"] * 3


def test_local_accounts_serve_until_a_controller_answers(site: Site) -> None:
    addresses = [ha.floating(site, last) for last in LASTS]
    site.shell("dc1", "systemctl stop lab-controller")
    try:
        (warning,) = [words for words in site.plan().plan.warnings if "fallback" in words]
        assert warning.startswith("gateway.files: no controller of its domain answers: local accounts alone serve")
        site.applied()
        assert all("local accounts alone" in text for text in everywhere(site, "cat /var/lib/smbplan/fallback"))
        assert site.differences() == []
        assert all("NT_STATUS" not in ha.smb(site, address, "projects", "ls") for address in addresses)
    finally:
        site.shell("dc1", "systemctl start lab-controller")
    site.lab.wait_for_domain()
    assert {"create domain.member.files", "delete domain.fallback.files/files1"} <= {*site.differences()}
    site.applied(allow=MANY)
    assert site.differences() == []
    assert everywhere(site, "ls /var/lib/smbplan | grep fallback || :") == ["", "", ""]
    assert all("blocks" in ha.at(site, last, "anna", "ls") for last in LASTS)


def test_a_fault_at_any_step_of_a_join_leaves_nodes_and_directory_as_before(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.applied(targets=tuple(f"packages.{name}" for name in ha.NODES))
    before, listed, connections = ha.seen(site), ad.directory(site), Pool()
    planned = site.plan(atomic=True)
    for step in planned.plan.steps:
        if step.id not in ("domain.member.files", "ctdb.winbind.files", "domain.principals.files"):
            continue
        for kind in FAULTS:
            fault = Fault(step, kind)
            ha.strike(monkeypatch, fault)
            done = app.apply(planned, connect=connections.connect(fault))
            assert fault.struck, (step.id, done.outcome.problems)
            assert done.outcome.name == "rolled_back", (step.id, kind, done.outcome.problems)
            assert ha.as_before(site, before) == [], (step.id, kind)
            assert sorted(ad.directory(site) ^ listed) == [], (step.id, kind, done.outcome.warnings)
    connections.close()
