"""A dataset that a container still has: who destroys it is told, an undo is asked again when the container is off."""

from pathlib import Path
from typing import Any

import pytest

from smbplan.drivers.agent import storage
from smbplan.drivers.agent.core import Refused


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> storage.Dataset:
    """One that is empty, and busy whenever it is to go."""

    def run(argv: list[str], **others: Any) -> str:
        if argv[1] == "get":
            return f"tank/a\tquota\t0\ntank/a\tmountpoint\t{tmp_path}\n"
        raise Refused("zfs destroy failed", "cannot destroy 'tank/a': dataset is busy")

    monkeypatch.setattr(storage, "run", run)
    monkeypatch.setattr(storage.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(storage.subprocess, "run", lambda *argv, **others: None)
    return storage.Dataset()


def removed(dataset: storage.Dataset, path: Path, options: dict[str, Any]) -> list[str] | None:
    return dataset.set("tank/a", {"path": str(path)}, None, options)


def test_what_is_empty_and_busy_stays_with_a_warning(dataset: storage.Dataset, tmp_path: Path) -> None:
    warnings = removed(dataset, tmp_path, {})
    assert warnings == ["dataset tank/a is empty and in use; `zfs destroy tank/a` removes it when that has ended"]


@pytest.mark.parametrize("options", [{"undo": True}, {"delete_data": True}])
def test_an_undo_and_a_deletion_of_data_fail(dataset: storage.Dataset, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        removed(dataset, tmp_path, options)
