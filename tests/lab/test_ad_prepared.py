"""A join that was prepared elsewhere: no account of anybody comes to the gateway, and none goes with it."""

from pathlib import Path

import pytest
from lab import ad, snapshot
from lab.site import Site

from smbplan import app, domains
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
JOIN = "    join: {user: joiner, password: {file: /run/smbplan/lab/LAB/domain-password}}\n"


@pytest.fixture
def site(domain: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    site = ad.alone(domain, tmp_path, monkeypatch)
    site.edit("site.yaml", JOIN.replace("LAB", domain.name), "")
    site.edit("site.yaml", "    aliases:", f"    offline_join: {{file: {tmp_path}/files.odj}}\n    aliases:")
    return site


def prepare(site: Site, computer: str = "FILES") -> None:
    """As somebody who may join does it, on a machine of theirs."""
    words = f"domain=CORP.TEST machine_name={computer} machine_account_ou=OU=Servers,DC=corp,DC=test"
    who = f"joiner%{ad.password(site)}"
    site.shell("dc1", "rm -f /root/odj")
    site.run("dc1", "net", "offlinejoin", "provision", *words.split(), "savefile=/root/odj", "-U", who)
    site.shell("dc1", f"samba-tool spn add cifs/shares.corp.test '{computer}$'")
    # As bytes: it is UTF-16, like that of djoin.exe.
    (site.folder.parent / "files.odj").write_bytes(site.lab.exec("dc1", ["cat", "/root/odj"]).stdout)


def test_a_prepared_join_needs_no_account_and_its_computer_stays_in_the_directory(site: Site) -> None:
    before = snapshot.take(site.lab, "pve1")
    prepare(site)
    try:
        secret = (site.folder.parent / "files.odj").read_bytes().decode("utf-16").rstrip("\0")
        made = site.applied()
        assert site.differences() == []
        site.shell("client", "echo news >/tmp/news")
        assert "NT_STATUS" not in ad.kerberos(site, "anna", "projects", "put /tmp/news n")
        assert "news" in ad.kerberos(site, "bert", "projects", "get n -", "shares.corp.test"), "by its alias"
        assert "news" in ad.ntlm(site, "bert", "projects", "get n -")
        rows = {row.check: row.ok for row in domains.check(app.validate(site.folder).site, "corp")}
        assert (rows["clock"], rows["membership"]) == (True, True)
        assert "account" not in rows, "nobody logs in"
        assert secret[100:200] not in site.shell("pve1", "cat /var/lib/smbplan/*"), "the join is kept nowhere"
        assert secret[100:200] not in "".join(path.read_text() for path in (site.folder.parent / "state").rglob("*.*"))
        ad.fails_to_leave(site)  # what can be joined by nobody here comes back with its secrets
        listed = ad.directory(site)
        done = site.applied(**ad.DESTROY)
        (told,) = [warned.text for warned in done.outcome.warnings if warned.address == "domain.member.files"]
        assert told.startswith("the account FILES of CORP.TEST stays in the directory: it was prepared elsewhere")
        assert made.run != done.run
        assert [row for row in listed ^ ad.directory(site) if "CN=FILES" in row] == []
        site.applied(purge=True, delete_data=True, **ad.DESTROY)
        site.shell("pve1", "rm -rf /srv/projects /srv/umlauts")
        assert snapshot.differences(before, snapshot.take(site.lab, "pve1")) == []
    finally:
        site.shell("dc1", "samba-tool computer delete FILES")


@pytest.mark.parametrize("case", ["another", "spent", "nonsense"])
def test_a_prepared_join_that_opens_nothing_leaves_nothing(site: Site, case: str) -> None:
    before = snapshot.take(site.lab, "pve1")
    said = "offline_join: holds no join that was prepared for computer FILES"
    if case == "nonsense":
        (site.folder.parent / "files.odj").write_text("no such thing\n")
        done = site.apply(atomic=True)
    else:
        computer = "OTHER" if case == "another" else "FILES"
        prepare(site, computer)
        try:
            if case == "spent":
                for number in (1, 2):  # the last one but this is good for an hour
                    ad.administered(site, f"user setpassword 'FILES$' --newpassword=Broken-Geheim-{number}")
                said = "CORP.TEST refuses the join that was prepared for FILES: it may have been used before"
            done = site.apply(atomic=True)
        finally:
            site.shell("dc1", f"samba-tool computer delete {computer}")
    (problem,) = done.outcome.problems
    assert (done.outcome.name, problem.address, problem.summary) == ("rolled_back", "domain.member.files", said)
    assert "net offlinejoin provision domain=CORP.TEST machine_name=FILES savefile=FILES.odj" in problem.hint
    assert snapshot.differences(before, snapshot.take(site.lab, "pve1")) == []
