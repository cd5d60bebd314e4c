"""How a target is reached."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from smbplan.drivers.bundle import BOOT
from smbplan.drivers.home import expanded

CONNECT_TIMEOUT = 15.0  # seconds, authentication included
PLAIN = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root")
# lxc-attach ends with 1 or 127 when it can't enter a container, or isn't there; with 0 when the agent has run, however
# that ended. `pct exec` takes a second longer: it is only tried where nothing has run.
ENTER = "lxc-attach -n {id} --clear-env -- {run}; case $? in 1|127) exec pct exec {id} --keep-env 0 -- {run};; esac"
TOLD = ("name", "host", "user", "port", "sudo", "guest", "node")  # what a target may say of a peer
HOME = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/\.smbplan/[A-Za-z0-9_-]+")  # of a cluster, see spec.ha


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a target is reached; also kept in the inventories of its peers."""

    name: str
    local: bool = False
    host: str = ""
    user: str = "root"
    port: int | None = None
    identity: str | None = None
    config: str | None = None
    sudo: bool = False
    api: Mapping[str, Any] | None = None  # a cluster: spec.proxmox.Proxmox as JSON, with references to its secrets
    guest: str = ""  # the gateway whose container this is; where it is, the cluster knows
    node: str = ""  # the name of a cluster's node; its address, the cluster knows
    container: int | None = None  # its id, when that is known; `host` is its node then
    by_ssh: bool = False  # into a VM; without a `host` at the address that it has
    host_key: str = ""  # of a VM, as its guest agent tells it
    home: str = ""  # where the agent keeps its notes, for a cluster on what its nodes share
    nodes: Mapping[str, Any] | None = None  # of a cluster: its nodes' endpoints as JSON
    former: Mapping[str, Any] | None = None  # nodes that it had when this machine changed it last
    of: str = ""  # what a cluster serves: the target that is the cluster itself

    @property
    def address(self) -> tuple[Any, ...]:
        """Two endpoints with one address are one machine."""
        return (self.host or self.name, self.port, self.local, self.guest, self.node)

    def command(self) -> list[str]:
        """Raises Unreachable for a path that stands for none."""
        home = ["env", f"SMBPLAN_HOME={self.home}"] if self.home else []
        python = [*home, "python3", "-Iu", "-c", BOOT]
        if self.local:
            return python
        options = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT:.0f}"]
        options += ["-o", "StrictHostKeyChecking=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
        if self.config:
            options += ["-F", self._file("config")]
        if self.identity:
            options += ["-i", self._file("identity")]
        if self.port:
            options += ["-p", str(self.port)]
        if self.host_key:  # of a machine that was made a moment ago, known_hosts can't know
            options += ["-o", f"KnownHostsCommand=/bin/echo {self.host or self.name} {self.host_key}"]
            options += ["-o", "UserKnownHostsFile=none", "-o", "GlobalKnownHostsFile=none"]
        become = ["sudo", "-n"] if self.sudo else []
        quoted = [*become, "sh", "-c", shlex.quote(self.inside())] if self.container else [*become, shlex.join(python)]
        user = ["-l", self.user] if self.user != "root" or not self.config else []
        return ["ssh", *options, *user, "--", self.host or self.name, *quoted]

    def _file(self, name: str) -> str:
        """Raises Unreachable."""
        try:
            return str(expanded(getattr(self, name)))
        except OSError as error:
            from smbplan.drivers.errors import Unreachable  # only here: connections begin before all that is loaded

            raise Unreachable(f"{self.name}: {error.strerror}", "", f"correct ssh.{name}") from None

    def inside(self) -> str:
        """For the node's shell: what starts the agent in the container."""
        home = [f"SMBPLAN_HOME={self.home}"] if self.home else []
        agent = shlex.join(["env", *PLAIN, *home, "python3", "-Iu", "-c", BOOT])
        return ENTER.format(id=self.container, run=shlex.join(["sh", "-c", f"{agent}; exit 0"]))

    def told(self, data: Mapping[str, Any]) -> "Endpoint":
        """A peer of which this target tells, reached as this one is: no target says what is run or read here."""
        own = {name: getattr(self, name) for name in ("identity", "config")}
        made = Endpoint(**own, **{name: data[name] for name in TOLD if name in data})
        if not HOME.fullmatch(str(data.get("home") or "")):
            return made
        members = data.get("nodes")
        rows = members.items() if isinstance(members, Mapping) else ()
        nodes = {
            name: self.told(node).as_json()
            for name, node in rows
            if isinstance(node, Mapping) and node.get("name") == name
        }
        return replace(made, home=data["home"], of=str(data.get("of") or ""), nodes=nodes or None)

    def peer(self) -> dict[str, Any]:
        """What other targets are told of it."""
        known = {name: getattr(self, name) for name in TOLD}
        nodes = {name: {key: node[key] for key in TOLD} for name, node in (self.nodes or {}).items()}
        more = {"home": self.home, "of": self.of, "nodes": nodes}
        return known | {name: value for name, value in more.items() if value}

    def at_home(self, home: str, name: str = "") -> "Endpoint":
        """The same host, with an agent whose notes are kept elsewhere."""
        return replace(self, home=home, name=name or self.name)

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
