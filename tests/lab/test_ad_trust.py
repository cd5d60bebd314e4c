"""A second domain that the gateway's own trusts: its users and groups in lists, with ids of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import ad
from lab.site import Site

from smbplan.lab import Lab

pytestmark = pytest.mark.lab
PARTNER = """
printf 'search partner.test\nnameserver {there}\n' >/etc/resolv.conf
rm -rf /etc/samba/smb.conf /var/lib/samba/private/* /var/lib/samba/*.tdb
samba-tool domain provision --use-rfc2307 --realm=PARTNER.TEST --domain=PARTNER --server-role=dc \\
    --dns-backend=SAMBA_INTERNAL --host-ip={there} --host-name=dc2 --adminpass='{password}' \\
    '--option=netbios name = dc2' '--option=disable netbios = yes' >/dev/null 2>&1
systemd-run --quiet --unit=partner samba --foreground --no-process-group
until ldbsearch -H ldap://{there} -s base -b '' dnsHostName >/dev/null 2>&1; do sleep 0.2; done
until wbinfo --ping-dc >/dev/null 2>&1; do sleep 0.2; done
samba-tool user create paula '{password}' >/dev/null
samba-tool user create petra '{password}' >/dev/null
samba-tool group add 'Good Partners' >/dev/null
samba-tool group addmembers 'Good Partners' paula >/dev/null
"""
# What a forwarder would be for: each of the controllers knows where the other's domain is.
ZONE = """
admin="-U Administrator --password={password}"
samba-tool dns zonecreate {at} {zone} $admin >/dev/null 2>&1
record() {{ samba-tool dns add {at} {zone} "$@" $admin >/dev/null 2>&1; }}
record {name} A {address}
record @ A {address}
for where in '' .dc._msdcs .pdc._msdcs; do record "_ldap._tcp$where" SRV '{name}.{zone} 389 0 100'; done
for what in _tcp _udp _tcp.dc._msdcs; do record "_kerberos.$what" SRV '{name}.{zone} 88 0 100'; done
"""
TRUST = """
samba-tool domain trust create PARTNER.TEST --type=forest --direction=both --create-location=both \\
    -U 'Administrator@PARTNER.TEST%{password}' --local-dc-username=Administrator --local-dc-password='{password}' 2>&1
"""


@pytest.fixture
def site(domain: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """pve2 is the partner's controller; afterwards dc1 trusts nobody, and knows of no other zone."""
    domain.reset("pve1", "pve2")
    site = ad.prepared(domain, tmp_path, monkeypatch)
    password, here, there = ad.password(site), site.address("dc1"), site.address("pve2")
    site.shell("pve2", PARTNER.format(password=password, there=there))
    for node, at, zone, name, address in (
        ("dc1", here, "partner.test", "dc2", there),
        ("pve2", there, "corp.test", "dc1", here),
    ):
        site.shell(node, ZONE.format(password=password, at=at, zone=zone, name=name, address=address))
    assert "Success." in site.shell("dc1", TRUST.format(password=password))
    yield site
    who = f"-U Administrator --password={password}"
    ad.administered(site, f"domain trust delete PARTNER.TEST --delete-location=local {who}")
    ad.administered(site, f"dns zonedelete {here} partner.test {who}")
    domain.reset("pve2")


def test_accounts_of_a_trusted_domain_stand_in_lists_with_ids_of_their_own(site: Site) -> None:
    site.edit("site.yaml", "    fallback: local\n", "    trusts: {partner: {range: 3000000-3999999}}\n")
    site.edit("site.yaml", "read: ['@CORP\\All Staff']", "read: ['@PARTNER\\Good Partners']")
    site.edit("site.yaml", "deny: ['CORP\\nobody.special']", "deny: ['PARTNER\\petra']")
    site.applied()
    assert site.differences() == []
    stored = site.shell("pve1", "net conf showshare projects")
    assert "PARTNER" not in stored and stored.count("S-1-5-21-") >= 3
    listed = site.shell("pve1", "getfacl -pn /srv/projects")
    assert ":30" in listed and ":20" in listed, "each has ids of its range"
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in ad.kerberos(site, "anna", "projects", "put /tmp/news n")
    assert "news" in ad.kerberos(site, "paula", "projects", "get n -", realm="PARTNER.TEST"), "by a ticket of its own"
    assert "DENIED" in ad.kerberos(site, "paula", "projects", "put /tmp/news m", realm="PARTNER.TEST")
    assert "DENIED" in ad.kerberos(site, "petra", "projects", "ls", realm="PARTNER.TEST")
    assert "news" in ad.ntlm(site, "paula", "projects", "get n -", workgroup="PARTNER")
    site.applied(destroy=True, allow=frozenset({"many-deletes"}))
