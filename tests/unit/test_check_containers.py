"""Bad definitions of containers and what lies in them, and the line that a person gets to read for each."""

import pytest
from unit.checked import problems

HEAD = """version: 1
site: office
proxmox: lab
gateways:
  g: {mode: lxc, template: "local:vztmpl/t.tar.zst", node: pve1}
  h: {mode: lxc, template: "local:vztmpl/t.tar.zst"}
  n: {}
users:
  alice: {password: {env: A}, uid: 2001}
  bob: {password: {env: B}}
groups:
  staff: {members: [alice], gid: 3001}
shares:
"""
SAME = "ids: same"


def share(gateway: str, storage: str, access: str = "alice", extra: str = "") -> str:
    return f"{HEAD}  s: {{gateway: {gateway}, storage: {{{storage}}}, access: {{write: [{access}]}}{extra}}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (share("g", "directory: /srv/s"), None),
        (share("g", f"directory: /srv/s, {SAME}"), None),
        (share("g", "directory: '/srv/a,b'"), "splits its settings at commas and spaces"),
        (share("g", "directory: '/srv/a b'"), "splits its settings at commas and spaces"),
        (share("h", "directory: /srv/s"), "can't be reached before the node is known"),
        (share("n", f"directory: /srv/s, {SAME}"), "only a container has other ids than its node"),
        (share("n", "volume: local, size: 1GiB"), "only a guest of Proxmox has volumes"),
        (share("g", f"volume: local, size: 1GiB, {SAME}"), "nobody else uses a volume"),
        (share("g", f"directory: /srv/s, {SAME}", "bob"), "ids: same needs to know the uid of bob"),
        (share("g", f"directory: /srv/s, {SAME}", "'@staff'"), None),
        (share("g", f"directory: /srv/s, {SAME}").replace("2001", "70000"), "needs one below 60000"),
        (share("g", "directory: /srv/s").replace("2001", "60001"), "60001 is reserved by Debian"),
        (share("h", "volume: local, size: 1GiB").replace("2001", "70000"), "ids above 65535"),
        (share("g", "directory: /srv/s", extra=", windows_acls: true, multi_protocol: true"), "user.NTACL"),
        (share("g", f"directory: /srv/s, {SAME}", extra=", windows_acls: true"), "user.NTACL"),
        (share("g", "directory: /srv/s", extra=", windows_acls: true"), None),
        (share("g", "volume: local, size: 1GiB", extra=", previous_versions: true"), "a volume has no snapshots"),
    ],
)
def test_containers(text: str, expected: str | None) -> None:
    found = problems(text)
    assert (found == []) if expected is None else (expected in found[-1]), found


def test_two_containers_of_one_node_have_no_folder_in_common() -> None:
    both = (
        share("g", "directory: /srv/s, quota: 1GiB")
        .replace(", quota: 1GiB", "")
        .replace(
            '  h: {mode: lxc, template: "local:vztmpl/t.tar.zst"}',
            '  h: {mode: lxc, template: "local:vztmpl/t.tar.zst", node: pve1}',
        )
    )
    inner = "  t: {gateway: h, storage: {directory: /srv/s/t}, access: {write: [alice]}, allow_overlap: true}\n"
    (found,) = problems(both + inner)
    assert "lies inside share 's'" in found and "put both on one gateway" in found
