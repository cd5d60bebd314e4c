"""Templates on a cluster's storages: found, uploaded, refused, and nothing left of what failed."""

import hashlib
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab.published import violations
from unit.pve.conftest import Start
from unit.pve.emulated import TEMPLATE, Lab

from smbplan import app, image
from smbplan.cli.main import main
from smbplan.drivers import image as building
from smbplan.drivers.pve import templates
from smbplan.drivers.pve.client import Client
from smbplan.engine.kind import Options
from smbplan.errors import Refused
from smbplan.lab.pve import tasks
from smbplan.spec.model import Site

SITE = """
version: 1
site: images
proxmox:
  endpoint: https://127.0.0.1:{port}
  token: {{id: "tester@pve!t0", secret: {{command: [echo, secret]}}}}
  fingerprint: "{print}"
gateways:
  office: {{mode: lxc, node: pve1, template: "local:vztmpl/{template}", storage: local, discovery: false}}
  archive: {{mode: lxc, node: pve2, template: "local:vztmpl/nosuch.tar.zst", storage: local}}
users:
  alice: {{password: {{command: [echo, x]}}}}
shares:
  letters: {{gateway: office, storage: {{volume: local, size: 1GiB}}, access: {{write: [alice]}}}}
"""
NAME = "debian-12-samba_4.17.12-20250131_amd64.tar.zst"


@pytest.fixture(autouse=True)
def _published(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    wrong: list[str] = []
    real = Client._request

    def request(self: Client, method: str, path: str, params: dict[str, Any]) -> Any:
        wrong.extend([*violations(method, path, params), *violations(method, path, params, "8.4")])
        return real(self, method, path, params)

    monkeypatch.setattr(Client, "_request", request)
    yield
    assert wrong == []


@pytest.fixture
def nodes(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Lab]:
    """Two, with a user who may do everything; what they keep in `local` is one folder here."""
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    found = start(("pve1", "pve2"))
    found[0].tester()
    return found


@pytest.fixture
def folder(nodes: list[Lab], tmp_path: Path, certificate: tuple[Path, Path]) -> Path:
    path = tmp_path / "site.yaml"
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate[0].read_text())).hexdigest()
    path.write_text(SITE.format(port=nodes[0].client.port, template=TEMPLATE, print=digest))
    return path


@pytest.fixture
def site(folder: Path) -> Site:
    return app.validate(folder).site


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(b"a template" * 1000)
    return path


def there(lab: Lab) -> list[str]:
    return sorted(path.name for path in (lab.vz / "template" / "cache").iterdir())


def test_an_upload_is_checked_and_listed(nodes: list[Lab], site: Site, file: Path) -> None:
    made = image.provide(site, file, "local", ["pve1"], image.MIRROR, print)
    assert [one.volume for one in made.uploaded] == [f"local:vztmpl/{NAME}"]
    assert (nodes[0].vz / "template" / "cache" / NAME).read_bytes() == file.read_bytes()
    listed = [one for one in image.listing(site) if one["node"] == "pve1"]
    assert [(one["template"], one["samba"], one["size"], one["gateways"]) for one in listed] == [
        (f"local:vztmpl/{NAME}", True, 10000, []),
        (f"local:vztmpl/{TEMPLATE}", False, 1, ["office"]),
    ]
    with pytest.raises(Refused, match="not overwritten"):
        image.provide(site, file, "local", ["pve1"], image.MIRROR, print)


def test_it_goes_where_the_gateways_are_and_a_shared_storage_gets_it_once(
    nodes: list[Lab], site: Site, file: Path, tmp_path: Path
) -> None:
    place = tmp_path / "shared"
    place.mkdir()
    nodes[0].ask("POST", "/storage", storage="shared", type="dir", path=str(place), content="vztmpl", shared=1)
    made = image.provide(site, file, "shared", (), image.MIRROR, print)
    assert [(one.place.node, one.place.storage) for one in made.uploaded] == [("pve1", "shared")]
    assert (place / "template" / "cache" / NAME).exists()
    with pytest.raises(Refused, match="storage nosuch of pve1 does not take container templates"):
        image.provide(site, file, "nosuch", (), image.MIRROR, print)
    with pytest.raises(Refused, match="node pve9 is not online"):
        image.provide(site, file, None, ["pve9"], image.MIRROR, print)


def test_a_token_that_may_not_upload_is_told_so_before_anything_is_built(
    nodes: list[Lab], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes[0].give("/storage", "tester@pve", "PVEDatastoreUser")
    monkeypatch.setattr(building, "built", lambda *_: pytest.fail("it was built"))
    with pytest.raises(Refused) as refused:
        image.provide(site, None, "local", ["pve1"], image.MIRROR, print)
    assert refused.value.troubles[0].summary == "tester@pve!t0 lacks Datastore.AllocateTemplate on /storage/local"


def test_a_failed_upload_leaves_no_file(
    nodes: list[Lab], site: Site, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = there(nodes[0])
    real = tasks.spawn

    def spawn(site: Any, kind: str, *given: Any) -> Any:
        """The import says that it failed after it has put its file there."""
        work = given[-1]

        def fails(log: Any) -> None:
            work(log)
            raise RuntimeError("no space left")

        return real(site, kind, *given[:-1], fails if kind == "imgcopy" else work)

    monkeypatch.setattr(tasks, "spawn", spawn)
    with pytest.raises(Refused, match="imgcopy on pve1 failed: no space left"):
        image.provide(site, file, "local", ["pve1"], image.MIRROR, print)
    assert there(nodes[0]) == before


def test_a_wrong_checksum_is_refused_by_the_node(
    nodes: list[Lab], site: Site, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = there(nodes[0])
    real = Client.post
    wrong = {"checksum": "0" * 64}
    monkeypatch.setattr(Client, "post", lambda self, path, /, **given: real(self, path, **{**given, **wrong}))
    with pytest.raises(Refused, match="checksum mismatch"):
        image.provide(site, file, "local", ["pve1"], image.MIRROR, print)
    assert there(nodes[0]) == before


def test_a_second_build_of_one_day_gets_a_number(
    nodes: list[Lab], site: Site, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def built(mirror: str, progress: Any) -> Iterator[building.Image]:
        path = file.with_name(NAME)
        path.write_bytes(b"a template")
        yield building.Image(path, "2:4.17.12+dfsg-0+deb12u4")

    monkeypatch.setattr(building, "built", built)
    names = [image.provide(site, None, None, ["pve1"], image.MIRROR, print).name for _ in range(2)]
    assert names == [NAME, NAME.replace("20250131", "20250131.2")]


def test_a_missing_template_refuses_the_plan_before_anything_is_created(folder: Path) -> None:
    refused = app.plan(folder, Options()).plan.refused
    assert [(item.address, item.summary) for item in refused] == [
        ("lxc.container.archive", "there is no template local:vztmpl/nosuch.tar.zst on pve2")
    ]
    assert "smbplan image build lxc --node pve2 --storage local" in refused[0].hint
    assert refused[0].origin and refused[0].origin.line == 10
    folder.write_text(folder.read_text().replace("nosuch.tar.zst", TEMPLATE))
    assert app.plan(folder, Options()).plan.refused == ()


def test_templates_cost_one_request_for_each_storage_and_none_when_nothing_is_created(nodes: list[Lab]) -> None:
    asked: list[str] = []

    class Counted:
        def get(self, path: str, /, **_: Any) -> Any:
            asked.append(path)
            return [{"volid": "local:vztmpl/a", "size": 1}]

    wanted = {"x": ("pve1", "local:vztmpl/a"), "y": ("pve1", "local:vztmpl/b"), "z": ("pve2", "local:vztmpl/a")}
    found = list(templates.missing(Counted(), wanted))  # type: ignore[arg-type]
    assert [gateway for gateway, _, _ in found] == ["y"]
    assert asked == [f"nodes/{node}/storage/local/content" for node in ("pve1", "pve2")]


def test_the_command_says_what_it_did(folder: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["image", "build", "lxc", str(folder), "--file", str(file), "--storage", "local", "--node", "pve1"]
    assert main([*command, "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["uploaded"] == [{"node": "pve1", "storage": "local", "template": f"local:vztmpl/{NAME}"}]
    assert main(["image", "list", str(folder)]) == 0
    assert f"local:vztmpl/{NAME}" in capsys.readouterr().out
    assert main(["image", "list", str(folder), "--format", "markdown"]) == 0
    assert "| yes |" in capsys.readouterr().out
    assert main(command) == 1
    assert main([*command, "--output", "x"]) == 64


def test_without_mmdebstrap_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["image", "build", "lxc", "--output", str(tmp_path / "x.tar.zst")]) == 1
    assert "apt-get install mmdebstrap" in capsys.readouterr().err
    assert list(tmp_path.glob("*.tar.zst")) == []


def test_a_build_that_fails_quotes_apt_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(building, "SYSTEM", ("no-such-package",))
    monkeypatch.setattr(building.debian, "debian_sources", lambda release: ["deb [trusted=yes] file:/nonexistent ./"])
    assert main(["image", "build", "lxc", "--output", str(tmp_path / "x.tar.zst"), "--format", "json"]) == 1
    error = json.loads(capsys.readouterr().out)["errors"][0]
    assert "mmdebstrap failed" in error["summary"] and "nonexistent" in error["detail"]
    assert list((tmp_path / "temporary").iterdir()) == [] and not (tmp_path / "x.tar.zst").exists()
