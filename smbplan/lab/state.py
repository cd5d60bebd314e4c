"""What a lab keeps in /run: its number, each machine's options, keys, and a lock.

Nothing here is needed to take a lab down: `lab down` asks the system itself.
"""

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from smbplan.lab.tools import LabError, run

RUN = Path("/run/smbplan/lab")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
MACHINES = tuple(f"pve{number}" for number in range(1, 33))
CLIENT, CONTROLLER = "client", "dc1"
USERS = (("root", 0, "root"), ("admin", 1000, "home/admin"))


@dataclass(frozen=True)
class Options:
    """How a machine is made; kept, so that `lab reset` can make it again."""

    samba: bool = True
    btrfs: bool = True
    zfs: bool = False
    pve: bool = False
    vms: bool = False
    shared: bool = False  # has the folder that all nodes have, and the locks for it
    realm: str = ""  # of the Active Directory domain that the lab has


class State:
    """The run directory of one lab."""

    def __init__(self, lab: str) -> None:
        if not NAME.fullmatch(lab):
            raise LabError(f"`{lab}` can't name a lab", "use a-z, 0-9 and -, at most 31 characters")
        self.lab = lab
        self.dir = RUN / lab
        self.key = self.dir / "id_ed25519"
        self.known_hosts = self.dir / "known_hosts"
        self.ssh_config = self.dir / "ssh_config"

    def number(self) -> int | None:
        """Number of the lab's network; None if it has none yet."""
        with suppress(OSError, ValueError):
            return int((self.dir / "number").read_text())
        return None

    def machines(self) -> dict[str, Options]:
        """Machines that were asked for, up or not."""
        found = {}
        for path in sorted(self.dir.glob("machines/*/options.json"), key=_by_number):
            with suppress(OSError, ValueError, TypeError):
                found[path.parent.name] = Options(**json.loads(path.read_text()))
        return found

    def machine_dir(self, machine: str) -> Path:
        """Where a machine's seed, log and mount point are."""
        return self.dir / "machines" / machine

    def set_number(self, number: int) -> None:
        """Remember the network's number."""
        write(self.dir / "number", f"{number}\n")

    def set_options(self, machine: str, options: Options) -> None:
        """Remember how a machine is made."""
        write(self.machine_dir(machine) / "options.json", json.dumps(asdict(options)))

    def make_dir(self) -> None:
        """The run directory, readable by root only."""
        RUN.mkdir(parents=True, exist_ok=True)
        self.dir.mkdir(exist_ok=True, mode=0o700)
        if not self.key.with_suffix(".pub").exists():
            _keygen(self.key, f"smbplan-lab-{self.lab}")

    def remove(self) -> None:
        """Forget the lab."""
        shutil.rmtree(self.dir, ignore_errors=True)

    def write_ssh(self, addresses: dict[str, str]) -> None:
        """known_hosts with the machines' real keys, and an ssh_config that uses them."""
        known = [
            f"{machine},{address} {(self.seed(machine) / 'etc/ssh/ssh_host_ed25519_key.pub').read_text()}"
            for machine, address in addresses.items()
        ]
        write(self.known_hosts, "".join(known))
        hosts = "".join(f"Host {machine}\n  HostName {address}\n" for machine, address in addresses.items())
        write(self.ssh_config, hosts + SSH_OPTIONS.format(key=self.key, known_hosts=self.known_hosts))

    def seed(self, machine: str) -> Path:
        """Files of a machine's own, laid over the pristine root filesystem when it starts."""
        return self.machine_dir(machine) / "seed"

    def set_dialect(self, dialect: str) -> None:
        write(self.dir / "dialect", f"{dialect}\n", 0o644)

    def dialect(self) -> str:
        """The version of PVE that the nodes play."""
        path = self.dir / "dialect"
        return path.read_text().strip() if path.exists() else "9.1"

    @property
    def password(self) -> Path:
        """That of all accounts of the lab's domain."""
        return self.dir / "domain-password"

    def write_seed(self, machine: str, addresses: dict[str, str], realm: str = "") -> None:
        """Identity of a machine: names, machine-id, host key (kept over a reset) and who may log in."""
        seed = self.seed(machine)
        ssh = seed / "etc/ssh"
        ssh.mkdir(parents=True, exist_ok=True)
        suffix = realm.lower() or "lab.test"
        hosts = "".join(f"{address} {name}.{suffix} {name}\n" for name, address in addresses.items())
        write(seed / "etc/hostname", f"{machine}\n", 0o644)
        write(seed / "etc/hosts", f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{hosts}", 0o644)
        # With no nameserver at all a look-up fails at once; an unreachable one makes smbd hang. A member's is smbplan's
        # matter.
        resolver = f"search {suffix}\nnameserver {addresses[CONTROLLER]}\n" if realm and machine not in MACHINES else ""
        write(seed / "etc/resolv.conf", resolver, 0o644)
        write(seed / "etc/machine-id", uuid.uuid5(uuid.NAMESPACE_DNS, f"{machine}.{self.lab}").hex + "\n", 0o444)
        if not (ssh / "ssh_host_ed25519_key.pub").exists():
            _keygen(ssh / "ssh_host_ed25519_key", machine)
        for _, owner, home in USERS:
            folder = seed / home / ".ssh"
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / "authorized_keys", self.key.with_suffix(".pub").read_text())
            for path in (seed / home, folder):
                path.chmod(0o700)
                os.chown(path, owner, owner)
            os.chown(folder / "authorized_keys", owner, owner)
        # Copied over the machine's own directories, modes and all, whatever the caller's umask.
        for path in (seed, seed / "etc", ssh, seed / "home"):
            path.chmod(0o755)


# The default key exchange withstands quantum computers, and takes ten times as long as the connection is worth here.
SSH_OPTIONS = """
Host *
  User root
  IdentityFile {key}
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
  PreferredAuthentications publickey
  KexAlgorithms curve25519-sha256
  GSSAPIAuthentication no
  AddressFamily inet
  LogLevel ERROR
"""


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock file beside the labs' directories; it is removed at the end, so nothing stays behind.

    The descriptor is inheritable on purpose: a helper that outlives a killed `lab up` keeps the lock,
    so `lab down` starts looking only when nothing of the lab can appear any more.
    """
    path = RUN / f".{name}.lock"
    lock = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)
        for folder in (RUN, RUN.parent):
            with suppress(OSError):
                folder.rmdir()


def _lock(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            os.set_inheritable(lock, True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # The holder before us removed the file: a lock on the old one would keep nobody out.
            if path.exists() and path.stat().st_ino == os.fstat(lock).st_ino:
                return lock
            os.close(lock)


def _keygen(path: Path, comment: str) -> None:
    path.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file at once, with its parents if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.chmod(mode)
    part.replace(path)


def enable(seed: Path, unit: str, target: str) -> None:
    """Have a machine start a unit of its seed, with the modes that its folders have there."""
    units = seed / "etc/systemd/system"
    wants = units / f"{target}.wants"
    wants.mkdir(parents=True, exist_ok=True)
    link = wants / unit
    link.unlink(missing_ok=True)
    link.symlink_to(f"../{unit}")
    for path in (seed / "usr", seed / "usr/local", seed / "usr/local/sbin", units.parent, units, wants):
        path.chmod(0o755)


def _by_number(path: Path) -> tuple[int, str]:
    name = path.parent.name
    return (int(name.removeprefix("pve")), "") if name.startswith("pve") else (1000, name)
