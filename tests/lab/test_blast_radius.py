"""One of fifty shares fails: the others are served, and with --atomic none is."""

from pathlib import Path

import pytest
from lab import snapshot
from lab.conftest import prepared
from lab.site import Site

from smbplan import app
from smbplan.engine.step import Status
from smbplan.lab import Lab

pytestmark = pytest.mark.lab
NAMES = [f"s{number:02}" for number in range(50)]
BAD = "s17"


@pytest.fixture
def site(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Fifty folders of one gateway, for one user."""
    found = prepared(lab, tmp_path, monkeypatch, "quickstart")
    text = (found.folder / "site.yaml").read_text()
    (found.folder / "site.yaml").write_text(text[: text.index("  vault:")].replace("permit: [guest]", "permit: []"))
    (found.folder / "people.yaml").write_text("users:\n  alice: {password: {env: ALICE_PASSWORD}}\n")
    shares = "".join(
        f"  {name}: {{gateway: files, storage: {{directory: /srv/all/{name}}}, access: {{write: [alice]}}}}\n"
        for name in NAMES
    )
    (found.folder / "shares.yaml").write_text(f"shares:\n{shares}")
    return found


def spoilt(site: Site, **options: object) -> app.Planned:
    """A plan, in the way of which a file has come since."""
    planned = site.plan(**options)
    site.shell("pve1", f"mkdir -p /srv/all; touch /srv/all/{BAD}")
    return planned


def test_the_others_are_served(site: Site) -> None:
    done = app.apply(spoilt(site))
    assert done.outcome.name == "partial", done.outcome.problems
    assert {each.address for each in done.outcome.problems} == {f"directory.{BAD}"}
    statuses = done.outcome.statuses
    proofs = {name: statuses[f"samba.share.{name}#proof"] for name in NAMES}
    assert proofs == {name: Status.CANCELLED if name == BAD else Status.DONE for name in NAMES}
    listed = set(site.shell("pve1", "net conf listshares").split())
    assert listed == {*NAMES} - {BAD}
    site.shell("client", "echo news >/tmp/news")
    for name in NAMES:
        said = site.smb("alice", name, "put /tmp/news n; get n -")
        assert ("news" in said and "NT_STATUS" not in said) is (name != BAD), said
    assert site.differences() == [f"create directory.{BAD}", f"create samba.share.{BAD}"]
    site.shell("pve1", f"rm /srv/all/{BAD}")
    site.applied()
    assert "NT_STATUS" not in site.smb("alice", BAD, "put /tmp/news n")


def test_atomic_is_none(site: Site) -> None:
    site.shell("pve1", "mkdir /srv/all")
    before = snapshot.take(site.lab, "pve1")
    done = app.apply(spoilt(site, atomic=True))
    assert done.outcome.name == "rolled_back", done.outcome.problems
    site.shell("pve1", f"rm /srv/all/{BAD}")
    assert snapshot.differences(before, snapshot.take(site.lab, "pve1")) == []
