"""What lies behind a mount in a guest: nobody sees it before that is made."""

from collections.abc import Mapping
from typing import Any

from smbplan.engine.resource import Resource, State
from smbplan.spec.model import Share, Site


def address(site: Site, name: str, share: Share) -> str:
    """Of what brings a share's storage into its guest."""
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
