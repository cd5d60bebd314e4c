"""examples/vm on real virtual machines: two gateways that come, serve, drift, restart and go; and what fails."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab import snapshot, vm
from lab.lxc import network
from lab.site import Site
from lab.vm import inside, smb, vmid

from smbplan import app, image, observe
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.wire import encode
from smbplan.engine.resource import Key
from smbplan.engine.step import Move
from smbplan.lab import Lab
from smbplan.lab import vm as lab_vm

pytestmark = pytest.mark.lab
DESTROY = {"destroy": True, "allow": frozenset({"many-deletes"})}


@pytest.fixture(scope="module")
def site(machines: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Not applied yet; every test leaves nothing."""
    lab = Lab(f"{machines.name}-vm")
    lab.down()
    lab.up(nodes=2, pve=True, vms=True)
    with pytest.MonkeyPatch.context() as patched:
        vm.keep_agents(patched)
        yield vm.prepared(lab, tmp_path_factory.mktemp("site"), patched)
    lab.down()


@pytest.fixture(scope="module")
def before(site: Site) -> dict[str, dict[str, object]]:
    return {node: snapshot.take(site.lab, node) for node in ("pve1", "pve2")}


def test_two_gateways_come_serve_drift_restart_and_go(site: Site, before: dict[str, dict[str, object]]) -> None:
    site.shell("pve1", "echo theirs >/srv/theirs")
    made = site.applied()
    proofs = {step.id for step in made.steps if step.id.endswith("#proof")}
    assert proofs == {"samba.share.books#proof", "samba.share.accounts#proof"}
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    for gateway, share in (("vault", "books"), ("ledger", "accounts")):
        assert "NT_STATUS" not in smb(site, gateway, "alice", share, "put /tmp/news n")
        assert "news" in smb(site, gateway, "bob", share, "get n -")
    assert "DENIED" in smb(site, "vault", "bob", "books", "put /tmp/news m")
    assert site.shell("pve1", "cat /srv/books/n") == "news\n", "the data is on the host's path"
    assert "user:2002:r-x" in site.shell("pve1", "getfacl -pn /srv/books"), "with the VM's ACLs"
    assert site.shell("pve1", "stat -c %u:%g /srv/books/n").strip() == "2001:0"
    carries_much(site)
    drifts(site)
    grows(site)
    restarts(site)
    leaves_what_is_foreign(site)
    goes(site, before)


def carries_much(site: Site) -> None:
    """More than Proxmox takes for a guest agent in one request (60 kB), and more than an agent tells in one (1 MiB)."""
    text = "".join(f"{number} ä€\t{'x' * 50}\n" for number in range(20_000))
    key, state = Key("file", "/root/much"), {"mark": None, "content": text, "mode": "0600"}
    with Fleet("vm", observe.endpoints(app.validate(site.folder).site)) as fleet:
        for before, after in ((None, state), (state, None)):
            ops = [encode(Move("file.much", key, before, after))]
            assert "ok" in fleet.ask("ledger", "perform", site="vm", run="much", ops=ops)[0]
            live, errors = fleet.read("ledger", {key: {}})
            assert (live.states[key], errors) == (after, {})
        assert fleet.counts["ledger"].sent > 2 * 2**20 and fleet.counts["ledger"].received > 2**20


def drifts(site: Site) -> None:
    vault, ledger = vmid(site, "vault"), vmid(site, "ledger")
    site.shell("pve1", f"qm set {vault} --onboot 0")
    inside(site, "vault", "net conf setparm books comment hello")
    site.shell("pve2", f"qm set {ledger} --memory 600")
    inside(site, "ledger", "umount /srv/accounts")
    assert site.differences() == [
        "update directory.accounts",
        "update samba.share.books",
        "update service.accounts.mount",
        "update vm.machine.ledger",
        "update vm.machine.vault",
    ]
    site.applied()
    assert site.differences() == []
    assert "news" in smb(site, "ledger", "bob", "accounts", "get n -")


EXTRA = """
  extra:
    gateway: vault
    storage: {volume: local, size: 64MiB, on_destroy: delete}
    access: {write: [alice]}
"""
MAPS = """
  maps:
    gateway: vault
    storage: {directory: /srv/maps, on_destroy: delete}
    access: {write: [alice]}
"""


def grows(site: Site) -> None:
    """A disk while its machine runs; memory at its next start; a disk that comes later."""
    site.edit("site.yaml", "size: 256MiB", "size: 384MiB")
    site.edit("site.yaml", "    node: pve1\n", "    node: pve1\n    memory: 640MiB\n")
    told = {change.address: change.reasons for change in site.plan().plan.changes}
    assert told["vm.machine.vault"] == ("memory takes effect at its next start",)
    assert set(told) == {"vm.machine.vault", "vm.disk.accounts", "filesystem.accounts"}
    path = site.folder / "site.yaml"
    path.write_text(path.read_text() + EXTRA)
    site.applied()
    assert int(inside(site, "ledger", "df -B1M --output=size /srv/accounts").split()[-1]) > 300
    assert "NT_STATUS" not in smb(site, "vault", "alice", "extra", "put /tmp/news n")
    (warning,) = [words for words in site.plan().plan.warnings if "next start" in words]
    assert "memory waits for its next start" in warning and f"qm reboot {vmid(site, 'vault')}" in warning
    assert site.differences() == []


def restarts(site: Site) -> None:
    """A cold boot, for another folder of its node: with the memory that waited, and with what was mounted."""
    path = site.folder / "site.yaml"
    text = path.read_text()
    path.write_text(text + MAPS)
    (device,) = [change for change in site.plan().plan.changes if change.address == "vm.virtiofs.maps"]
    assert device.reasons == ("restarts the VM, which ends its sessions",)
    made = site.applied()
    assert "samba.share.maps#proof" in {step.id for step in made.steps}
    assert site.differences() == []
    assert "news" in smb(site, "vault", "bob", "books", "get n -"), "the folder that was there is mounted again"
    assert "news" in smb(site, "vault", "alice", "extra", "get n -"), "and so is the disk"
    assert "NT_STATUS" not in smb(site, "vault", "alice", "maps", "put /tmp/news n; del n")
    assert int(inside(site, "vault", "awk '/MemTotal/ {print $2}' /proc/meminfo")) > 550_000
    path.write_text(text.replace(EXTRA, ""))
    site.applied(purge=True, delete_data=True)
    (warning,) = [words for words in site.plan().plan.warnings if "next start" in words]
    assert "gateway.vault: virtiofs1 waits" in warning, "its memory does not wait any more"


def leaves_what_is_foreign(site: Site) -> None:
    node, ledger = "pve2", vmid(site, "ledger")
    site.shell(node, f"qm clone {ledger} 300 --full 1 --name copy || qm clone {ledger} 300 --name copy")
    assert "smbplan" in site.shell(node, "qm config 300")
    assert site.differences() == []
    site.shell(node, "qm destroy 300")
    spoil = """
        systemctl stop smbd srv-accounts.mount
        disk=/dev/$(lsblk -ndo NAME,SERIAL | awk '$2 == "accounts" {print $1}')
        dd if=/dev/urandom of=$disk bs=1M count=2 status=none
    """
    inside(site, "ledger", spoil)
    (refused,) = [each for each in site.plan().plan.refused if each.address == "filesystem.accounts"]
    assert "holds another file system already: data that has no name" in refused.summary and "wipefs" in refused.hint


def goes(site: Site, before: dict[str, dict[str, object]]) -> None:
    site.applied(**DESTROY)
    listed = site.shell("pve1", "qm list") + site.shell("pve2", "qm list")
    assert "vault-parked" in listed and "ledger-parked" in listed and "running" not in listed
    site.applied(purge=True, delete_data=True, **DESTROY)
    assert site.shell("pve1", "cat /srv/books/n /srv/theirs") == "news\ntheirs\n"
    site.shell("pve1", "rm -r /srv/books /srv/theirs")
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node


@contextmanager
def deaf(site: Site, node: str) -> Iterator[None]:
    """No agent of this node's machines is reached meanwhile."""
    loop = "while ! read -t 0.2; do rm -f /var/run/qemu-server/*.qga; done"
    with subprocess.Popen(site.lab.command(node, ["bash", "-c", loop]), stdin=subprocess.PIPE) as running:
        try:
            yield
        finally:
            running.communicate(b"\n")


def test_one_that_does_not_answer_in_time_leaves_nothing(site: Site, before: dict[str, dict[str, object]]) -> None:
    """One core is not what the lab has saved: it boots cold, and its agent's socket goes as soon as it is there."""
    path = site.folder / "site.yaml"
    text = path.read_text()
    path.write_text(text.replace("    node: pve1\n", "    node: pve1\n    cores: 1\n    boot_timeout: 40\n"))
    with deaf(site, "pve1"):
        done = site.apply(targets=("share.books",))
    path.write_text(text)
    assert done.outcome.name == "rolled_back", done.outcome.problems
    problem = done.outcome.problems[0]
    assert (problem.address, "did not answer within 40 s" in problem.summary) == ("guest.power.vault", True)
    assert "the console of VM" in problem.detail, problem.detail
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node


MIXED = """
version: 1
site: mixed
proxmox: lab
gateways:
  machine:
    mode: vm
    node: pve1
    template: made
    clone: full
    connection: ssh
    ssh: {identity: IDENTITY}
    ssh_keys: ["KEY"]
    discovery: false
    network: {address: NET.64/24}
  box:
    mode: lxc
    node: pve1
    template: local:vztmpl/debian-12-samba_1_amd64.tar.zst
    disk: 1GiB
    discovery: false
    network: {address: NET.63/24}
  metal: {host: pve2, discovery: false, ssh: {config: CONFIG}}
users:
  alice: {password: {env: ALICE_PASSWORD}}
shares:
  deep: {gateway: machine, storage: {volume: local-btrfs, size: 64MiB, on_destroy: delete}, access: {write: [alice]}}
  boxed: {gateway: box, storage: {volume: local, size: 64MiB, on_destroy: delete}, access: {write: [alice]}}
  plain: {gateway: metal, storage: {directory: /srv/plain, on_destroy: delete}, access: {write: [alice]}}
"""


def test_a_disk_becomes_a_template_and_its_machine_by_ssh_goes_with_containers_and_hosts(
    site: Site, before: dict[str, dict[str, object]], tmp_path: Path
) -> None:
    """`image build vm` with the disk that the lab has built in the same way; all modes in one apply."""
    disk, key = tmp_path / "smbplan.qcow2", site.lab.state.key
    disk.symlink_to(lab_vm.disk(print))
    text = MIXED.replace("NET", network(site.lab)).replace("CONFIG", str(site.lab.ssh_config))
    text = text.replace("IDENTITY", str(key)).replace("KEY", key.with_suffix(".pub").read_text().strip())
    (tmp_path / "site.yaml").write_text(text)
    mixed = Site(site.lab, tmp_path)
    (refused,) = mixed.plan().plan.refused
    assert "there is no template made for VMs on pve1" in refused.summary
    assert "leave template: out; these suit: 9000 (debian-12-samba)" in refused.hint

    loaded = app.validate(tmp_path).site
    made = image.provide_machine(loaded, disk, "local", (), image.MIRROR, print)
    (template,) = made.machines
    assert template.suits and template.node == "pve1"
    site.shell("pve1", f"qm set {template.vmid} --name made")
    listed = {row["template"]: row for row in image.listing(loaded) if row["sort"] == "vm"}
    assert listed[f"{template.vmid} made"]["gateways"] == ["machine"]
    assert site.shell("pve1", "find /var/lib/vz/import -type f") == "", "the upload goes again"

    done = mixed.applied()
    assert {step.target for step in done.steps if step.id.endswith("#proof")} == {"machine", "box", "metal"}
    assert mixed.differences() == []
    words = f"smbclient //{network(site.lab)}.64/deep -U alice%alice-Geheim-1 -c 'put /etc/hostname n; get n -'"
    assert "client" in site.shell("client", words)

    mixed.edit("site.yaml", f"{network(site.lab)}.64", f"{network(site.lab)}.65")
    (changed,) = mixed.plan().plan.changes
    assert changed.reasons == ("address takes effect at its next start",)
    mixed.applied()
    assert mixed.differences() == [], "it is still reached at the address that it has"
    mixed.applied(purge=True, delete_data=True, **DESTROY)
    site.shell("pve1", f"qm destroy {template.vmid} --purge 1")
    for node, state in before.items():
        assert snapshot.differences(state, snapshot.take(site.lab, node)) == [], node
