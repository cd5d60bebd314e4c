"""Finding, claiming, reading and writing guests' configurations."""

import re
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smbplan.lab.pve import files, formats, guestconf
from smbplan.lab.pve.errors import fail
from smbplan.lab.pve.guestconf import GuestConfig, Kind
from smbplan.lab.pve.site import Site

FOLDERS: dict[Kind, str] = {"lxc": "lxc", "qemu": "qemu-server"}
NAMES: dict[Kind, str] = {"lxc": "CT", "qemu": "VM"}
_MODIFIED: dict[Kind, str] = {
    "lxc": "detected modified configuration - file changed by other user? Try again.",
    "qemu": "checksum mismatch (file change by other user?)",
}


def config_path(site: Site, vmid: int, kind: Kind = "lxc", node: str = "") -> Path:
    """Where the configuration of a guest of the node is."""
    return site.root / "nodes" / (node or site.node) / FOLDERS[kind] / f"{vmid}.conf"


def every(site: Site) -> Iterator[tuple[str, Kind, int, Path]]:
    """Node, kind, id and file of each guest of the cluster."""
    for kind, folder in FOLDERS.items():
        for path in sorted(site.root.glob(f"nodes/*/{folder}/*.conf")):
            if re.fullmatch(r"[1-9]\d{2,8}", path.stem):
                yield path.parts[-3], kind, int(path.stem), path


def ids_of(site: Site, kind: Kind = "lxc", node: str = "") -> list[int]:
    """The guests of one node."""
    return [vmid for name, sort, vmid, _ in every(site) if sort == kind and name == (node or site.node)]


def check_unused(site: Site, vmid: int) -> None:
    """500 if any node has a guest of that id."""
    for node, kind, found, _ in every(site):
        if found == vmid:
            raise fail(f"{NAMES[kind]} {vmid} already exists on node '{node}'")


def load(site: Site, vmid: int, kind: Kind = "lxc") -> GuestConfig:
    """500 if the node doesn't have the guest."""
    path = config_path(site, vmid, kind)
    try:
        return guestconf.parse(path.read_text("utf-8"), kind)
    except FileNotFoundError:
        raise fail(f"Configuration file '{path.relative_to(site.root)}' does not exist") from None


def store(site: Site, vmid: int, config: GuestConfig) -> None:
    """Write it."""
    text = guestconf.render(config)
    files.write(config_path(site, vmid, config.kind), text)
    config.digest = files.digest(text)


def claim(site: Site, vmid: int, kind: Kind = "lxc", lock: str = "create") -> None:
    """Take the id for a guest that is being created: of several that try, one succeeds."""
    with files.cluster_lock(site.root, "file-vmlist"):
        check_unused(site, vmid)
        store(site, vmid, GuestConfig({"lock": lock}, kind=kind))


def release(site: Site, vmid: int, kind: Kind = "lxc") -> None:
    """Give the id back."""
    config_path(site, vmid, kind).unlink(missing_ok=True)


@contextmanager
def locked(site: Site, vmid: int, *, shared: bool = False) -> Iterator[None]:
    """Nobody else changes the guest meanwhile; with `shared` others may read it so, too."""
    with files.file_lock(site.locks / f"pve-config-{vmid}.lock", shared=shared):
        yield


def check_lock(config: GuestConfig) -> None:
    """500 for a guest that something else works on."""
    if "lock" in config.values:
        raise fail(f"{NAMES[config.kind]} is locked ({config.values['lock']})")


def check_digest(config: GuestConfig, digest: str | None) -> None:
    """500 if the caller saw another version."""
    if digest and digest != config.digest:
        raise fail(_MODIFIED[config.kind])


def check_ssh_keys(text: str) -> None:
    """500 for what is no list of public keys."""
    try:
        formats.check_ssh_keys(text)
    except ValueError as error:
        raise fail(str(error)) from None


def check_protection(config: GuestConfig, action: str) -> None:
    """500 for what protection forbids."""
    if config.values.get("protection") == "1":
        raise fail(f"{action} - protection mode enabled")


def new_uuid() -> str:
    """A random one."""
    return str(uuid.uuid4())


def new_mac(site: Site) -> str:
    """A random address with the cluster's prefix."""
    from smbplan.lab.pve import datacenter

    prefix = datacenter.load(site).get("mac_prefix", datacenter.MAC_PREFIX)
    return ":".join([prefix, *(f"{secrets.randbelow(256):02X}" for _ in range(3))])
