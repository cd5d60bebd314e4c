"""Where secrets come from: what is none is told by its source, and never with what it holds."""

from pathlib import Path

import pytest

from smbplan.drivers.pve.client import Access, Client
from smbplan.drivers.pve.errors import Unreachable
from smbplan.drivers.secrets import LONGEST, MissingSecret, Secrets


def resolved(path: str | Path) -> object:
    return Secrets().resolve({"$secret": {"file": str(path)}})


def test_a_home_folder_that_nobody_has_holds_no_secret() -> None:
    """It was called a bug in smbplan."""
    with pytest.raises(MissingSecret, match="secret file ~nosuchuser/x: no home folder is known for ~nosuchuser"):
        resolved("~nosuchuser/x")
    with pytest.raises(Unreachable, match=r"proxmox.ca_file: ~nosuchuser/x can't be read: no home folder is known"):
        Client(Access("https://pve1:8006", "root@pam!plan", "", ca_file="~nosuchuser/x")).get("version")


def test_of_a_home_folder_that_somebody_has_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "secret").write_text("hunter2\n")
    assert resolved("~/secret") == "hunter2"


def test_a_file_that_never_ends_is_no_secret(tmp_path: Path) -> None:
    """Memory was filled with it."""
    (tmp_path / "secret").write_text("x" * LONGEST)
    assert resolved(tmp_path / "secret") == "x" * LONGEST
    for path in ("/dev/zero", tmp_path / "long"):
        (tmp_path / "long").write_text("hunter2\n" * LONGEST)
        with pytest.raises(MissingSecret, match=f"secret file {path} is longer than 65536 bytes") as caught:
            resolved(path)
        assert "hunter2" not in f"{caught.value.summary} {caught.value.hint}"
