"""examples/ad against a real controller: join, tickets, groups, ids, drift, leaving, and a controller that is gone."""

from pathlib import Path

import pytest
from lab import ad, snapshot
from lab.faults import FAULTS, Fault, Pool
from lab.site import Site

from smbplan import app, domains
from smbplan.lab import Lab
from smbplan.store import runs

pytestmark = pytest.mark.lab


@pytest.fixture
def site(domain: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return ad.alone(domain, tmp_path, monkeypatch)


def test_a_member_comes_serves_and_goes(site: Site) -> None:
    before, listed = snapshot.take(site.lab, "pve1"), ad.directory(site)
    made = site.applied()
    assert {step.id for step in made.steps if step.id.endswith("#proof")} == {
        "samba.share.projects#proof",
        "samba.share.umlauts#proof",
    }
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in ad.kerberos(site, "anna", "projects", "put /tmp/news n")
    assert "news" in ad.kerberos(site, "bert", "projects", "get n -"), "All Staff holds Sales Team"
    assert "DENIED" in ad.kerberos(site, "bert", "projects", "put /tmp/news m")
    assert "DENIED" in ad.kerberos(site, "nobody.special", "projects", "ls")
    assert "NT_STATUS" not in ad.kerberos(site, "jörg", "umlauts", "put /tmp/news n")
    assert "news" in ad.ntlm(site, "bert", "umlauts", "get n -")
    assert "NT_STATUS" not in site.smb("alice", "projects", "get n /tmp/x"), "local accounts serve, too"
    stored = site.shell("pve1", "net conf showshare projects")
    assert "invalid users = S-1-5-21-" in stored and "CORP" not in stored
    rows = domains.check(app.validate(site.folder).site, "corp")
    assert [(row.check, row.ok) for row in rows if row.ok is not True] == []
    drifts(site)
    is_called(site)
    rotates(site)
    ad.fails_to_leave(site)
    asks_for_tickets(site)
    site.applied(**ad.DESTROY)
    site.applied(purge=True, delete_data=True, **ad.DESTROY)
    site.shell("pve1", "rm -rf /srv/projects /srv/umlauts")
    assert snapshot.differences(before, snapshot.take(site.lab, "pve1")) == []
    assert sorted(ad.directory(site) ^ listed) == []


def drifts(site: Site) -> None:
    """A list that somebody changed, and a machine account that somebody reset."""
    site.shell("pve1", "net conf setparm projects 'invalid users' ''")
    assert site.differences() == ["update samba.share.projects"]
    site.applied()
    site.edit("site.yaml", "      deny: ['CORP\\nobody.special']\n", "")
    assert site.differences() == ["update domain.principals.files", "update samba.share.projects"]
    site.applied()
    assert site.differences() == []
    ad.administered(site, "user setpassword 'FILES$' --newpassword=Broken-Geheim-1")
    site.shell("pve1", "systemctl restart winbind")
    (change,) = site.plan().plan.changes
    assert (change.address, change.reasons) == (
        "domain.member.files",
        ("the domain refuses its machine account; it joins again",),
    )
    site.applied()
    assert site.differences() == []
    assert "news" in ad.kerberos(site, "bert", "projects", "get n -")


def is_called(site: Site) -> None:
    """Another alias; and a record in DNS that somebody has changed."""
    assert "news" in ad.kerberos(site, "bert", "projects", "get n -", "shares.corp.test")
    site.edit("site.yaml", "aliases: [shares.corp.test]", "aliases: [Second.corp.test]")
    assert site.differences() == ["update domain.member.files", "update samba.config.files"]
    site.applied()
    assert site.differences() == []
    assert "news" in ad.kerberos(site, "bert", "projects", "get n -", "second.corp.test")
    gone = ad.kerberos(site, "bert", "projects", "get n -", "shares.corp.test")
    assert "news" not in gone and "NT_STATUS" in gone, gone
    address = site.address()
    record = f"dc1 corp.test files A {address}"
    who = f"-U Administrator --password={ad.password(site)}"
    ad.administered(site, f"dns update {record} 198.18.255.9 {who}")
    (change,) = site.plan().plan.changes
    assert (change.address, change.before["registered"], change.after["registered"]) == (
        "domain.member.files",
        False,
        True,
    )
    site.applied()
    assert address in ad.administered(site, f"dns query dc1 corp.test files A {who}")
    assert site.differences() == []


def rotates(site: Site) -> None:
    """winbind changes the machine's password once a week; tickets from before go on."""
    ad.kerberos(site, "anna", "projects", "ls")
    site.shell("pve1", "wbinfo --change-secret")
    assert "news" in ad.with_its_ticket(site, "anna", "projects", "get n -")
    assert "news" in ad.kerberos(site, "anna", "projects", "get n -")
    assert site.differences() == []


def asks_for_tickets(site: Site) -> None:
    site.edit("site.yaml", "    fallback: local\n", "    fallback: local\n    ntlm: false\n")
    site.edit("site.yaml", "      write: [alice, ", "      write: [")
    made = site.applied()
    assert "samba.share.projects#proof" in {step.id for step in made.steps}, "proved with a ticket"
    assert "NT_STATUS_" in ad.ntlm(site, "bert", "projects", "get n -")
    assert "news" in ad.kerberos(site, "bert", "projects", "get n -")
    assert site.differences() == []


def test_local_accounts_serve_until_a_controller_answers_and_a_member_goes_on_without_one(site: Site) -> None:
    site.shell("dc1", "systemctl stop lab-controller")
    try:
        planned = site.plan()
        (warning,) = [words for words in planned.plan.warnings if "fallback" in words]
        assert warning.startswith("gateway.files: no controller of its domain answers: local accounts alone serve")
        assert journalled(site.applied()) == ["domain.fallback.files doing", "domain.fallback.files done"]
        assert "local accounts alone serve" in site.shell("pve1", "cat /var/lib/smbplan/fallback")
        assert site.differences() == []
        assert "NT_STATUS" not in site.smb("alice", "projects", "ls")
        assert "LOGON_FAILURE" in ad.ntlm(site, "anna", "projects", "ls")
        assert "ACCESS_DENIED" in site.smb("alice", "umlauts", "ls"), "nobody may, and not everybody"
    finally:
        site.shell("dc1", "systemctl start lab-controller")
    site.lab.wait_for_domain()
    assert {"create domain.member.files", "delete domain.fallback.files"} <= {*site.differences()}
    assert journalled(site.applied()) == ["domain.fallback.files doing", "domain.fallback.files done"]
    assert "fallback" not in site.shell("pve1", "ls /var/lib/smbplan")
    assert not [words for words in site.plan().plan.warnings if "fallback" in words]
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in ad.kerberos(site, "anna", "projects", "put /tmp/news n")
    site.shell("dc1", "systemctl stop lab-controller")
    try:
        assert "news" in ad.with_its_ticket(site, "anna", "projects", "get n -")
        planned = site.plan()
        assert planned.plan.empty
        assert "domain.member.files: no controller of CORP.TEST answers" in planned.plan.warnings
    finally:
        site.shell("dc1", "systemctl start lab-controller")
    site.lab.wait_for_domain()


def journalled(done: app.Applied) -> list[str]:
    """What the run's journal says of the fallback."""
    (run,) = [run for run in runs.runs(done.site) if run.id == done.run]
    return [f"{entry.step} {entry.status}" for entry in run.entries() if "fallback" in entry.step]


def test_a_fault_at_any_step_of_a_join_leaves_host_and_directory_as_before(site: Site) -> None:
    before, listed, connections = snapshot.take(site.lab, "pve1"), ad.directory(site), Pool()
    planned = site.plan(atomic=True)
    joins = [step for step in planned.plan.steps if step.id.startswith("domain.")]
    others = [step for step in planned.plan.steps if step not in joins]
    cases = [(step, kind) for step in joins for kind in FAULTS]
    cases += [(step, FAULTS[number % 3]) for number, step in enumerate(others)]
    for step, kind in cases:
        fault = Fault(step, kind)
        done = app.apply(planned, connect=connections.connect(fault))
        assert fault.struck, f"no case for {step.id}"
        assert done.outcome.name == "rolled_back", (step.id, kind, done.outcome.problems)
        assert snapshot.differences(before, snapshot.take(site.lab, "pve1")) == [], (step.id, kind)
        assert sorted(ad.directory(site) ^ listed) == [], (step.id, kind, done.outcome.warnings)
    connections.close()
