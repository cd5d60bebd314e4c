"""What a failed start leaves in the cgroup trees, which here are folders of the test."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from smbplan.lab.pve import containers, guest, limits, lxcconf
from smbplan.lab.pve.containers import Containers
from smbplan.lab.pve.guest import ContainerError

LEFT = ("v2/lxc.monitor/100", "v2/lxc/100/ns/system.slice/a.service", "v1/memory/100", "v1/cpu/100")
OTHERS = ("v2/lxc.monitor/101", "v2/lxc/1000/ns", "v2/system.slice/100", "v1/memory/101")


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(limits, "UNIFIED", tmp_path / "v2")
    monkeypatch.setattr(limits, "LEGACY", tmp_path / "v1")
    for name in OTHERS:
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def left(trees: Path) -> list[str]:
    there = [str(path.relative_to(trees)) for tree in ("v1", "v2") for path in (trees / tree).rglob("*")]
    return [name for name in there if "100" in name.split("/") and name not in OTHERS]


def leave(trees: Path) -> None:
    for name in LEFT:
        (trees / name).mkdir(parents=True, exist_ok=True)


def test_all_groups_of_one_container_go_and_no_others(trees: Path) -> None:
    leave(trees)
    limits.remove(100)
    limits.remove(102)
    assert left(trees) == [] and all((trees / name).is_dir() for name in OTHERS)


def test_a_group_in_use_stays(trees: Path) -> None:
    leave(trees)
    (trees / LEFT[1] / "process").touch()
    limits.remove(100)
    assert (trees / LEFT[1]).is_dir() and not (trees / LEFT[0]).exists()


@pytest.mark.parametrize("stays", [False, True])
def test_a_start_that_fails_leaves_none_and_the_next_one_finds_none(
    trees: Path, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    """Nor when what it used stays in use."""
    found: list[list[str]] = []

    def lxc_start(argv: Sequence[str], **_: Any) -> SimpleNamespace:
        found.append(left(trees))
        leave(trees)
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(subprocess, "run", lxc_start)
    monkeypatch.setattr(lxcconf, "HOME", trees / "home")
    monkeypatch.setattr(lxcconf, "write", lambda settings: lxcconf.folder(100).mkdir(parents=True, exist_ok=True))
    monkeypatch.setattr(guest, "read", lambda *_: None)
    monkeypatch.setattr(containers, "GONE_TIMEOUT", 0.0)
    monkeypatch.setattr(Containers, "_attached", lambda *_: stays)
    leave(trees)
    words = "stay in use" if stays else "startup for container '100' failed"
    for _ in range(2):
        with pytest.raises(ContainerError, match=words):
            Containers(trees, "pve1").start(100, lambda line: None)
    assert found == [[], []] and left(trees) == []
