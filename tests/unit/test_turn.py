"""Who works, as targets and the journals are told it."""

import os
import pwd
from pathlib import Path

import pytest

from smbplan.drivers import turn

USERS = {0: "root", 1000: "alice", 1001: "bob"}


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a process that is root's on the host `desk`."""

    def entry(number: int) -> pwd.struct_passwd:
        return pwd.struct_passwd((USERS[number], "x", number, 0, "", "/", ""))

    monkeypatch.setattr(turn, "LOGIN", tmp_path / "loginuid")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.getpid", lambda: 7)
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    monkeypatch.setattr("pwd.getpwuid", entry)
    for name in ("USER", "LOGNAME"):
        monkeypatch.setenv(name, "mallory")
    monkeypatch.delenv("SUDO_USER", raising=False)
    return tmp_path / "loginuid"


@pytest.mark.parametrize(
    ("kernel", "sudo", "who"),
    [
        (None, "", "root"),
        ("4294967295", "", "root"),
        ("4294967295", "alice", "root for alice"),
        (None, "alice", "root for alice"),
        ("1001", "alice", "root for bob"),
        ("1001", "", "root for bob"),
        ("0", "alice", "root"),
        ("1002", "", "root for 1002"),
        ("junk", "", "root"),
    ],
)
def test_who_works_is_who_the_process_is_and_who_became_it(
    login: Path, monkeypatch: pytest.MonkeyPatch, kernel: str | None, sudo: str, who: str
) -> None:
    if kernel is not None:
        login.write_text(kernel)
    if sudo:
        monkeypatch.setenv("SUDO_USER", sudo)
    assert turn.owner() == f"{who}@desk (process 7)"


def test_a_user_without_a_name_is_a_number(login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1002)
    assert turn.owner() == "1002@desk (process 7)"
