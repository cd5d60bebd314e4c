"""A lab: several machines on a network of their own, brought up, looked at, reset and taken down."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from smbplan.lab import cgroup, kernel, loop, network, pvenode, rootfs, template, tools, vm
from smbplan.lab import shared as sharing
from smbplan.lab.node import Node, environment
from smbplan.lab.rootfs import Progress
from smbplan.lab.state import CLIENT, CONTROLLER, MACHINES, RUN, Options, State, locked
from smbplan.lab.tools import LabError

BOOT_TIMEOUT = 60.0


@dataclass(frozen=True)
class NodeStatus:
    """One machine as the system shows it. `starting` means: its init runs, its sshd doesn't answer."""

    name: str
    address: str
    state: Literal["running", "starting", "stopped"]
    pid: int | None


@dataclass(frozen=True)
class LabStatus:
    """A lab; without machines it is down."""

    name: str
    nodes: tuple[NodeStatus, ...]
    ssh_config: str | None


def _silent(_line: str) -> None:
    pass


class Lab:
    """A named lab on this host. Every method but `exec` may raise LabError; all need root."""

    def __init__(self, name: str = "default") -> None:
        self.name = name
        self.state = State(name)

    @property
    def proxmox(self) -> dict[str, object]:
        """The `proxmox:` block that reaches this lab's cluster. Raises LabError when it has none."""
        number = self.state.number()
        if number is None or not any(machine.pve for machine in self.state.machines().values()):
            named = "" if self.name == "default" else f" --name {self.name}"
            raise LabError(f"lab `{self.name}` has no cluster", f"as root: smbplan lab up --nodes 3{named}")
        address = network.machine_address(number, MACHINES[0])
        return {
            "endpoint": f"https://{address}:8006",
            "token": {"id": pvenode.TOKEN, "secret": {"file": str(pvenode.secret(self.state))}},
            "ca_file": str(pvenode.share(self.state) / "pve-root-ca.pem"),
            "ssh": {"config": str(self.ssh_config)},
        }

    @property
    def ssh_config(self) -> Path:
        """For `ssh -F`: one Host entry per machine."""
        return self.state.ssh_config

    def up(
        self,
        nodes: int = 2,
        *,
        samba: bool = True,
        btrfs: bool = True,
        zfs: bool = False,
        client: bool = True,
        pve: bool = False,
        vms: bool = False,
        dialect: str = "9.1",
        domain: str = "",
        shared: bool = False,
        progress: Progress = _silent,
    ) -> LabStatus:
        """Bring up what is missing; machines that run are left alone, whatever their options.

        With `pve` the nodes are a PVE cluster that runs LXC containers; those have Samba and a ZFS pool, too.
        With `vms` each of them has a template of virtual machines, too. `domain` is the realm of an Active Directory
        domain, whose controller is a machine of its own. With `shared` all nodes have one folder, see lab.shared.
        """
        if not 0 < nodes <= len(MACHINES):
            raise LabError(f"a lab has 1 to {len(MACHINES)} nodes, not {nodes}")
        tools.require(tools.TO_RUN)
        layers = rootfs.prepare(progress)
        realm = domain.upper()
        wanted = {name: Options(samba, btrfs, zfs or pve, pve, pve and vms, shared, realm) for name in MACHINES[:nodes]}
        if client:
            wanted[CLIENT] = Options(samba=True, btrfs=False, shared=shared, realm=realm)
        if realm:
            wanted[CONTROLLER] = Options(samba=True, btrfs=False, realm=realm)
        with locked(self.name):
            number = self._network()
            if pve:
                self.state.set_dialect(dialect)
            self._start(number, layers, wanted, progress)
        return self.status()

    def down(self) -> None:
        """Remove the lab from the system, complete or not; nothing happens if there is none."""
        tools.require(tools.TO_RUN)
        with locked(self.name):
            self._sweep()
            self.state.remove()
        kernel.restore()

    def status(self) -> LabStatus:
        """The machines that were asked for, as they are now."""
        tools.require(tools.TO_RUN)
        number = self.state.number()
        machines = self.state.machines() if number is not None else {}
        nodes = tuple(_status(Node(self.state, name, number or 0)) for name in machines)
        return LabStatus(self.name, nodes, str(self.ssh_config) if nodes else None)

    def reset(self, *nodes: str, progress: Progress = _silent) -> LabStatus:
        """Start these machines, or all, from the pristine filesystem again; keys and addresses stay."""
        tools.require(tools.TO_RUN)
        layers = rootfs.prepare(progress)
        with locked(self.name):
            machines = self.state.machines()
            number = self.state.number()
            if number is None or not machines or not network.bridge_is_up(self.name, number):
                raise LabError(f"lab `{self.name}` is not up", f"smbplan lab up --name {self.name}")
            for node in nodes:
                self._known(node)
            chosen = {name: how for name, how in machines.items() if not nodes or name in nodes}
            with ThreadPoolExecutor(len(chosen)) as pool:
                list(pool.map(lambda name: Node(self.state, name, number).remove(), chosen))
            pvenode.empty_share(self.state, [name for name, how in chosen.items() if how.pve])
            self._start(number, layers, chosen, progress)
        return self.status()

    def wait_for_domain(self) -> None:
        """Return when the controller answers; LabError when it does not in time."""
        number = self.state.number() or 0
        Node(self.state, CONTROLLER, number).wait(self.state.machines()[CONTROLLER], BOOT_TIMEOUT)

    def exec(
        self, node: str, argv: Sequence[str], stdin: str | bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command as root in a machine, by its namespaces and not over ssh; output is captured."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        return subprocess.run(
            self.command(node, argv), input=data or b"", capture_output=True, check=False, env=environment()
        )

    def attach(self, node: str, argv: Sequence[str]) -> int:
        """Like exec, on the caller's own terminal and streams; returns the exit code."""
        return subprocess.run(self.command(node, argv), check=False, env=environment()).returncode

    def command(self, node: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs this one in a machine."""
        tools.require(tools.TO_RUN)
        self._known(node)
        return Node(self.state, node, self.state.number() or 0).enter(list(argv))

    def _known(self, node: str) -> None:
        machines = self.state.machines()
        if node not in machines:
            known = ", ".join(machines) or "none, it is down"
            raise LabError(f"lab `{self.name}` has no machine `{node}`", f"it has: {known}")

    def _network(self) -> int:
        """Number of the lab's network, which is up afterwards."""
        number = self.state.number()
        if number is not None and network.bridge_is_up(self.name, number):
            self.state.make_dir()
            return number
        # What an interrupted `up` left behind is not repaired but removed: that is quick and sure.
        self._sweep()
        self.state.make_dir()
        with locked("+network"):
            taken = {State(path.name).number() for path in RUN.iterdir() if path.is_dir() and path != self.state.dir}
            number = network.pick_number(self.name, {other for other in taken if other is not None})
            self.state.set_number(number)
            network.make_bridge(self.name, number)
        return number

    def _start(self, number: int, layers: rootfs.Rootfs, wanted: dict[str, Options], progress: Progress) -> None:
        addresses = {name: network.machine_address(number, name) for name in (*MACHINES, CLIENT, CONTROLLER)}
        if any(how.shared for how in wanted.values()):
            sharing.prepare(pvenode.storage(self.state))
        cluster = {name: how for name, how in wanted.items() if how.pve}
        prepared = vm.prepare(layers, progress) if any(how.vms for how in cluster.values()) else None
        if cluster:
            members = {name for name, how in self.state.machines().items() if how.pve} | set(cluster)
            names = {name: addresses[name] for name in MACHINES if name in members}
            pvenode.make_share(self.state, names, any(how.zfs for how in cluster.values()), self.state.dialect())
            for name, how in cluster.items():
                if how.vms and prepared:
                    template.register(self.state, name, prepared)

        def start(name: str) -> None:
            node = Node(self.state, name, number)
            if node.pid() is not None and node.answers():
                return
            began = time.monotonic()
            node.start(layers, wanted[name], addresses, prepared if wanted[name].vms else None)
            node.wait(wanted[name], BOOT_TIMEOUT)
            progress(f"{name} is up at {node.address} ({time.monotonic() - began:.2f} s)")

        with ThreadPoolExecutor(len(wanted)) as pool:
            list(pool.map(start, wanted))
        if cluster:
            kernel.raise_limits()
        self.state.write_ssh({name: addresses[name] for name in self.state.machines()})

    def _sweep(self) -> None:
        """End and remove everything of this lab that the system shows, without trusting the run directory."""
        stray = [device for group in _groups(self.name) for device in loop.of_init(cgroup.init_pid(group))]
        cgroup.remove(cgroup.lab_dir(self.name))
        cgroup.remove_root()
        for space in network.existing(self.name):
            for pid in network.processes(space) - {os.getpid()}:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            network.remove(space)
        network.remove_host_links(self.name)
        loop.detach(stray + loop.by_tag(f"{loop.PREFIX}{self.name}."))


def _groups(lab: str) -> list[Path]:
    parent = cgroup.lab_dir(lab)
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []


def _status(node: Node) -> NodeStatus:
    pid = node.pid()
    state: Literal["running", "starting", "stopped"] = "stopped"
    if pid is not None:
        state = "running" if node.answers() else "starting"
    return NodeStatus(node.name, node.address, state, pid)
