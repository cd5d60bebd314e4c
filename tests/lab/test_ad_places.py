"""Where a member finds its controllers, its time and its ids; and how long it goes on without any of them."""

import calendar
import time
from pathlib import Path

import pytest
from lab import ad
from lab.containers import eventually
from lab.site import Site

from smbplan import app, domains
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
PATIENCE = 15.0  # seconds; one that waits for a name server takes ten
BERLIN = "_ldap._tcp.Berlin._sites.dc SRV 'dc1.corp.test 389 0 100'"


@pytest.fixture
def site(domain: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return ad.alone(domain, tmp_path, monkeypatch)


def record(site: Site, verb: str, words: str) -> None:
    ad.administered(site, f"dns {verb} dc1 _msdcs.corp.test {words} -U Administrator --password={ad.password(site)}")


def test_a_site_its_time_and_the_ids_of_the_directory(site: Site) -> None:
    site.edit("site.yaml", "    fallback: local\n", "    ad_site: Berlin\n    time: controllers\n    offline: 2d\n")
    site.edit("site.yaml", "    join:", "    ids: {backend: ad, range: 10000-49999}\n    join:")
    wrong, *_ = [row for row in domains.check(app.validate(site.folder).site, "corp") if row.ok is False]
    assert (wrong.code, wrong.found) == ("no-site", "CORP.TEST has no controller in the site Berlin")
    record(site, "add", BERLIN)
    try:
        site.applied()
        assert site.differences() == []
        site.shell("pve1", "systemctl start chrony")
        shown = site.shell("pve1", "testparm -s 2>/dev/null; cat /etc/samba/smbplan-controllers.conf")
        assert "password server = dc1.corp.test\n" in shown and "idmap cache time = 172800" in shown
        site.shell("client", "echo news >/tmp/news")
        assert "NT_STATUS" not in ad.kerberos(site, "anna", "projects", "put /tmp/news n")
        assert site.shell("pve1", "stat -c %u /srv/projects/n").strip() == "10002", "anna's uidNumber"
        eventually(lambda: "^* corp.test" in site.shell("pve1", "chronyc -N sources"))
        (clock,) = [row for row in domains.check(app.validate(site.folder).site, "corp") if row.check == "time"]
        assert (clock.ok, clock.found) == (True, "follows corp.test")
        record(site, "add", BERLIN.replace("dc1", "dc9"))
        (change,) = site.plan().plan.changes
        assert (change.address, change.reasons) == (
            "domain.controllers.files",
            ("the site Berlin has other controllers now",),
        )
        site.applied()
        assert site.differences() == []
        assert "dc9.corp.test" in site.shell("pve1", "testparm -s --parameter-name='password server' 2>/dev/null")
        record(site, "delete", BERLIN.replace("dc1", "dc9"))
        site.applied()
        goes_on_alone(site)
        site.applied(**ad.DESTROY)
        assert "smbplan" not in site.shell("pve1", "ls /etc/samba /etc/chrony/sources.d")
    finally:
        record(site, "delete", BERLIN)


def goes_on_alone(site: Site) -> None:
    """Those who were seen come in with the tickets that they have, also after a restart of all that serves."""
    for user in ("anna", "bert"):
        ad.kerberos(site, user, "projects", "ls")
    assert 0 < 2 * 86400 - remembered(site, "anna") < 600, "as long as the definition says"
    site.shell("dc1", "systemctl stop lab-controller")
    try:
        began = time.monotonic()
        assert "NT_STATUS" not in ad.with_its_ticket(site, "anna", "projects", "put /tmp/news m")
        assert "news" in ad.with_its_ticket(site, "bert", "projects", "get m -"), "his groups come with his ticket"
        assert "DENIED" in ad.with_its_ticket(site, "bert", "projects", "put /tmp/news o")
        assert time.monotonic() - began < PATIENCE, "three sessions, and none of them waits for the controller"
        assert site.shell("pve1", "stat -c %u /srv/projects/m").strip() == "10002", "the id is remembered"
        site.shell("pve1", "systemctl restart winbind smbd")
        # winbindd has to find out first that nobody is there.
        eventually(lambda: "news" in ad.with_its_ticket(site, "bert", "projects", "get m -"), 120)
        assert "NT_STATUS" in ad.ntlm(site, "bert", "projects", "get m -"), "a password needs a controller"
        planned = site.plan().plan
        assert planned.empty and "domain.member.files: no controller of CORP.TEST answers" in planned.warnings
    finally:
        site.shell("dc1", "systemctl start lab-controller")
    site.lab.wait_for_domain()


def remembered(site: Site, user: str) -> float:
    """Seconds for which the id of a user stays known to the gateway, whoever answers."""
    sid = site.shell("pve1", f"wbinfo -n 'CORP\\{user}'").split()[0]
    (entry,) = [
        line for line in site.shell("pve1", "net cache list").splitlines() if f"SID2XID/{sid}" in line.split()[1]
    ]
    until = entry.partition("Timeout:")[2].partition("Value:")[0].strip()
    return calendar.timegm(time.strptime(until, "%a %b %d %H:%M:%S %Y")) - time.time()


def test_ids_as_they_come(site: Site) -> None:
    site.edit("site.yaml", "    join:", "    ids: {backend: autorid}\n    join:")
    site.applied()
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in ad.kerberos(site, "anna", "projects", "put /tmp/news n")
    assert 2_000_000 <= int(site.shell("pve1", "stat -c %u /srv/projects/n")) <= 2_999_999
    site.applied(**ad.DESTROY)
