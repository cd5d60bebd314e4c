"""A template that smbplan builds: a real container from it serves a share, and takes security updates."""

import fcntl
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.containers import eventually
from lab.site import Site

from smbplan import app, debian, image
from smbplan.drivers import image as building
from smbplan.lab import Lab
from smbplan.lab.pvenode import SECRET
from smbplan.lab.rootfs import cache_dir

pytestmark = pytest.mark.lab

NAME = "-".join(filter(None, ["image", os.environ.get("PYTEST_XDIST_WORKER")]))
SITE = """
version: 1
site: images
proxmox:
  endpoint: {endpoint}
  token: {{id: "root@pam!smbplan", secret: {{env: PVE_SECRET}}}}
  ca_file: {ca}
  ssh: {{config: {ssh}}}
gateways:
  office:
    mode: lxc
    node: pve1
    template: local:vztmpl/{name}
    disk: 1GiB
    discovery: false
    memory: 256MiB
    updates: unattended
    network: {{address: {address}/24}}
users:
  alice: {{password: {{env: ALICE_PASSWORD}}}}
shares:
  letters: {{gateway: office, storage: {{volume: local, size: 256MiB}}, access: {{write: [alice]}}}}
"""


@pytest.fixture(scope="session")
def template() -> Path:
    """Built once for each recipe, and kept beside the lab's root filesystems."""
    recipe = json.dumps([debian.codename(), building.SYSTEM, building.SERVED])
    key = hashlib.sha256((recipe + building.MASK + debian.BLANK.read_text()).encode()).hexdigest()[:12]
    folder = cache_dir() / f"image-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers wait
        if not list(folder.glob("*.tar.zst")):
            with building.built(image.MIRROR, print) as made:
                image._copy(made.file, folder / made.file.name)
    return next(folder.glob("*.tar.zst"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    lab = Lab(NAME)
    lab.down()
    lab.up(nodes=1, pve=True)
    yield lab
    lab.down()


@pytest.fixture
def site(cluster: Lab, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    cluster.reset()
    monkeypatch.setenv("ALICE_PASSWORD", "alice-Geheim-1")
    monkeypatch.setenv("PVE_SECRET", SECRET)
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    network = str(cluster.proxmox["endpoint"]).removeprefix("https://").rpartition(".")[0]
    text = SITE.format(
        endpoint=cluster.proxmox["endpoint"],
        ca=cluster.proxmox["ca_file"],
        ssh=cluster.ssh_config,
        name=template.name,
        address=f"{network}.70",
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "site.yaml").write_text(text)
    return Site(cluster, tmp_path / "site")


def uploaded(site: Site, file: Path) -> None:
    image.provide(app.validate(site.folder).site, file, None, (), image.MIRROR, print)


def inside(site: Site, script: str) -> str:
    return site.run("pve1", "lxc-attach", "-n", "100", "--clear-env", "--", "sh", "-ec", script)


def smb(site: Site, commands: str) -> str:
    address = f"//{str(site.lab.proxmox['endpoint']).removeprefix('https://').rpartition('.')[0]}.70/letters"
    done = site.lab.exec("client", ["smbclient", "-U", "alice%alice-Geheim-1", address, "-c", commands])
    return (done.stdout + done.stderr).decode()


# A repository with a security archive and another one, each with a newer version of a package that is installed.
# The versions differ in length: apt's cache knows dpkg's status by its size and by its time in whole seconds.
REPOSITORY = r"""
import hashlib, os, subprocess
from pathlib import Path
def package(name, version, folder):
    root = Path(f"/tmp/{name}-{version}/DEBIAN")
    root.mkdir(parents=True)
    root.joinpath("control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: t <t@t.test>\nDescription: test\n")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["dpkg-deb", "--build", root.parent, folder / f"{name}_{version}_all.deb"], check=True)
    return folder / f"{name}_{version}_all.deb"
top = Path("/var/local/repo")
for name, suite, label in (("urgent", "bookworm-security", "Debian-Security"), ("later", "bookworm-updates", "Debian")):
    subprocess.run(["dpkg", "--install", package(name, "1.0", Path("/tmp"))], check=True)
    deb = package(name, "1.1+u1", top / "pool")
    data = deb.read_bytes()
    control = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True).stdout.strip()
    text = f"{control}\nFilename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    for arch in ("all", "amd64", "arm64"):
        part = top / f"dists/{suite}/main/binary-{arch}"
        part.mkdir(parents=True)
        (part / "Packages").write_text(text)
    sums = "".join(f" {hashlib.sha256(text.encode()).hexdigest()} {len(text)} main/binary-{arch}/Packages\n"
                   for arch in ("all", "amd64", "arm64"))
    (top / f"dists/{suite}/Release").write_text(
        f"Origin: Debian\nLabel: {label}\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 01 Feb 2025 00:00:00 UTC\n"
        f"Architectures: all amd64 arm64\nComponents: main\nSHA256:\n{sums}")
lines = [f"deb [trusted=yes] file:{top} {suite} main\n" for suite in ("bookworm-security", "bookworm-updates")]
Path("/etc/apt/sources.list").write_text("".join(lines))
"""


def test_a_gateway_from_a_built_template_serves_and_takes_security_updates(site: Site, template: Path) -> None:
    refused = site.plan().plan.refused
    assert [item.summary for item in refused] == [f"there is no template local:vztmpl/{template.name} on pve1"]
    uploaded(site, template)
    listed = {one["template"]: one for one in image.listing(app.validate(site.folder).site)}
    assert listed[f"local:vztmpl/{template.name}"] == {
        "sort": "lxc",
        "storage": "local",
        "node": "pve1",
        "template": f"local:vztmpl/{template.name}",
        "size": template.stat().st_size,
        "samba": True,
        "gateways": ["office"],
    }
    site.applied()
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in smb(site, "put /tmp/news n; ls")
    assert inside(site, "ls /var/lib/smbplan") == "inventory.json\n", "no package was installed"
    assert inside(site, "systemctl is-system-running --wait || systemctl --failed").strip() == "running"
    on = inside(site, "cd /etc/systemd/system; ls multi-user.target.wants timers.target.wants").split()
    assert {"smbd.service", "apt-daily.timer", "apt-daily-upgrade.timer"} <= set(on)
    assert not {"nmbd.service", "wsdd.service", "samba-ad-dc.service", "unattended-upgrades.service"} & set(on)
    assert "deb http://deb.debian.org/debian-security" in inside(site, "cat /etc/apt/sources.list")
    assert site.plan().plan.warnings == ()

    inside(site, f"cat >/tmp/repository.py <<'EOF'\n{REPOSITORY}\nEOF\npython3 /tmp/repository.py; apt-get -q update")
    planned = site.plan().plan
    assert planned.empty
    (words,) = planned.warnings
    assert words.startswith("gateway.office: 1 security update is pending: urgent; they come within a day, or at once")
    assert "`pct exec 100 -- unattended-upgrade`" in words
    site.shell("pve1", "pct exec 100 -- unattended-upgrade")
    versions = "dpkg-query --showformat '${Package} ${Version} ' --show urgent later"
    assert inside(site, versions) == "later 1.0 urgent 1.1+u1 "
    assert site.plan().plan.warnings == ()

    site.edit("site.yaml", "updates: unattended", "updates: manual")
    inside(site, "apt-get -q -y --allow-downgrades install urgent=1.0 || dpkg --install /tmp/urgent_1.0_all.deb")
    site.applied()
    assert site.differences() == []
    assert "`pct exec 100 -- apt-get upgrade`" in site.plan().plan.warnings[0]
    inside(site, "rm -rf /var/lib/apt/periodic; /usr/lib/apt/apt.systemd.daily install")
    assert "urgent 1.0" in inside(site, versions), "nothing is installed by itself"
    site.shell("pve1", "pct exec 100 -- apt-get -q -y upgrade")
    assert inside(site, versions) == "later 1.1+u1 urgent 1.1+u1 "


def test_a_container_is_entered_by_pct_exec_where_lxc_attach_fails(site: Site, template: Path) -> None:
    uploaded(site, template)
    site.applied()
    # `pct exec` itself becomes lxc-attach: only the first of the two fails.
    stub = '#!/bin/sh\n[ -e /run/failed ] || { : >/run/failed; exit 1; }\nexec /usr/bin/lxc-attach "$@"\n'
    site.run("pve1", "sh", "-c", "cat >/usr/local/bin/lxc-attach; chmod 755 /usr/local/bin/lxc-attach", stdin=stub)
    assert site.differences() == []
    site.run("pve1", "test", "-e", "/run/failed")


def test_a_template_with_debians_own_smb_conf_and_one_with_a_user(site: Site, template: Path, tmp_path: Path) -> None:
    image_ = tmp_path / "template.tar"
    subprocess.run(["zstd", "-q", "-d", str(template), "-o", str(image_)], check=True)
    read = ["tar", "-xOf", str(image_)]
    stock = subprocess.run([*read, "./usr/share/samba/smb.conf"], check=True, capture_output=True).stdout
    passwd = subprocess.run([*read, "./etc/passwd"], check=True, capture_output=True).stdout
    etc = tmp_path / "root" / "etc"
    (etc / "samba").mkdir(parents=True)
    (etc / "samba/smb.conf").write_bytes(stock)

    def packed(name: str, *paths: str) -> None:
        add = ["tar", "--append", "-f", str(image_), "--owner=0", "--group=0", "-C", str(etc.parent)]
        subprocess.run([*add, *paths], check=True)
        file = tmp_path / f"{name}.tar.zst"
        subprocess.run(["zstd", "-q", "-1", str(image_), "-o", str(file)], check=True)
        uploaded(site, file)
        path = site.folder / "site.yaml"
        path.write_text(re.sub("template: .*", f"template: local:vztmpl/{file.name}", path.read_text()))

    packed("stock", "./etc/samba/smb.conf")
    site.applied()
    assert site.differences() == []
    site.shell("client", "echo news >/tmp/news")
    assert "NT_STATUS" not in smb(site, "put /tmp/news n")
    assert "[homes]" not in inside(site, "testparm -s 2>/dev/null")
    site.shell("pve1", "pct stop 100; pct destroy 100")

    (etc / "passwd").write_bytes(passwd + b"alice:x:1500:100::/home/alice:/bin/sh\n")
    packed("user", "./etc/passwd")
    done = site.apply()
    assert done.outcome.name in {"rolled_back", "partial"}
    problem = next(each for each in done.outcome.problems if "alice" in each.address)
    assert "is there already" in problem.summary and "external: true" in problem.hint
    eventually(lambda: "office" not in site.shell("pve1", "pct list"))
