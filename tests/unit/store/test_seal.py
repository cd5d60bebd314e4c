"""Plans are sealed with a key: who has another one, or none, makes none that is applied."""

import json
import stat
from pathlib import Path

import pytest

from smbplan.store import codec, seal
from smbplan.store.codec import BadPlan

PLAN = {"format_version": "1.0", "site": "office", "steps": [], "endpoints": {}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    monkeypatch.delenv(seal.VARIABLE, raising=False)
    return tmp_path / "state"


def written(folder: Path, data: object) -> Path:
    path = folder / "plan.json"
    path.write_text(json.dumps(data))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadPlan) as caught:
        codec.read(path)
    return f"{caught.value.summary} - {caught.value.hint}"


def test_the_first_plan_makes_a_key_for_the_user_alone_and_the_next_one_uses_it(home: Path, tmp_path: Path) -> None:
    first, second = seal.sealed(PLAN), seal.sealed(PLAN)
    key = home / "office" / "plan.key"
    assert first == second and first[seal.SEAL] not in key.read_text()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (key, key.parent)] == [0o600, 0o700]
    assert codec.read(written(tmp_path, first)).site == "office"
    other = seal.sealed({**PLAN, "site": "branch"})
    assert {**other, "site": "office"} != first and other[seal.SEAL] != first[seal.SEAL]


def test_a_plan_that_was_made_elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, seal.sealed(PLAN))
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "elsewhere"))
    assert "was made elsewhere: there is no key here" in refusal(path) and "$SMBPLAN_PLAN_KEY" in refusal(path)
    assert not (tmp_path / "elsewhere").exists(), "a plan that is looked at makes no key"
    seal.sealed(PLAN)
    assert "was altered, or made elsewhere" in refusal(path)


def test_two_machines_with_one_key(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(seal.VARIABLE, "k" * 32)
    path = written(tmp_path, seal.sealed(PLAN))
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "elsewhere"))
    assert codec.read(path).site == "office"
    assert not home.exists()
    monkeypatch.setenv(seal.VARIABLE, "j" * 32)
    assert "was altered, or made elsewhere" in refusal(path)
    monkeypatch.setenv(seal.VARIABLE, "short")
    assert "has 5 characters, and needs 32" in refusal(path)
    with pytest.raises(seal.BadKey, match="needs 32"):
        seal.sealed(PLAN)


@pytest.mark.parametrize("site", ["../../etc", "", "a/b", ".", None, ["office"], "office\n"])
def test_the_name_of_a_site_leads_nowhere_else(site: object, tmp_path: Path) -> None:
    assert "is not a complete plan" in refusal(written(tmp_path, {**PLAN, "site": site, seal.SEAL: "x"}))


def test_the_bare_digest_is_no_seal(tmp_path: Path) -> None:
    from smbplan.engine.plan import digest

    seal.sealed(PLAN)
    for forged in (digest(PLAN), "", None, 7, ["x"], "é", "\ud800"):
        assert "was altered" in refusal(written(tmp_path, {**PLAN, seal.SEAL: forged}))
