"""examples/vm on a lab's cluster: what the tests of it share."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.conftest import EXAMPLES
from lab.lxc import network
from lab.site import Site

from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.pve.cluster import Cluster
from smbplan.drivers.pve.inside import Inside
from smbplan.lab import Lab

ADDRESSES = {"vault": "61", "ledger": "62"}
NODES = {"vault": "pve1", "ledger": "pve2"}


def prepared(lab: Lab, folder: Path, patched: pytest.MonkeyPatch) -> Site:
    """The site in a folder, for this lab's network."""
    for name in ("ALICE", "BOB"):
        patched.setenv(f"{name}_PASSWORD", f"{name.lower()}-Geheim-1")
    patched.setenv("SMBPLAN_LAB", lab.name)
    patched.setenv("SMBPLAN_STATE", str(folder / "state"))
    shutil.copytree(EXAMPLES / "vm", folder / "vm")
    path = folder / "vm" / "site.yaml"
    path.write_text(path.read_text().replace("198.18.0.", f"{network(lab)}."))
    return Site(lab, folder / "vm")


class Agent(Inside):
    """In a machine, and there longer than a run: without KVM, a start takes three seconds."""

    def close(self) -> None:
        """A run has ended."""


def keep_agents(patched: pytest.MonkeyPatch) -> None:
    """One for each machine; a run that begins asks whether it is still there, as every request does."""
    known: dict[str, Agent] = {}
    real: Callable[..., Channel] = Cluster.enter

    def enter(cluster: Cluster, endpoint: Endpoint, counts: Counts, connect: Any) -> Channel:
        there = real(cluster, endpoint, counts, connect)
        if not isinstance(there, Inside):
            return there
        found = known.setdefault(there.path, Agent(there.endpoint, counts, path=there.path))
        found.counts, found.client = counts, there.client
        return found

    patched.setattr(Cluster, "enter", enter)


def smb(site: Site, gateway: str, user: str, share: str, commands: str) -> str:
    """What a real client on another machine says."""
    address = f"//{network(site.lab)}.{ADDRESSES[gateway]}/{share}"
    done = site.lab.exec("client", ["smbclient", "-U", f"{user}%{user}-Geheim-1", address, "-c", commands])
    return (done.stdout + done.stderr).decode()


def vmid(site: Site, gateway: str) -> str:
    rows = [row.split() for row in site.shell(NODES[gateway], "qm list").splitlines()]
    return next(row[0] for row in rows if row[1].removesuffix("-parked") == gateway)


def inside(site: Site, gateway: str, script: str) -> str:
    """The output of a command in the VM, by its guest agent."""
    import json

    told = site.run(NODES[gateway], "qm", "guest", "exec", vmid(site, gateway), "--", "sh", "-ec", script)
    done = json.loads(told)
    assert done["exitcode"] == 0, done
    return str(done.get("out-data", ""))
