"""Containers whose addresses are leased, or of IPv6 alone, serve shares; nobody but containers is given an address."""

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

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


@pytest.fixture
def site(machines: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("ALICE_PASSWORD", "alice-Geheim-1")
    monkeypatch.setenv("PVE_SECRET", SECRET)
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    lab = Lab(f"{machines.name}-dhcp")
    lab.down()
    lab.up(nodes=1, pve=True)
    block = {**lab.proxmox, "token": {"id": "root@pam!smbplan", "secret": {"env": "PVE_SECRET"}}}
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "site.yaml").write_text(SITE.replace("PROXMOX", json.dumps(block)))
    yield Site(lab, folder)
    lab.down()


def test_addresses_that_are_leased_and_of_ipv6(site: Site) -> None:
    site.applied()
    assert site.differences() == []
    rows = {row.split()[-1]: row.split()[0] for row in site.shell("pve1", "pct list").splitlines()[1:]}
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
