"""`proxmox: lab` stands for the cluster of a lab on this machine."""

import json
from pathlib import Path

import pytest

from smbplan.cli import main as entry
from smbplan.drivers.secrets import MissingSecret, Secrets
from smbplan.errors import Refused
from smbplan.kinds.guest import CLUSTER
from smbplan.lab import Lab, LabStatus, state
from smbplan.lab.pvenode import SECRET
from smbplan.observe import endpoints
from smbplan.spec.load import load
from smbplan.spec.model import Site

EXAMPLE = Path(__file__).parents[2] / "examples/lxc"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The example, where no lab is up."""
    monkeypatch.setattr(state, "RUN", tmp_path)
    monkeypatch.delenv("SMBPLAN_LAB", raising=False)
    return load(EXAMPLE).site


def begun(name: str, number: int, pve: bool) -> None:
    """What a lab that is up has in its run directory."""
    lab = Lab(name)
    lab.state.set_number(number)
    lab.state.set_options("pve1", state.Options(pve=pve))
    (lab.state.dir / "pve-token").write_text(f"{SECRET}\n")


def test_it_has_to_be_up_and_the_error_tells_how(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    begun("plain", 0, pve=False)
    for name, words in (("", "`default`"), ("plain", "`plain`"), ("none", "`none`")):
        monkeypatch.setenv("SMBPLAN_LAB", name)
        with pytest.raises(Refused) as refused:
            endpoints(site)
        (trouble,) = refused.value.troubles
        assert trouble.summary == f"lab {words} has no cluster"
        assert trouble.hint == "as root: smbplan lab up --nodes 3" + (f" --name {name}" if name else "")


def test_a_secret_may_be_what_windows_writes(tmp_path: Path) -> None:
    (tmp_path / "odj").write_bytes(b"\xff\xfe" + "QUJD\0".encode("utf-16-le"))
    assert Secrets().resolve({"$secret": {"file": str(tmp_path / "odj")}}) == "QUJD"


def test_what_a_secret_command_prints_has_to_be_text() -> None:
    with pytest.raises(MissingSecret, match="what secret command printf prints is not UTF-8") as caught:
        Secrets().resolve({"$secret": {"command": ["printf", r"hunter2\377"]}})
    assert "hunter2" not in f"{caught.value.summary} {caught.value.hint}"


def test_its_secret_stays_a_reference(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    begun("default", 0, pve=True)
    begun("other", 7, pve=True)
    assert endpoints(site)[CLUSTER].api["endpoint"] == "https://198.18.0.11:8006"  # type: ignore[index]
    monkeypatch.setenv("SMBPLAN_LAB", "other")
    found = endpoints(site)
    api = found[CLUSTER].api
    assert api is not None and api["endpoint"] == "https://198.18.7.11:8006"
    assert SECRET not in json.dumps([each.as_json() for each in found.values()])
    assert Secrets().resolve(api)["token"]["secret"] == SECRET
    assert str(found["office"].config).endswith("other/ssh_config")


def test_a_site_without_containers_asks_for_no_lab(site: Site) -> None:
    assert list(endpoints(site.model_copy(update={"gateways": {}}))) == []


@pytest.mark.parametrize(
    ("options", "pve"),
    [(["--nodes", "3"], True), ([], False), (["--nodes", "3", "--no-pve"], False), (["--nodes", "1", "--pve"], True)],
)
def test_three_nodes_are_a_cluster(monkeypatch: pytest.MonkeyPatch, options: list[str], pve: bool) -> None:
    asked: list[object] = []

    def up(self: Lab, nodes: int, **given: object) -> LabStatus:
        asked.append(given["pve"])
        return LabStatus(self.name, (), None)

    monkeypatch.setattr(Lab, "up", up)
    assert entry.main(["lab", "up", *options]) == 0
    assert asked == [pve]
