"""Bad definitions of virtual machines and what lies in them, and the line that a person gets to read for each."""

import pytest
from unit.checked import problems

from smbplan.kinds import virtiofs
from smbplan.spec.load import load_source
from smbplan.spec.source import parse

HEAD = """version: 1
site: office
proxmox: lab
gateways:
  v: {mode: vm, node: pve1, network: {address: 192.0.2.8/24}KEYS}
  w: {mode: vm, network: {address: 192.0.2.9/24}}
  n: {}
users:
  alice: {password: {env: A}, uid: 2001}
shares:
"""
FOLDER, VOLUME = "directory: /srv/s", "volume: local, size: 1GiB"
CONTAINER = "mode: lxc, template: 'local:vztmpl/t', node: pve1, network: {mtu: 65535}"


def share(gateway: str, storage: str, extra: str = "", keys: str = "") -> str:
    head = HEAD.replace("KEYS", f", {keys}" if keys else "")
    return f"{head}  s: {{gateway: {gateway}, storage: {{{storage}}}, access: {{write: [alice]}}{extra}}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (share("v", FOLDER), None),
        (share("w", VOLUME), None),
        (share("w", FOLDER), "can't be reached before the node is known"),
        (share("v", "directory: '/srv/a,b'"), "splits its settings at commas and spaces"),
        (share("v", FOLDER + ", ids: same"), "a VM has the ids of its node anyway"),
        (share("v", FOLDER, keys="balloon: 256MiB"), "which rules ballooning out"),
        (share("v", VOLUME, keys="balloon: 256MiB"), None),
        (share("v", FOLDER, ", windows_acls: true, multi_protocol: true"), "user.NTACL"),
        (share("v", "zfs: tank/s", ", previous_versions: true"), "can't enter a dataset's snapshots"),
        (share("v", FOLDER, keys="swap: 512MiB"), "swap can't stand at a gateway of mode vm (it belongs to mode: lxc)"),
        (share("v", FOLDER, keys="template: 'local:vztmpl/t.tar.zst'"), "a VM is cloned from a template that is a VM"),
        (share("v", FOLDER, keys="host: vault"), "host and ssh are for SSH"),
        (share("v", FOLDER, keys="connection: local"), "connection local is no way into a gateway of mode vm"),
        (share("v", FOLDER, keys="connection: ssh"), None),
        (
            share("v", FOLDER, keys="connection: ssh").replace("{address: 192.0.2.8/24}", "{}"),
            "by SSH its address has to be known",
        ),
        (share("v", FOLDER, keys="ssh_keys: [hello]"), "write a line of authorized_keys"),
        (share("v", VOLUME, keys="balloon: 512MiB"), None),
        (share("v", VOLUME, keys="balloon: 513MiB"), "5:72: balloon is more than the memory of the VM, 512MiB"),
        (share("v", VOLUME, keys="balloon: 1GiB, memory: 1GiB"), None),
        (share("v", VOLUME).replace("8/24}", "8/24, mtu: 65520}"), None),
        (share("v", VOLUME).replace("8/24}", "8/24, mtu: 65521}"), "a VM's interface takes no more than 65520"),
        (share("v", VOLUME).replace("mode: vm, node: pve1, network: {address: 192.0.2.8/24}", CONTAINER), None),
        (share("v", FOLDER).replace("n: {}", "n: {connection: agent}"), "is no way into a gateway of mode native"),
        (share("v", FOLDER).replace("n: {}", "n: {clone: full}"), "it belongs to mode: vm"),
    ],
)
def test_machines(text: str, expected: str | None) -> None:
    found = problems(text)
    assert (found == []) if expected is None else (expected in found[-1]), found


BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIHTJRWDoH8uDSUM0BM87Y3JwCkUc1l8zHB7reVfmK+mb"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABB"
    "BJGOGg5Wd0PgVN8ZUFlsOnNlHmvnBfEv0RsPqu+A0WvFWMddIaqhpBuRbt79QZ020prTVLEBgutAK0wTCjjZjeA="
)


@pytest.mark.parametrize(
    ("key", "good"),
    [
        (f"ssh-ed25519 {BLOB} a b", True),
        (f"ssh-ed25519 {BLOB}", True),
        (ECDSA, True),
        (f"ssh-rsa {BLOB}", False),
        (f"ssh-ed25519 {BLOB[:-4]}", False),
        (f"ssh-ed25519 {BLOB}AAAA", False),
        (f"ssh-ed25519 {BLOB[:20]}", False),
        (f"ssh-ed25519 {BLOB[:-1]}", False),
        ("ssh-ed25519 AAAA", False),
        ("ssh-ed25519 A", False),
    ],
)
def test_keys_are_whole(key: str, good: bool) -> None:
    """Proxmox has `ssh-keygen -l` look at each, when the disk has been copied already."""
    found = problems(share("v", VOLUME, keys=f"ssh_keys: ['{key}']"))
    assert (found == []) == good, found
    assert good or (found[0].startswith("5:") and "is no whole key (write a line of authorized_keys" in found[0]), found


def both(other: str, path: str) -> str:
    """A folder in a VM, and one near it at another gateway."""
    return (
        share("v", FOLDER)
        + f"""  t:
    gateway: {other}
    storage: {{directory: {path}}}
    access: {{write: [alice]}}
    allow_overlap: true
"""
    )


@pytest.mark.parametrize(
    ("other", "host", "machine", "warned"),
    [
        ("n", "pve1", "", True),
        ("n", "elsewhere", "", False),
        ("n", "elsewhere", "another", False),
        ("n", "192.0.2.1", "the node's", True),
        ("c", "pve1", "", True),
    ],
)
def test_what_another_gateway_shares_weakens_the_isolation(other: str, host: str, machine: str, warned: bool) -> None:
    """A node under another name is known by its machine-id."""
    container = 'c: {mode: lxc, node: pve1, template: "local:vztmpl/t.tar.zst", network: {address: 192.0.2.7/24}}'
    text = both(other, "/srv/s/inner").replace("  n: {}", f"  n: {{host: {host}}}\n  {container}")
    assert problems(text) == []
    defined = load_source(parse(text, "site.yaml")).site
    seen = {"@proxmox:pve1": "the node's", **({"n": machine} if machine else {})}
    found = [words for words in virtiofs.exposed(defined, seen) if "isolation of v is weakened both ways" in words]
    assert len(found) == warned, found
    assert all(f"served by {other}" in words for words in found)


def test_one_folder_can_not_be_two_gateways_own() -> None:
    text = both("c", "/srv/s").replace("  n: {}", '  c: {mode: lxc, node: pve1, template: "local:vztmpl/t.tar.zst"}')
    assert "put both on one gateway" in problems(text)[-1]


def test_a_machine_has_no_more_folders_than_proxmox_gives_it() -> None:
    more = "".join(
        f"  t{number}: {{gateway: v, storage: {{directory: /srv/t{number}}}, access: {{write: [alice]}}}}\n"
        for number in range(10)
    )
    assert "at most 10 folders of its node, and 'v' would have 11" in problems(share("v", FOLDER) + more)[-1]
