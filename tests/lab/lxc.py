"""examples/lxc on a lab's cluster: what the tests of it share."""

import shutil
from pathlib import Path

import pytest
from lab.conftest import EXAMPLES
from lab.site import Site

from smbplan.lab import Lab

ADDRESSES = {"office": "51", "drawings": "52", "archive": "53"}
NODES = {"office": "pve1", "drawings": "pve2", "archive": "pve3"}


def prepared(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """On a cluster without guests."""
    lab.reset()
    for name in ("ALICE", "BOB"):
        monkeypatch.setenv(f"{name}_PASSWORD", f"{name.lower()}-Geheim-1")
    monkeypatch.setenv("SMBPLAN_LAB", lab.name)
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    folder = tmp_path / "lxc"
    shutil.copytree(EXAMPLES / "lxc", folder)
    text = (folder / "site.yaml").read_text()
    (folder / "site.yaml").write_text(text.replace("198.18.0", network(lab)))
    return Site(lab, folder)


def network(lab: Lab) -> str:
    """The first three parts of its addresses."""
    return str(lab.proxmox["endpoint"]).removeprefix("https://").rpartition(".")[0]


def smb(site: Site, gateway: str, user: str, share: str, commands: str) -> str:
    """What a real client on another machine says."""
    address = f"//{network(site.lab)}.{ADDRESSES[gateway]}/{share}"
    done = site.lab.exec("client", ["smbclient", "-U", f"{user}%{user}-Geheim-1", address, "-c", commands])
    return (done.stdout + done.stderr).decode()


def vmid(site: Site, gateway: str, node: str) -> str:
    rows = [row.split() for row in site.shell(node, "pct list").splitlines()]
    return next(row[0] for row in rows if row[-1].removesuffix("-parked") == gateway)
