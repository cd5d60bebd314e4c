"""Changes of a running container: shares that come and go, wider id maps, another `node:`, two who apply at once."""

import hashlib
import json
import shlex
from collections.abc import Iterator

import pytest
from lab.lxc import network
from lab.site import Site
from typer.testing import CliRunner

from smbplan import app
from smbplan.cli.main import app as cli
from smbplan.errors import Refused
from smbplan.lab import Lab

pytestmark = pytest.mark.lab

SITE = """
version: 1
site: changes
proxmox: lab
defaults:
  gateway: {mode: lxc, template: "local:vztmpl/debian-12-samba_1_amd64.tar.zst", disk: 1GiB, discovery: false}
gateways:
  box: {node: pve1, network: {address: NET.61/24}}
users:
  alice: {password: {env: ALICE_PASSWORD}}
shares:
  first: {gateway: box, storage: {volume: local, size: 64MiB}, access: {write: [alice]}}
"""
LATER = """
  vol: {gateway: box, storage: {volume: local, size: 64MiB}, access: {write: [alice]}}
  dir: {gateway: box, storage: {directory: /srv/dir}, access: {write: [alice]}}
  sub: {gateway: box, storage: {btrfs: /mnt/btrfs/sub}, access: {write: [alice]}}
  set: {gateway: box, storage: {zfs: tank/set}, access: {write: ["*"]}}
"""


@pytest.fixture(scope="module")
def site(machines: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Applied once for all tests, by a plan that was saved."""
    folder = tmp_path_factory.mktemp("site")
    lab = Lab(f"{machines.name}-changes")
    lab.down()
    lab.up(nodes=2, pve=True)
    site = Site(lab, folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ALICE_PASSWORD", "alice-Geheim-1")
        patched.setenv("SMBPLAN_LAB", lab.name)
        patched.setenv("SMBPLAN_STATE", str(folder / "state"))
        write(site, SITE)
        saved = folder / "saved.plan"
        made = CliRunner().invoke(cli, ["plan", str(folder), "--out", str(saved)])
        assert made.exit_code == 0, made.output
        done = app.apply_saved(app.load_saved(saved), 10, lambda step, status: None)
        assert done.outcome.name == "applied", done.outcome.problems
        assert site.differences() == []
        yield site
    lab.down()


def applied(site: Site, text: str) -> None:
    """Whatever another test has left, this is what is there now."""
    write(site, text)
    site.applied(allow=frozenset({"many-deletes", "many-updates"}))


def write(site: Site, text: str) -> None:
    (site.folder / "site.yaml").write_text(text.replace("NET", network(site.lab)))


def smb(site: Site, share: str) -> str:
    """A file is written and read by a real client."""
    words = f"smbclient //{network(site.lab)}.61/{share} -U alice%alice-Geheim-1 -c 'put /etc/hostname n; get n -'"
    return site.shell("client", words)


def test_shares_of_every_kind_of_storage_come_and_go_while_it_runs(site: Site) -> None:
    applied(site, SITE)
    applied(site, SITE + LATER)
    for share in ("first", "vol", "dir", "sub", "set"):
        assert "client" in smb(site, share)
    assert site.differences() == []
    for share in ("dir", "sub", "set"):  # what is empty goes
        place = {"dir": "/srv", "sub": "/mnt/btrfs", "set": "/tank"}[share]
        site.shell("pve1", f"rm {place}/{share}/n")
    applied(site, SITE)
    assert site.shell("pve1", "ls -d /srv/dir /mnt/btrfs/sub /tank/set 2>/dev/null || :") == ""
    assert site.differences() == []
    applied(site, SITE + LATER)
    assert "client" in smb(site, "set") and "client" in smb(site, "vol")


def test_a_share_that_fails_on_a_running_container_leaves_nothing(site: Site) -> None:
    more = '  more: {gateway: box, storage: {zfs: tank/more}, access: {write: ["*"]}}\n'
    applied(site, SITE + LATER)
    before = site.shell("pve1", "zfs list -H -o name; pct config 100 | grep ^mp")
    write(site, SITE + LATER + more)
    done = app.apply(site.plan(), connect=_without_shares)  # type: ignore[arg-type]
    assert done.outcome.name == "rolled_back", done.outcome.problems
    assert site.shell("pve1", "zfs list -H -o name; pct config 100 | grep ^mp") == before
    write(site, SITE + LATER)
    assert site.differences() == []


def _without_shares(endpoint: object, counts: object) -> object:
    """Connections by which no share can be set."""
    from smbplan.drivers.channel import Channel

    class Broken(Channel):
        def request(self, verb: str, timeout: float = 900.0, **arguments: object) -> object:
            ops = arguments.get("ops") or []
            if any(op.get("type") == "share" for op in ops):  # type: ignore[attr-defined]
                words = {"summary": "seeded", "detail": "", "hint": ""}
                return [{"error": words, "untouched": True} for _ in ops]  # type: ignore[attr-defined]
            return super().request(verb, timeout, **arguments)

    return Broken(endpoint, counts)  # type: ignore[arg-type]


def test_ids_that_come_to_a_running_container_widen_its_map(site: Site) -> None:
    applied(site, SITE + LATER)
    text = (SITE + LATER).replace("users:", "users:\n  zoe: {password: {env: ALICE_PASSWORD}, uid: 70002}")
    text = text.replace("[alice]", "[alice, zoe]", 1)
    write(site, text)
    told = {change.address: change.reasons for change in site.plan().plan.changes}
    assert told["lxc.idmap.box"] == ("restarts the container, which ends its sessions",)
    site.applied()
    assert site.differences() == []
    assert "client" in smb(site, "first")
    write(site, text.replace("70002", "70003"))
    (refused,) = [each for each in site.plan().plan.refused if "uid" in each.summary]
    assert "zoe has the uid 70002" in refused.summary and "write uid: 70002" in refused.hint
    write(site, text)


def test_another_node_in_the_file_moves_nothing(site: Site) -> None:
    applied(site, SITE + LATER)
    text = (site.folder / "site.yaml").read_text()
    (site.folder / "site.yaml").write_text(text.replace("node: pve1", "node: pve2"))
    assert site.differences(delete_data=True) == []
    (site.folder / "site.yaml").write_text(text)


def test_what_it_got_when_it_was_made_is_refused_later(site: Site) -> None:
    text = (site.folder / "site.yaml").read_text()
    for key, words in (("vmid: 555", "its vmid is 100"), ("storage: shared", "its storage is local")):
        (site.folder / "site.yaml").write_text(text.replace("node: pve1", f"node: pve1, {key}"))
        refused = site.plan().plan.refused
        assert any(words in each.summary for each in refused), refused
    (site.folder / "site.yaml").write_text(text)


def test_two_who_apply_one_site_do_so_one_after_the_other(site: Site) -> None:
    applied(site, SITE)
    site.edit("site.yaml", "node: pve1", "node: pve1, cores: 1")
    ours = site.plan()
    lease = json.dumps({"token": "x", "owner": "somebody@far", "run": "theirs", "site": "changes", "since": 1})
    lock, owner = "/etc/pve/priv/lock/smbplan-changes", "/etc/pve/priv/smbplan-changes"
    site.shell("pve2", f"mkdir {lock}; echo {shlex.quote(lease)} >{owner}")
    with pytest.raises(Refused) as refused:
        app.apply(ours)
    assert "site changes is being changed by somebody@far since 1970" in str(refused.value.troubles[0].summary)
    site.shell("pve2", f"rmdir {lock}; rm {owner}")
    assert app.apply(ours).outcome.name == "applied"


def foreign(site: Site) -> None:
    """A container of somebody else on the other node."""
    if "777" in site.shell("pve2", "pct list"):
        return
    net = f"name=eth0,bridge=vmbr0,ip={network(site.lab)}.77/24"
    made = (
        f"pct create 777 local:vztmpl/debian-12-samba_1_amd64.tar.zst --hostname foreign --rootfs local:1 --net0 {net}"
    )
    site.shell("pve2", made)


def test_a_node_that_is_down_hides_only_what_may_be_there(site: Site) -> None:
    foreign(site)
    applied(site, SITE)
    site.shell("pve2", "systemctl stop pveproxy")
    assert site.differences() == []
    text = (site.folder / "site.yaml").read_text()
    other = f"  other: {{node: pve1, network: {{address: {network(site.lab)}.62/24}}}}\nusers:"
    (site.folder / "site.yaml").write_text(text.replace("users:", other, 1))
    with pytest.raises(Refused) as refused:
        site.plan()
    assert "node pve2 can't be reached, and the guest of other may be there" in refused.value.troubles[0].summary
    site.shell("pve2", "systemctl start pveproxy")
    (site.folder / "site.yaml").write_text(text)


def test_two_containers_with_one_mark_are_refused(site: Site) -> None:
    foreign(site)
    mark = "changes/lxc.container.box"
    seal = hashlib.sha256(f"777:{mark}".encode()).hexdigest()[:10]
    forged = "<!-- smbplan " + json.dumps({"mark": f"{mark}/{seal}", "records": {}}) + " -->"
    site.run("pve2", "pct", "set", "777", "--description", forged)
    with pytest.raises(Refused) as refused:
        site.plan()
    assert "both carry the mark of gateway box" in refused.value.troubles[0].summary
    site.run("pve2", "pct", "set", "777", "--delete", "description")
