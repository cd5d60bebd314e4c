"""What a person expects of shares on a real gateway, beyond that they serve."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from lab import snapshot
from lab.site import Site

from smbplan import app
from smbplan.engine.kind import Options
from smbplan.errors import Refused

pytestmark = pytest.mark.lab


def refusals(site: Site, **options: object) -> str:
    """Why a plan is refused, as one text; it must be."""
    try:
        made = site.plan(**options).plan
    except Refused as error:
        return "\n".join(f"{item.summary} | {item.hint}" for item in error.troubles)
    assert made.refused and not made.steps
    return "\n".join(f"{item.summary} | {item.hint}" for item in made.refused)


def test_readers_read_what_writers_write(site: Site) -> None:
    """Guests, and everybody where a list says *, are in no entry of an ACL."""
    site.edit("shares.yaml", '{write: ["@engineers"], read: ["@office"]}', '{write: [alice], read: ["*"]}')
    site.applied()
    site.shell("client", "echo news >/tmp/news")
    site.smb("carol", "welcome", "put /tmp/news n; mkdir d; put /tmp/news d/n")
    assert site.smb("", "welcome", "get n -; get d/n -").count("news") == 2
    site.smb("alice", "projects", "put /tmp/news n; mkdir d; put /tmp/news d/n")
    assert site.smb("carol", "projects", "get n -; get d/n -").count("news") == 2
    assert "DENIED" in site.smb("carol", "projects", "put /tmp/news m")


def test_settings_in_the_registry_that_would_win_are_drift(site: Site) -> None:
    site.applied()
    site.shell("pve1", "net conf setparm global 'server min protocol' NT1")
    assert site.differences() == ["update samba.config.files"]
    site.applied()
    assert "min protocol = NT1" not in site.shell("pve1", "testparm -s 2>/dev/null; net conf list")
    assert site.differences() == []


def test_an_account_that_needs_no_password_any_more_is_drift(site: Site) -> None:
    site.applied()
    site.shell("pve1", "smbpasswd -n bob")
    assert site.differences() == ["update samba.user.files.bob"]
    site.applied()
    assert site.differences() == []


def test_a_changed_password_is_applied_and_proved(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.applied()
    monkeypatch.setenv("ALICE_PASSWORD", "another-1")
    changed = site.plan().plan
    assert {change.address for change in changed.changes} == {"samba.user.files.alice", "samba.user.vault.alice"}
    assert "another-1" not in repr(changed)
    assert {"samba.share.projects#proof", "samba.share.home#proof"} <= {step.id for step in changed.steps}
    site.applied()
    assert site.differences() == []
    assert "LOGON_FAILURE" in site.smb("alice", "old-projects", "ls", node="pve2")
    said = site.run("client", "smbclient", "-U", "alice%another-1", f"//{site.address()}/projects", "-c", "ls")
    assert "blocks available" in said


def test_previous_versions_are_taken_kept_and_seen_by_clients(site: Site) -> None:
    site.edit("shares.yaml", "keep: 48", "keep: 2")
    site.applied()
    site.shell("client", "echo first >/tmp/f; echo second >/tmp/g")
    site.smb("alice", "projects", "put /tmp/f report")
    site.shell("pve1", "systemctl start smbplan-snapshot-projects.service")
    time.sleep(1.1)  # names have a resolution of a second
    site.smb("alice", "projects", "put /tmp/g report")
    info = site.smb("alice", "projects", "allinfo report")
    stamp = next(word for word in info.split() if word.startswith("@GMT-"))
    assert "first" in site.smb("alice", "projects", f"get {stamp}/report -")
    assert "second" in site.smb("alice", "projects", "get report -")
    assert "NT_STATUS" in site.smb("alice", "projects", "rename .snapshots stolen")
    for _ in range(3):
        time.sleep(1.1)
        site.shell("pve1", "systemctl start smbplan-snapshot-projects.service")
    assert len(site.shell("pve1", "ls /mnt/btrfs/projects/.snapshots").split()) == 2


def test_recycle_bin_keeps_and_expires_and_the_proof_leaves_nothing_in_it(site: Site) -> None:
    site.applied()
    assert "No such file" in site.shell("pve1", "ls /mnt/btrfs/projects/.recycle 2>&1 || true")
    site.shell("client", "echo x >/tmp/f")
    site.smb("alice", "projects", "put /tmp/f a; put /tmp/f b; del a; del b")
    bin_ = "/mnt/btrfs/projects/.recycle/alice"
    assert site.shell("pve1", f"ls {bin_}").split() == ["a", "b"]
    site.shell("pve1", f"touch -d '15 days ago' {bin_}/a; systemctl start smbplan-recycle-projects.service")
    assert site.shell("pve1", f"ls {bin_}").split() == ["b"]


def test_a_gateway_that_leaves_out_the_loopback_is_proved_all_the_same(site: Site) -> None:
    options = "    permit: [options, guest]\n    options: {interfaces: eth0, bind interfaces only: true}\n"
    site.edit("site.yaml", "    permit: [guest]", options.rstrip("\n"))
    done = site.applied()
    listening = site.shell("pve1", "ss -Hltn 'sport = :445'")
    assert "127.0.0.1" not in listening and ":445" in listening
    assert done.outcome.statuses["samba.share.projects#proof"] == "done"


def test_quota_is_enforced(site: Site) -> None:
    site.edit("shares.yaml", "quota: 1GiB", "quota: 8MiB")
    site.applied()
    site.shell("client", "head -c 20M /dev/urandom >/tmp/big")
    assert "NT_STATUS_DISK_FULL" in site.smb("alice", "projects", "put /tmp/big big")


def test_encryption_required_refuses_a_plain_session(site: Site) -> None:
    site.applied()
    base = ["smbclient", "-U", "carol%carol-Geheim-1", f"//{site.address('pve2')}/books", "-c", "ls"]
    assert b"ACCESS_DENIED" in site.lab.exec("client", [*base, "-m", "SMB2_10"]).stdout
    assert "blocks" in site.run("client", *base, "--client-protection=encrypt")


def test_old_protocols_and_anonymous_listing_are_refused(site: Site) -> None:
    site.applied()
    vault = site.address("pve2")
    old = site.lab.exec(
        "client",
        ["smbclient", "-L", vault, "-U", "alice%alice-Geheim-1", "--option=client min protocol=NT1", "-m", "NT1"],
    )
    assert (
        b"INVALID_NETWORK_RESPONSE" in old.stdout + old.stderr or b"No compatible protocol" in old.stdout + old.stderr
    )
    listing = site.lab.exec("client", ["smbclient", "-L", vault, "-N"])
    assert b"mac-backups" not in listing.stdout


def test_a_share_and_a_gateway_that_were_dropped_are_found_and_removed(site: Site) -> None:
    before = snapshot.take(site.lab, "pve2")
    site.applied()
    text = (site.folder / "shares.yaml").read_text()
    (site.folder / "shares.yaml").write_text(text[: text.index("  books:")])
    site.edit("site.yaml", "  vault:\n    host: pve2\n    description: Backups and archives\n", "")
    removed = site.differences(purge=True)
    assert "delete samba.share.books" in removed and "delete samba.config.vault" in removed
    (site.folder.parent / "state" / "quickstart" / "peers.json").unlink()  # its peer knows it too
    assert site.differences(purge=True) == removed
    site.lab.exec("pve2", ["sh", "-c", "echo > /dev/null"])
    site.applied(purge=True, allow=frozenset({"many-deletes"}))
    assert snapshot.differences(before, snapshot.take(site.lab, "pve2")) == []
    assert site.differences() == []


def test_a_foreign_configuration_keeps_serving_and_comes_back(site: Site) -> None:
    foreign = (
        "[global]\n   workgroup = OLD\n   map to guest = bad user\n[legacy]\n   path = /srv/legacy\n   guest ok = yes\n"
    )
    site.run(
        "pve1",
        "sh",
        "-ec",
        "mkdir -p /srv/legacy; touch /srv/legacy/here; cat >/etc/samba/smb.conf; systemctl start smbd",
        stdin=foreign,
    )
    before = snapshot.take(site.lab, "pve1")
    assert "globals: adopt" in refusals(site)  # description and [global] settings would change the foreign share
    site.edit("site.yaml", "    description: Files of the office\n", "")
    site.applied()
    assert site.differences() == []
    assert "here" in site.smb("", "legacy", "ls")
    assert "blocks available" in site.smb("alice", "projects", "ls")
    effective = site.shell("pve1", "testparm -s 2>/dev/null")
    assert "workgroup = OLD" in effective and "[legacy]" in effective and "[projects]" in effective
    site.applied(destroy=True, purge=True)
    differences = snapshot.differences(before, snapshot.take(site.lab, "pve1"))
    assert differences == []
    assert site.shell("pve1", "cat /etc/samba/smb.conf") == foreign


def test_a_foreign_registry_share_and_user_are_refused_then_adopted(site: Site) -> None:
    site.run(
        "pve1",
        "sh",
        "-ec",
        "mkdir -p /srv/x; printf '[global]\\ninclude=registry\\n' >/etc/samba/smb.conf;"
        " net conf addshare projects /srv/x; useradd alice; rm /etc/samba/smb.conf",
    )
    said = refusals(site)
    assert "share projects exists on files and is not managed by smbplan | take it over with --adopt" in said
    assert "user alice exists on files" in said
    assert "its data path would move from /srv/x" in refusals(site, adopt=True)
    site.applied(adopt=True, allow=frozenset({"path-move"}))
    assert site.differences() == []


def test_another_sites_share_is_never_touched(site: Site) -> None:
    site.applied()
    site.edit("site.yaml", "site: quickstart", "site: rival")
    said = refusals(site, adopt=True, allow=frozenset({"many-updates", "many-deletes", "path-move"}))
    assert "share projects on files belongs to quickstart/samba.share.projects" in said


def test_recursion_changes_what_deviates_and_undoes_it(site: Site) -> None:
    site.applied()
    site.shell("pve1", "cd /srv/welcome; mkdir -p a/b; touch a/f; chown -R carol a; chmod 700 a/b")
    before = snapshot.take(site.lab, "pve1")
    old = "storage: {directory: /srv/welcome}"
    site.edit("shares.yaml", old, old + "\n    permissions: {recursive: true}")
    assert site.differences() == ["update directory.welcome"]
    site.shell("pve1", "systemctl mask -q --runtime smbd; pkill -9 smbd || true; systemctl stop smbd")
    assert "update service.files.smbd" in site.differences()
    failed = site.apply()
    assert failed.outcome.name in ("rolled_back", "partial")
    assert {line for line in snapshot.differences(before, snapshot.take(site.lab, "pve1")) if "/srv/" in line} == set()
    site.shell("pve1", "systemctl unmask -q --runtime smbd")
    site.applied()
    assert site.differences() == []
    assert "carol office" in site.shell("pve1", "stat -c '%U %G' /srv/welcome/a/f")


def test_a_link_in_the_path_is_refused(site: Site) -> None:
    site.shell("pve1", "mkdir /srv/real; ln -s /srv/real /srv/homes")
    assert "/srv/homes leads through the symbolic link /srv/homes | use /srv/real instead" in refusals(site)


def test_what_testparm_says_refuses_the_plan(site: Site) -> None:
    site.edit("site.yaml", "permit: [guest]", "permit: [guest, options]")
    site.edit("shares.yaml", "comment: For everybody, to read", "options: {nonsense: 1}")
    assert 'Unknown parameter encountered: "nonsense"' in refusals(site)
    site.edit("shares.yaml", "nonsense: 1", "csc policy: sometimes")
    assert "Ignoring invalid value 'sometimes' for parameter 'csc policy'" in refusals(site)


def test_a_full_disk_fails_the_share_and_nothing_else(site: Site) -> None:
    site.applied()
    site.shell("pve1", "mkdir /srv/full; mount -t tmpfs -o nr_inodes=1 none /srv/full")
    before = snapshot.take(site.lab, "pve1")
    shares = site.folder / "shares.yaml"
    shares.write_text(
        shares.read_text()
        + "  more: {gateway: files, storage: {directory: /srv/full/more}, access: {read: [bob]}}\n"
        + "  else: {gateway: files, storage: {directory: /srv/else}, access: {read: [bob]}}\n"
    )
    done = site.apply()
    assert done.outcome.name == "partial"
    assert [(item.address, "No space left" in item.summary) for item in done.outcome.problems] == [
        ("directory.more", True)
    ]
    assert site.differences() == ["create directory.more", "create samba.share.more"]
    shares.write_text(shares.read_text().split("  more:")[0])
    site.applied()
    assert snapshot.differences(before, snapshot.take(site.lab, "pve1")) == []


def test_sudo_and_a_plain_user(site: Site) -> None:
    site.edit("site.yaml", "ssh: {config:", "ssh: {user: admin, sudo: true, config:")
    site.applied()
    site.edit("site.yaml", "sudo: true", "sudo: false")
    assert "the user on the target is not root | set ssh.user: root, or ssh.sudo: true" in refusals(site)


def test_targets_that_cant_be_reached_are_named_and_nothing_is_changed(site: Site) -> None:
    before = snapshot.take(site.lab, "pve2")
    site.edit("site.yaml", "host: pve1", "host: 198.18.255.1")
    site.edit("site.yaml", "defaults:\n", "defaults:\n")
    said = refusals(site)
    assert said.startswith("files: ")
    config = site.folder / "ssh_config"
    known = site.folder / "known_hosts"
    lab_config = f"/run/smbplan/lab/{site.lab.name}/ssh_config"
    text = Path(lab_config).read_text()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", site.folder / "key"], check=True)
    known.write_text(f"{site.address('pve2')} {(site.folder / 'key.pub').read_text()}")
    config.write_text(
        "\n".join(
            f"  UserKnownHostsFile {known}" if "UserKnownHostsFile" in line else line for line in text.splitlines()
        )
        + "\n"
    )
    site.edit("site.yaml", lab_config, str(config))
    site.edit("site.yaml", "198.18.255.1", "pve1")
    assert "vault: the host key has changed" in refusals(site)
    assert snapshot.differences(before, snapshot.take(site.lab, "pve2")) == []


def test_a_missing_secret_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOB_PASSWORD")
    assert "environment variable BOB_PASSWORD is not set | export BOB_PASSWORD=…" in refusals(site)


def test_no_secret_is_left_anywhere(site: Site) -> None:
    site.applied()
    state = site.folder.parent / "state"
    for path in state.rglob("*"):
        assert path.is_dir() or b"Geheim" not in path.read_bytes(), path
    for node in ("pve1", "pve2"):
        found = site.lab.exec(
            node, ["sh", "-c", "grep -rl Geheim /etc /var/lib /var/log /run /srv /tmp /usr/local 2>/dev/null"]
        )
        assert found.stdout == b"", node
    assert not os.path.exists("/var/lib/smbplan")


WSD_PROBE = """
import socket, sys
PROBE = (
    '<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery">'
    '<s:Header><a:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>'
    '<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</a:Action>'
    '<a:MessageID>urn:uuid:0a6dc791-2be6-4991-9af1-454778a1917a</a:MessageID></s:Header>'
    '<s:Body><d:Probe><d:Types xmlns:wsdp="http://schemas.xmlsoap.org/ws/2006/02/devprof">wsdp:Device</d:Types></d:Probe></s:Body></s:Envelope>'
)
MDNS = bytes.fromhex("000000000001000000000000") + b"\\x04_smb\\x04_tcp\\x05local\\x00\\x00\\x0c\\x80\\x01"
for group, port, data in (("239.255.255.250", 3702, PROBE.encode()), ("224.0.0.251", 5353, MDNS)):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
    sock.settimeout(1)
    found = set()
    for _ in range(6):
        sock.sendto(data, (group, port))
        try:
            while True:
                found.add(sock.recvfrom(9000)[1][0])
        except TimeoutError:
            pass
        if len(found) > 1:
            break
    print(port, *sorted(found))
"""


def test_windows_and_macos_find_the_gateways_unless_switched_off(site: Site) -> None:
    site.edit(
        "site.yaml", "    description: Backups and archives\n", "    description: Backups\n    discovery: false\n"
    )
    site.applied()
    own = site.address("client")
    said = site.run("client", "python3", "-c", WSD_PROBE, own)
    assert said.split("\n")[:2] == [f"3702 {site.address()}", f"5353 {site.address()}"]


def test_the_audit_log_tells_who_did_what_and_nothing_of_the_proof(site: Site) -> None:
    site.applied()
    site.smb("alice", "old-projects", "mkdir plans", node="pve2")
    log = site.shell("pve2", "journalctl -q -o cat -t smbd_audit; journalctl -q -o cat -t smbd")
    assert "alice|" in log and "plans" in log
    assert "smbplan-probe" not in log


def more(site: Site, count: int) -> None:
    """So many shares besides."""
    shares = "".join(
        f"  more{number}: {{gateway: files, storage: {{directory: /srv/more{number}}}, access: {{read: [bob]}}}}\n"
        for number in range(count)
    )
    (site.folder / "more.yaml").write_text(f"shares:\n{shares}")


def test_a_plan_costs_two_round_trips_for_each_gateway(site: Site) -> None:
    commands = []
    for _ in range(2):
        counts = site.plan().counts
        commands.append({name: each.commands for name, each in counts.items()})
        assert {name: (each.connections, each.round_trips) for name, each in counts.items()} == {
            "files": (1, 2),
            "vault": (1, 2),
        }
        more(site, 50)
    assert commands[0] == commands[1] and max(commands[0].values()) < 12, "for any number of shares"
    site.applied()
    assert [(each.round_trips) for each in site.plan().counts.values()] == [1, 1]


def test_many_shares_are_looked_at_by_several_processes_and_each_is_seen(site: Site) -> None:
    """Over 200: the shares before the gateway is asked, half of the folders by a child."""
    more(site, 450)
    site.applied()
    planned = site.plan()
    assert planned.plan.empty and planned.counts["files"].commands < 12
    site.shell("pve1", "net conf setparm more7 comment other; net conf delshare more10")
    site.shell("pve1", "chmod 755 /srv/more8 /srv/more440; rmdir /srv/more9")
    found = {change.address: str(change.action) for change in site.plan().plan.changes}
    updates = dict.fromkeys(("samba.share.more7", "directory.more8", "directory.more440"), "update")
    assert found == {**updates, "directory.more9": "create", "samba.share.more10": "create"}
    assert site.applied() and site.plan().plan.empty


def test_an_apply_goes_on_over_the_connections_of_its_plan_and_asks_no_more_for_many_shares(site: Site) -> None:
    site.applied()
    trips = []
    for count in (1, 41):
        more(site, count)
        planned = app.plan(site.folder, Options(), keep=True)
        done = app.apply(planned)
        assert done.outcome.name == "applied", done.outcome.problems
        assert [each.connections for each in done.counts.values()] == [0, 0]
        trips.append({name: each.round_trips for name, each in done.counts.items()})
    assert trips[0] == trips[1]
