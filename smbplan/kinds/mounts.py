"""How storage comes into guests, and what nobody sees before it has. systemd.mount(5)"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from smbplan.engine.resource import Resource, State
from smbplan.kinds import filesystem, mapping, virtiofs
from smbplan.kinds.names import shares_of
from smbplan.spec.model import Share, Site
from smbplan.templates import render


@dataclass(frozen=True, slots=True)
class Mount:
    """The unit that mounts a share's storage in a VM, at every start of it."""

    share: str
    target: str
    what: str
    where: str
    type: str
    after: str  # the address of what brings it there

    @property
    def name(self) -> str:
        return f"{_escaped(self.where)}.mount"

    @property
    def content(self) -> str:
        what = self.what.replace("%", "%%")
        return render("share.mount.j2", share=self.share, what=what, where=self.where, type=self.type)


def of_machines(site: Site) -> Iterator[Mount]:
    for gateway in (name for name, found in site.gateways.items() if found.mode == "vm"):
        for name, share in shares_of(site, gateway).items():
            if share.storage.volume:
                what = f"/dev/disk/by-uuid/{filesystem.identity(site, name)}"
                type_, after = filesystem.TYPE, filesystem.address(name)
            else:
                what, type_, after = mapping.identity(site, name), "virtiofs", virtiofs.address(name)
            yield Mount(name, gateway, what, share.storage.path, type_, after)


def file(share: str) -> str:
    return f"file.{share}.mount"


def address(site: Site, name: str, share: Share) -> str:
    """Of what brings a share's storage into its guest."""
    if site.gateways[share.gateway].mode == "vm":
        return f"service.{name}.mount"
    return f"lxc.volume.{name}" if share.storage.volume else f"lxc.bind.{name}"


def is_hidden(item: Resource, states: Mapping[str, State]) -> bool:
    """Whether the mount that a folder is the root of is not there, so that what was seen there is another one.

    `states` are all that were read, by address. One with our mark was reached in spite of it: Proxmox takes a mount
    off a running container at its next start only.
    """
    mount = item.desired.get("mounted")
    if not mount:
        return False
    seen = states.get(item.address)
    return not _is_there(states.get(mount)) and not (isinstance(seen, dict) and seen.get("mark"))


def _is_there(mount: Any) -> bool:
    if not isinstance(mount, dict):
        return False
    return bool(mount.get("active", True)) and not str(mount.get("key", "")).startswith("unused")


def _escaped(path: str) -> str:
    """As `systemd-escape --path` writes it."""
    plain = re.sub(r"[^A-Za-z0-9:_./]", lambda found: "".join(f"\\x{byte:02x}" for byte in found[0].encode()), path)
    return re.sub(r"^\.", r"\\x2e", plain.strip("/")).replace("/", "-")
