"""Pending security updates, from package lists and dpkg's status."""

from pathlib import Path

from smbplan.drivers.agent import updates as agent
from smbplan.kinds import updates

STATUS = """Package: samba
Status: install ok installed
Priority: optional
Version: 2:4.17.9+dfsg-0+deb12u3

Package: libssl3
Status: install ok installed
Version: 3.0.14-1

Package: gone
Status: deinstall ok config-files
Version: 1

Package: newer
Status: install ok installed
Version: 2~rc1
"""
LIST = """Package: samba
Version: 2:4.17.12+dfsg-0+deb12u1
Architecture: amd64

Package: libssl3
Version: 3.0.14-1

Package: gone
Version: 2

Package: newer
Version: 1.9

Package: other
Version: 1
"""
ARCHIVE = "mirror_debian-security_dists_bookworm-security_main_binary-amd64_Packages"


def test_what_a_security_archive_has_newer(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    assert agent.pending(tmp_path, tmp_path / "status") == []
    (tmp_path / ARCHIVE).write_text(LIST)
    (tmp_path / "mirror_debian_dists_bookworm_main_binary-amd64_Packages").write_text("Package: libssl3\nVersion: 4\n")
    assert agent.pending(tmp_path, tmp_path / "status") == ["samba"]
    (tmp_path / ARCHIVE).write_text(f"{LIST}\nPackage: libssl3\nVersion: 3.0.15-1~deb12u1\n")
    assert agent.pending(tmp_path, tmp_path / "status") == ["libssl3", "samba"]


def test_the_agent_looks_where_smbplan_writes() -> None:
    assert str(agent.SETTINGS) == updates.PATH
