"""Containers that run: addresses that are leased, or of IPv6 alone; and what has to wait until they start again."""

import json
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from lab.site import Site

from smbplan.lab import Lab
from smbplan.lab.pvenode import SECRET

pytestmark = pytest.mark.lab

SITE = """
version: 1
site: addresses
proxmox: PROXMOX
defaults:
  gateway:
    mode: lxc
    template: local:vztmpl/debian-12-samba_1_amd64.tar.zst
    disk: 1GiB
    discovery: false
gateways:
  leased: {network: {address: dhcp}}
  sixth: {network: {address: null, address6: "fd53:18::51/64"}}
users:
  alice: {password: {env: ALICE_PASSWORD}}
shares:
  docs: {gateway: leased, storage: {volume: local, size: 64MiB}, access: {write: [alice]}}
  gone: {gateway: leased, storage: {volume: local, size: 64MiB, on_destroy: delete}, access: {write: [alice]}}
  more: {gateway: sixth, storage: {volume: local, size: 64MiB}, access: {write: [alice]}}
"""
# Asks for an address with a hardware address of its own, and prints the one that is offered.
DISCOVER = """
import socket, sys
mac = bytes.fromhex(sys.argv[1])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("0.0.0.0", 68))
s.settimeout(3)
head = bytes([1, 1, 6, 0]) + b"call" + bytes([0, 0, 128, 0]) + bytes(16) + mac + bytes(10 + 192)
s.sendto(head + bytes([99, 130, 83, 99, 53, 1, 1, 255]), ("255.255.255.255", 67))
try:
    print(socket.inet_ntoa(s.recv(2048)[16:20]))
except TimeoutError:
    print("none")
"""


@pytest.fixture(scope="module")
def site(machines: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Applied once for all tests."""
    folder = tmp_path_factory.mktemp("site")
    lab = Lab(f"{machines.name}-dhcp")
    lab.down()
    lab.up(nodes=1, pve=True)
    block = {**lab.proxmox, "token": {"id": "root@pam!smbplan", "secret": {"env": "PVE_SECRET"}}}
    (folder / "site.yaml").write_text(SITE.replace("PROXMOX", json.dumps(block)))
    site = Site(lab, folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ALICE_PASSWORD", "alice-Geheim-1")
        patched.setenv("PVE_SECRET", SECRET)
        patched.setenv("SMBPLAN_STATE", str(folder / "state"))
        site.applied()
        yield site
    lab.down()


def ids(site: Site) -> dict[str, str]:
    return {row.split()[-1]: row.split()[0] for row in site.shell("pve1", "pct list").splitlines()[1:]}


def test_addresses_that_are_leased_and_of_ipv6(site: Site) -> None:
    assert site.differences() == []
    rows = ids(site)
    told = site.shell("pve1", f"lxc-attach -n {rows['leased']} -- ip -4 -j address show eth0")
    (leased,) = [entry["local"] for entry in json.loads(told)[0]["addr_info"]]
    assert 222 <= int(ip_address(leased)) % 256 <= 254
    told = site.shell("pve1", f"lxc-attach -n {rows['sixth']} -- ip -j address show eth0")
    found = {entry["local"] for entry in json.loads(told)[0]["addr_info"] if entry["scope"] == "global"}
    assert found == {"fd53:18::51"}

    site.shell("client", "ip address add fd53:18::9/64 dev eth0 nodad; echo news >/tmp/news")
    for address, share in ((leased, "docs"), ("fd53:18::51", "more")):
        words = f"smbclient //{address}/{share} -I {address} -U alice%alice-Geheim-1 -c 'put /tmp/news n; get n -'"
        assert "news" in site.shell("client", words)

    assert site.run("client", "python3", "-c", DISCOVER, "020000000001").strip() == "none", "it is no container"
    assert site.run("client", "python3", "-c", DISCOVER, "bc2411000001").startswith("198.18.")


def test_what_waits_for_a_restart_is_said_and_nothing_is_left_after_it(site: Site) -> None:
    number, text = ids(site)["leased"], (site.folder / "site.yaml").read_text()
    text = text.replace("address: dhcp}", "address: dhcp}, nameserver: 198.18.0.7")
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("  gone:"))
    (site.folder / "site.yaml").write_text(text)
    options = {"purge": True, "delete_data": True}
    told = {change.address: change.reasons for change in site.plan(**options).plan.changes}
    assert told["lxc.container.leased"] == ("nameserver takes effect at its next start",)
    assert "stays mounted until its container is restarted" in told["lxc.volume.gone"][0]
    done = site.applied(**options)
    assert "stays mounted until the container is restarted" in done.outcome.warnings[0].text
    assert site.differences() == []
    inside = f"lxc-attach -n {number} -- "
    assert "198.18.0.7" not in site.shell("pve1", f"{inside} cat /etc/resolv.conf")
    site.shell("pve1", f"{inside} mountpoint -q /srv/gone")

    site.shell("pve1", f"pct stop {number}; pct start {number}")
    site.shell("pve1", f"until {inside} smbcontrol smbd ping; do sleep 0.2; done")
    assert "198.18.0.7" in site.shell("pve1", f"{inside} cat /etc/resolv.conf")
    assert site.lab.exec("pve1", ["lxc-attach", "-n", number, "--", "mountpoint", "-q", "/srv/gone"]).returncode != 0
    assert site.differences() == ["delete lxc.volume.gone"]
    site.applied()
    assert "unused" not in site.shell("pve1", f"pct config {number}")
    assert len(site.shell("pve1", f"ls /var/lib/vz/images/{number}").split()) == 2
    assert site.differences() == []
