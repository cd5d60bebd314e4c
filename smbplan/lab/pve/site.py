"""One node's view of the cluster: where its files are, who the other nodes are, which PVE it plays."""

import importlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

from smbplan.lab.pve import backend as backends
from smbplan.lab.pve import files
from smbplan.lab.pve.backend import Backend
from smbplan.lab.pve.dry_machines import DryMachines
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.machine import Machines

VERSIONS: dict[str, dict[str, str]] = {
    "9.1": {"version": "9.1.8", "release": "9.1", "repoid": "a8e257e1ad64dd92"},
    "8.4": {"version": "8.4.14", "release": "8.4", "repoid": "b502d23c55afcba1"},
}
PORT = 8006


@dataclass(frozen=True)
class Site:
    """`root` stands for /etc/pve and is one folder for all nodes; `local` holds this node's tasks and locks."""

    node: str
    root: Path
    local: Path
    backend: Backend
    auth_delay: float = 3.0  # the real server makes a refused login wait
    open_machines: Callable[[], Machines] | None = None

    @cached_property
    def machines(self) -> Machines:
        """Virtual machines; made when the first is asked for: a node may have none, and nothing to run them."""
        if self.open_machines is None:
            raise fail("this node runs no virtual machines")
        return self.open_machines()

    @property
    def locks(self) -> Path:
        """Where a guest's configuration is locked; on a node it's where everybody does."""
        return Path("/run/lock/lxc") if self.root == Path("/etc/pve") else self.local / "lock"

    @property
    def release(self) -> str:
        """The version played: the text of `.dialect` below the root, 9.1 without it."""
        return files.read(self.root / ".dialect").strip() or "9.1"

    @property
    def dialect(self) -> float:
        """The release as a number, to compare."""
        return float(self.release)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """The `nodelist` of `.members`: name to {id, ip} (and `port`, which real nodes don't need)."""
        text = files.read(self.root / ".members")
        nodes: dict[str, dict[str, Any]] = json.loads(text)["nodelist"] if text else {}
        return nodes or {self.node: {"id": 1, "ip": "127.0.0.1"}}

    def cluster_name(self) -> str:
        """'' for a node that is in no cluster."""
        text = files.read(self.root / ".members")
        return str(json.loads(text).get("cluster", {}).get("name", "")) if text else ""

    def address(self, node: str) -> tuple[str, int]:
        """Where another node's API is."""
        member = self.nodes().get(node)
        if member is None:
            detail = f"failed to get address info for: {node}: Temporary failure in name resolution"
            raise fail(f"hostname lookup '{node}' failed - {detail}")
        return str(member["ip"]), int(member.get("port", PORT))

    def certificate(self, node: str) -> Path:
        """The certificate the node's API shows."""
        return self.root / "nodes" / node / "pve-ssl.pem"


def open_site(root: Path, local: Path, node: str = "", backend: str = "containers", auth_delay: float = 3.0) -> Site:
    """The site of this machine."""
    node = node or os.uname().nodename.partition(".")[0]
    local.mkdir(parents=True, exist_ok=True)
    machines = partial(load_machines, backend, root, node, local)
    return Site(node, root, local, backends.load(backend, root, node, local), auth_delay, machines)


def load_machines(backend: str, root: Path, node: str, local: Path) -> Machines:
    """Those that go with the backend: files with `dry`, else real ones."""
    if backend == "dry":
        return DryMachines(root, node, local)
    return cast(Machines, importlib.import_module("smbplan.lab.pve.machines").Machines(root, node))
