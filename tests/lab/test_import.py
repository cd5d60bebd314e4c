"""`import`, then `apply --adopt`, then `destroy`, for the styles of smb.conf that people have, and when it fails."""

import os
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lab.site import Site
from ruamel.yaml import YAML

from smbplan import app, importer
from smbplan.drivers.endpoint import Endpoint
from smbplan.lab import Lab

pytestmark = pytest.mark.lab

NAME = "-".join(filter(None, ["t4", os.environ.get("PYTEST_XDIST_WORKER")]))
STYLES = Path(__file__).parent / "smb_conf"
CONF = "/etc/samba/smb.conf"
Parsed = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Style:
    """`served`: (user or "", share); `left`: what is not imported; `files`: others that smb.conf includes."""

    served: tuple[tuple[str, str], ...]
    left: frozenset[str] = frozenset()
    files: dict[str, str] = field(default_factory=dict)
    script: str = ""


REGISTRY = """
net conf addshare inbox /srv/inbox writeable=y guest_ok=y "For all"
net conf setparm inbox "create mode" 0666
net conf setparm inbox "vfs object" "recycle"
net conf setparm inbox "recycle:keeptree" Yes
net conf addshare Team /srv/team
net conf setparm Team "valid users" "carol, bob"
net conf setparm Team writable 1
net conf setparm global "map to guest" "bad user"
net conf setparm global "workgroup" "REG"
"""
MACHINE = "[station]\n   comment = the scanner's\n   path = /srv/scanner\n"
INCLUDED = (
    "[first]\n   path = /srv/first\n   comment = included\n   valid users = bob\n[eleventh]\n   path = /srv/eleventh"
)
STYLE = {
    "debian": Style((("", "public"), ("bob", "projects")), frozenset({"homes", "printers", "print$"})),
    "openmediavault": Style((("", "media"), ("bob", "backup"), ("carol", "backup"))),
    "old_nas": Style((("bob", "volume one"), ("bob", "scans")), frozenset({" VOLUME_1 "})),
    "appliance": Style((("carol", "web"), ("bob", "photo"))),
    "time_machine": Style((("bob", "Shared Documents"),)),
    "media_guest": Style((("", "movies"), ("", "music"), ("bob", "Root of all"))),
    "macros": Style(
        (("bob", "manuals"),),
        frozenset({"profile", "station", "tools"}),
        {"/etc/samba/machines/scanner.conf": MACHINE, "/etc/samba/users.map": ""},
        "mkdir -p /data/real/manuals; chmod 755 /data/real/manuals; ln -sfn /data/real /srv/link",
    ),
    "printers_homes": Style(
        (("carol", "office"), ("bob", "office")),
        frozenset({"homes", "printers", "print$", "laser", "archive"}),
        {"/etc/printcap": "laser:\n"},
    ),
    "copies": Style(
        (("bob", "first"), ("bob", "third")),
        frozenset({"template", "base"}),
        {
            "/etc/samba/common-globals.conf": "   map to guest = never\n",
            "/etc/samba/common-share.inc": "   comment = common\n   hide dot files = no\n",
            "/etc/samba/shares.d/first.conf": INCLUDED,
        },
    ),
    "registry_only": Style((("", "inbox"), ("bob", "team")), script=REGISTRY),
    "names": Style((("bob", "Müller & Söhne"), ("bob", "Archiv 2019 (alt)")), frozenset({"geheim$"})),
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Lab]:
    lab = Lab(NAME)
    lab.down()
    lab.up(nodes=1)
    for user in ("bob", "carol"):
        secret = f"{user}-Geheim-1\n"
        made = f"touch {CONF}; useradd -M -N -g users -G staff {user}; smbpasswd -s -a {user}"
        done = lab.exec("pve1", ["sh", "-c", made], secret * 2)
        assert done.returncode == 0, done.stderr
    yield lab
    lab.down()


@pytest.fixture
def site(machine: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    site = Site(machine, tmp_path / "site")
    yield site
    site.shell("pve1", f"rm -rf {CONF} /etc/samba/machines /etc/samba/shares.d; net conf drop; systemctl stop smbd")


def prepare(site: Site, name: str) -> bytes:
    """Bring the host into the style; the bytes of its smb.conf."""
    style, text = STYLE[name], (STYLES / f"{name}.conf").read_bytes()
    for path, content in {CONF: text.decode(), **style.files}.items():
        site.shell("pve1", f"mkdir -p {Path(path).parent}")
        site.run("pve1", "tee", path, stdin=content)
    site.shell("pve1", style.script)
    for path in {params.get("path", "%") for params in parsed(site).values()}:
        if "%" not in path:
            site.run("pve1", "mkdir", "-p", "-m", "0777", path.strip('"').rstrip("/"))
    site.shell("pve1", "chmod 700 /media/locked 2>/dev/null || true; systemctl restart smbd")
    return text


def conf(site: Site) -> bytes:
    return site.lab.exec("pve1", ["cat", CONF]).stdout


def parsed(site: Site) -> Parsed:
    """`testparm -s`."""
    found: Parsed = {}
    section: dict[str, str] = {}
    for line in site.run("pve1", "testparm", "-s").splitlines():
        if line.startswith("["):
            section = found.setdefault(line[1:-1], {})
        elif " = " in line:
            name, _, value = line.strip("\n")[1:].partition(" = ")
            section[name] = value
    return found


def effective(found: Parsed) -> Parsed:
    """Without the marks, Samba's reading of its registry, and what only says where a setting came from."""
    dropped = {"smbplan:mark", "registry shares", "include", "copy"}
    return {
        section: {name: value for name, value in params.items() if name not in dropped}
        for section, params in found.items()
    }


def imported(site: Site) -> str:
    text = importer.read(Endpoint("files", host="pve1", config=str(site.lab.ssh_config)), "files")
    site.folder.mkdir(exist_ok=True)
    (site.folder / "site.yaml").write_text(text)
    return text


@pytest.mark.parametrize("name", STYLE)
def test_what_is_served_stays_the_same(site: Site, name: str) -> None:
    style, text = STYLE[name], prepare(site, name)
    before, files = parsed(site), site.shell("pve1", "cat /etc/samba/*.conf /etc/samba/*.d/* 2>/dev/null || true")
    yaml = imported(site)
    left = set(re.findall(r"^#   \[(.*?)\] ", yaml, re.M))
    assert left == style.left, yaml
    shares = app.validate(site.folder).site.shares
    assert len(shares) + len(left) == len(before) - 1

    refused = site.plan().plan
    assert len(refused.refused) == len(shares)
    assert all("--adopt" in hazard.hint for hazard in refused.refused), refused.refused
    adopting = site.plan(adopt=True).plan
    assert {str(change.action) for change in adopting.changes if change.kind == "samba.share"} == {"adopt"}

    site.applied(adopt=True)
    assert site.differences() == []
    assert effective(parsed(site)) == effective(before)
    for user, share in style.served:
        assert "blocks of size" in site.smb(user, share, "ls"), (user, share, site.smb(user, share, "ls"))

    site.applied(destroy=True)
    assert conf(site) == text
    assert parsed(site) == before
    assert site.shell("pve1", "cat /etc/samba/*.conf /etc/samba/*.d/* 2>/dev/null || true") == files
    for user, share in style.served:
        assert "blocks of size" in site.smb(user, share, "ls"), (user, share)


def test_a_share_that_fails_its_proof_goes_back_and_the_others_are_adopted(site: Site) -> None:
    text = prepare(site, "media_guest")
    before = parsed(site)
    imported(site)
    promise_guests(site, "Locked")
    done = site.apply(adopt=True, atomic=True)
    assert done.outcome.name == "rolled_back"
    assert conf(site) == text
    assert parsed(site) == before

    done = site.apply(adopt=True)
    assert done.outcome.name == "partial"
    assert b"\n[Locked]\n" in conf(site)
    assert b"\n#smbplan# [Movies]\n" in conf(site)
    assert effective(parsed(site)) == effective(before)
    assert site.differences(adopt=True) == ["adopt samba.share.Locked"]
    site.applied(destroy=True)
    assert conf(site) == text


def test_what_a_person_put_back_by_hand_is_drift_and_mended(site: Site) -> None:
    text = prepare(site, "names")
    imported(site)
    site.applied(adopt=True)
    adopted = conf(site)
    site.shell("pve1", f"sed -i 's/^#smbplan# //' {CONF}")
    changes = site.plan().plan.changes
    assert len(changes) == 6 and {str(change.action) for change in changes} == {"update"}
    site.applied()
    assert conf(site) == adopted
    assert site.differences() == []
    site.shell("pve1", f"sed -i 's/^#smbplan# //' {CONF}")
    site.applied(destroy=True)
    assert conf(site) == text
    assert site.shell("pve1", "net conf listshares") == ""


def test_what_another_site_owns_is_left_to_it(site: Site) -> None:
    prepare(site, "time_machine")
    imported(site)
    site.applied(adopt=True)
    again = imported(site)
    assert "[TimeMachine] belongs to files/samba.share.TimeMachine of smbplan already" in again
    assert "There is no share that can be taken over" in again


def test_a_registry_that_is_not_read_yet_is_not_put_into_force(site: Site) -> None:
    text = prepare(site, "printers_homes")
    site.shell("pve1", "net conf addshare forgotten /srv writeable=y guest_ok=y")
    imported(site)
    refused = site.plan(adopt=True).plan.refused
    assert ["forgotten" in hazard.summary for hazard in refused] == [True], refused
    assert conf(site) == text


def test_smb_conf_that_reads_its_registry_gets_no_second_line(site: Site) -> None:
    prepare(site, "printers_homes")
    site.shell("pve1", f"sed -i '/^\\[homes/i include = registry' {CONF}")
    site.shell("pve1", "net conf addshare extra /srv/extra writeable=y; mkdir -p /srv/extra")
    text, before = conf(site), parsed(site)
    imported(site)
    site.applied(adopt=True)
    assert conf(site).count(b"include") == 1
    assert site.differences() == []
    assert effective(parsed(site)) == effective(before)
    site.applied(destroy=True)
    assert conf(site) == text
    assert parsed(site) == before


def promise_guests(site: Site, share: str) -> None:
    """Let the definition say that guests can read it."""
    path, yaml = site.folder / "site.yaml", YAML()
    data = yaml.load(path.read_text())
    data["shares"][share]["guest"] = "read"
    del data["shares"][share]["options"], data["shares"][share]["access"]
    yaml.dump(data, path)


def test_an_open_session_lives_through_it(site: Site) -> None:
    prepare(site, "debian")
    imported(site)
    said = during(site, "projects", lambda: site.applied(adopt=True))
    assert "NT_STATUS" not in said and said.count("blocks of size") == 2, said
    said = during(site, "projects", lambda: site.applied(destroy=True))
    assert "NT_STATUS" not in said and said.count("blocks of size") == 2, said


def during(site: Site, share: str, act: Callable[[], object]) -> str:
    """What one session of bob's says, which looks before and after the act."""
    address = site.lab.status().nodes[0].address
    looks = "(echo ls; until [ -e /tmp/go ]; do sleep 0.1; done; echo ls)"
    script = f"{looks} | smbclient -U bob%bob-Geheim-1 //{address}/{share}"
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(site.lab.exec, "client", ["sh", "-c", f"rm -f /tmp/go; {script}"])
        try:
            until_connected(site)
            act()
        finally:
            site.run("client", "touch", "/tmp/go")
        return (said.result().stdout + said.result().stderr).decode()


def until_connected(site: Site) -> None:
    deadline = time.monotonic() + 10
    while "bob" not in site.run("pve1", "smbstatus", "-b"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
