"""What makes a machine a node of a PVE cluster: the shared /etc/pve, the emulated API, and room for containers."""

import secrets
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from smbplan.lab.pve import auth, usercfg
from smbplan.lab.state import State, write
from smbplan.lab.tools import run

PACKAGE = Path(__file__).with_name("pve")
"""Runs inside the nodes, on a path where it is smbplan.lab.pve, too."""
SHARED_BY_NODE = ("lxc", "qemu-server", "priv")
STORAGES = """dir: local
\tpath /var/lib/vz
\tcontent backup,images,import,iso,rootdir,snippets,vztmpl

dir: shared
	path /mnt/pve/shared
	content backup,images,import,rootdir,vztmpl
	shared 1

btrfs: local-btrfs
\tpath /mnt/btrfs
\tcontent images,rootdir
"""
ZFS_STORAGE = """
zfspool: local-zfs
\tpool tank
\tcontent images,rootdir
"""
WRAPPER = """#!/bin/sh
export PYTHONPATH=/usr/share/smbplan-lab PYTHONPYCACHEPREFIX=/usr/share/smbplan-lab/bytecode
exec python3 -m smbplan.lab.pve.cli "${0##*/}" "$@"
"""
# For `mount -t zfs`. zfs-fuse can't mount a snapshot: what is shown is a copy, from a clone that goes at once.
MOUNT_SNAPSHOT = """#!/bin/sh
set -eu
snapshot=$1 place=$2
clone=${snapshot%%@*}-mount-$$
zfs clone -o mountpoint="/run/$clone" "$snapshot" "$clone"
mount -t tmpfs "$snapshot" "$place"
cp -a "/run/$clone/." "$place"
mount -o remount,ro "$place"
for _ in 1 2 3 4 5 6 7 8 9; do ! zfs destroy "$clone" 2>/dev/null || break; sleep 0.1; done
"""
# A lab is for playing and reached from this host only, so that this is no secret.
TOKEN, SECRET = "root@pam!smbplan", "00000000-0000-4000-8000-000000000000"
COMMANDS = ("pct", "pveum", "pvesh", "pvesm", "qm")
PROXY = """[Unit]
Description=PVE API Proxy Server
ConditionPathExists=/usr/share/smbplan-lab/smbplan/lab/pve/__main__.py
[Service]
Environment=PYTHONPATH=/usr/share/smbplan-lab PYTHONPYCACHEPREFIX=/usr/share/smbplan-lab/bytecode
ExecStart=/usr/bin/python3 -m smbplan.lab.pve serve
# Containers outlive the API, as on PVE.
KillMode=process
Restart=on-failure
"""
# One for the whole lab, and for containers alone: nobody else on the bridge, this host included, gets an answer.
DHCP = """[Unit]
Description=Addresses for containers
ConditionHost=pve1
[Service]
ExecStart=/bin/sh -c 'net=$$(ip -4 -br address show vmbr0 | grep -o "198[.]18[.][0-9]*"); exec dnsmasq \\
    --keep-in-foreground --user=root --conf-file=/dev/null --pid-file --port=0 --interface=vmbr0 --bind-dynamic \\
    --dhcp-authoritative --no-ping --dhcp-leasefile=/run/lab-dhcp.leases --dhcp-option=3 --dhcp-option=6 \\
    --dhcp-mac=set:ct,BC:24:11:*:*:* --dhcp-ignore=tag:!ct --dhcp-range=tag:ct,$$net.222,$$net.254,1h'
Restart=on-failure
"""


def share(state: State) -> Path:
    """The cluster's file system, one folder for all nodes."""
    return state.dir / "etc-pve"


def secret(state: State) -> Path:
    """The file with that of TOKEN."""
    return state.dir / "pve-token"


def password(state: State) -> str:
    """Of root@pam; the same for the lab's life."""
    path = state.dir / "pve-password"
    if not path.exists():
        write(path, secrets.token_urlsafe(12))
    return path.read_text()


def storage(state: State) -> Path:
    """The storage that all nodes see, as an NFS export would be: containers on it can change nodes."""
    return state.dir / "shared-storage"


def bytecode(state: State) -> Path:
    """Where the nodes' Python keeps what it has compiled: a command takes half the time."""
    return state.dir / "bytecode"


def make_share(state: State, nodes: dict[str, str], zfs: bool, dialect: str) -> None:
    """The folder with what an empty cluster of these nodes (name to address) has; what is there already stays."""
    top = share(state)
    top.mkdir(exist_ok=True)
    storage(state).mkdir(exist_ok=True)
    bytecode(state).mkdir(exist_ok=True)
    for folder in ("priv/lock", "mapping", *(f"nodes/{node}/{name}" for node in nodes for name in SHARED_BY_NODE)):
        (top / folder).mkdir(parents=True, exist_ok=True)
    # Places for each node's own view of itself, as the real file system has links.
    for name in ("local", "lxc", "qemu-server"):
        (top / name).mkdir(exist_ok=True)
    if not (top / "storage.cfg").exists():
        write(top / "storage.cfg", STORAGES + (ZFS_STORAGE if zfs else ""), 0o640)
    (top / "mapping" / "directory.cfg").touch(0o640)
    (top / ".members").unlink(missing_ok=True)  # written anew, for nodes that came later
    words = [word for name, address in nodes.items() for word in ("--node", f"{name}={address}")]
    program = [sys.executable, "-m", "smbplan.lab.pve", "init", "--root", str(top)]
    run([*program, *words, f"--password={password(state)}", "--dialect", dialect])  # one may begin with a dash
    with usercfg.changing(top) as config:
        config.tokens[TOKEN] = usercfg.Token(privsep=0, comment="made by smbplan lab")
    auth.set_token(top, TOKEN, SECRET)
    write(secret(state), f"{SECRET}\n")


def empty_share(state: State, nodes: Iterable[str]) -> None:
    """Forget the guests of these nodes; the whole cluster if no other node is left."""
    top, gone = share(state), set(nodes)
    if not gone:
        return
    others = {path.name for path in top.glob("nodes/*")} - gone
    whole = [path for folder in (top, storage(state)) for path in folder.glob("*")]
    for path in [top / "nodes" / node for node in gone] if others else whole:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_seed(seed: Path) -> None:
    """Files of a node beyond those of any machine."""
    for name in ("etc/subuid", "etc/subgid"):
        write(seed / name, "root:100000:65536\n", 0o644)
    wants = seed / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    for name, unit in (("pveproxy.service", PROXY), ("lab-dhcp.service", DHCP)):
        write(seed / "etc/systemd/system" / name, unit, 0o644)
        (wants / name).unlink(missing_ok=True)
        (wants / name).symlink_to(f"../{name}")
    for name in COMMANDS:
        write(seed / "usr/sbin" / name, WRAPPER, 0o755)
    write(seed / "usr/sbin/mount.zfs", MOUNT_SNAPSHOT, 0o755)
    for top in ("etc/systemd", "usr"):
        for path in (seed / top, *(seed / top).rglob("*/")):
            path.chmod(0o755)
