"""One machine: its namespaces, cgroup and root filesystem, from nothing to a running systemd."""

import os
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smbplan.lab import cgroup, controller, dc, loop, network, pvenode, shared, template
from smbplan.lab.rootfs import Rootfs
from smbplan.lab.state import CLIENT, CONTROLLER, Options, State
from smbplan.lab.tools import LabError

INIT = Path(__file__).with_name("init.sh")
BTRFS_SIZE = "4G"
ZFS_SIZE = "1G"
# The process joins its cgroup first, so that `lab down` finds it whatever happens next.
JOIN = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Node:
    """A machine of a lab; asking it is asking the system."""

    state: State
    name: str
    number: int

    @property
    def group(self) -> Path:
        """The machine's cgroup."""
        return cgroup.lab_dir(self.state.lab) / self.name

    @property
    def address(self) -> str:
        """Its address on the lab's network."""
        return network.machine_address(self.number, self.name)

    @property
    def tag(self) -> str:
        """Name of the machine's mounts and disk images, unique on this host."""
        return f"{loop.PREFIX}{self.state.lab}.{self.name}"

    def pid(self) -> int | None:
        """The init's process id on this host, if it runs."""
        return cgroup.init_pid(self.group)

    def answers(self) -> bool:
        """Whether sshd greets on the machine's address."""
        with suppress(OSError), socket.create_connection((self.address, 22), timeout=1) as conn:
            conn.settimeout(2)
            return conn.recv(4) == b"SSH-"
        return False

    def has_pool(self) -> bool:
        """Whether the ZFS pool is mounted."""
        pid = self.pid()
        with suppress(OSError):
            return " /tank " in Path(f"/proc/{pid}/mounts").read_text()
        return False

    def serves(self, options: Options) -> bool:
        """Whether the node's API, or the domain's directory, answers."""
        port = 8006 if options.pve else dc.READY if self.name == CONTROLLER else None
        if port is None:
            return True
        with suppress(OSError), socket.create_connection((self.address, port), timeout=1):
            return True
        return False

    def start(self, layers: Rootfs, options: Options, addresses: dict[str, str], vms: Path | None = None) -> None:
        """Start from a pristine filesystem, after removing whatever an earlier start left.

        `vms` is what virtual machines of the node are made of.
        """
        self.remove()
        self.state.write_seed(self.name, addresses, options.realm)
        if self.name == CONTROLLER:
            controller.write_seed(self.state, options.realm, self.address)
        if options.shared and self.name == CLIENT:
            shared.write_seed(self.state)
        self.state.set_options(self.name, options)
        network.plug(self.state.lab, self.number, self.name, bridged=options.pve)
        places = cgroup.delegate(self.group)
        folder = self.state.machine_dir(self.name)
        work = folder / "root"
        work.mkdir(exist_ok=True)
        lower = [layers.base]
        if options.samba or options.pve:
            lower.insert(0, layers.samba)
        if options.realm and not options.pve:
            lower.insert(0, layers.domain)
        if options.pve:
            lower.insert(0, layers.pve)
            pvenode.write_seed(self.state.seed(self.name))
        if vms:
            template.write_seed(self.state.seed(self.name), self.name, vms)
        env = ENV | {
            "LAB_WORK": str(work),
            "LAB_SEED": str(self.state.seed(self.name)),
            "LAB_LOWER": ":".join(map(str, lower)),
            "LAB_NAME": self.name,
            "LAB_TAG": self.tag,
            "LAB_BTRFS": BTRFS_SIZE if options.btrfs else "",
            "LAB_ZFS": ZFS_SIZE if options.zfs else "",
            "LAB_PVE": str(pvenode.share(self.state)) if options.pve else "",
            "LAB_SHARED": str(pvenode.storage(self.state)),
            "LAB_SHARED_AT": shared.FOLDER if options.shared and self.name != CLIENT else "",
            "LAB_PACKAGE": str(pvenode.PACKAGE),
            "LAB_BYTECODE": str(pvenode.bytecode(self.state)),
            "LAB_VMS": str(vms) if vms else "",
            "LAB_CGROUPS": " ".join(f"{name}={place}" for name, place in places.items()),
        }
        inner = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--kill-child=KILL"]
        argv = [
            *("setsid", "--fork", "sh", "-c", JOIN, "sh", str(self.group)),
            *("nsenter", f"--net={network.NETNS_DIR / network.netns(self.state.lab, self.name)}"),
            *inner,
            *("sh", str(INIT)),
        ]
        with (folder / "init.log").open("w") as log:
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, check=True)

    def wait(self, options: Options, timeout: float) -> None:
        """Return when sshd greets, pool and API are there; LabError with the init's last words if not in time."""
        started = time.monotonic()
        # sshd forks for whoever asks: it is asked last.
        while not ((not options.zfs or self.has_pool()) and self.serves(options) and self.answers()):
            waited = time.monotonic() - started
            if waited > timeout or (waited > 1 and not cgroup.pids(self.group)):
                log = (self.state.machine_dir(self.name) / "init.log").read_text()[-1500:].strip()
                raise LabError(f"{self.name} did not come up within {waited:.0f} s: {log or 'no message'}")
            time.sleep(0.02)

    def remove(self) -> None:
        """End the machine and remove its namespace and loop devices. Its keys stay."""
        stray = loop.of_init(self.pid())
        cgroup.remove(self.group)
        network.unplug(self.state.lab, self.name)
        loop.detach(stray + loop.by_tag(self.tag + "."))

    def enter(self, argv: list[str]) -> list[str]:
        """The command line that runs argv inside the machine; LabError if it isn't running."""
        pid = self.pid()
        if pid is None:
            raise LabError(f"{self.name} is not running", f"smbplan lab up --name {self.state.lab}")
        group = self.group / "exec"
        group.mkdir(exist_ok=True)
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        return ["sh", "-c", JOIN, "sh", str(group), "nsenter", "--target", str(pid), *spaces, "--", *argv]


def environment() -> dict[str, str]:
    """What a command sees inside a machine: nothing of the caller's but its terminal's type."""
    return ENV | {"TERM": os.environ.get("TERM", "dumb")}
