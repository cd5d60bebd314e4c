"""A container's settings as /etc/pve/lxc/ID.conf has them, and what follows from them.

Keys and their meaning are those of pct.conf(5).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smbplan.lab.pve import guestconf

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
DEFAULT_MAP = (("u", 0, 100000, 65536), ("g", 0, 100000, 65536))
NUMBERED = re.compile(r"(net|mp)(\d+)")


class ContainerError(Exception):
    """A container or volume can't do what was asked."""


def properties(text: str, first: str) -> dict[str, str]:
    """`local:100/x.raw,mp=/data,size=8G` as a dict; the part without a key is called `first`."""
    parts = (part.partition("=") for part in text.split(",") if part)
    return {key if equals else first: value if equals else key for key, equals, value in parts}


def size_of(text: str) -> int:
    """`8G` in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    if not match:
        raise ContainerError(f"unable to parse size '{text}'")
    return int(float(match[1]) * UNITS[match[2]])


@dataclass(frozen=True)
class Guest:
    """One container's settings."""

    vmid: int
    values: Mapping[str, str]
    raw: tuple[tuple[str, str], ...] = field(default=())

    @property
    def unprivileged(self) -> bool:
        """Whether its root is not the node's."""
        return self.values.get("unprivileged", "0") == "1"

    @property
    def idmap(self) -> tuple[tuple[str, int, int, int], ...]:
        """(u or g, id inside, id on the node, how many); empty if ids are the node's."""
        found = [tuple(value.split()) for key, value in self.raw if key == "lxc.idmap"]
        own = tuple((kind, int(inside), int(outside), int(count)) for kind, inside, outside, count in found)
        return own or (DEFAULT_MAP if self.unprivileged else ())

    @property
    def root_ids(self) -> tuple[int, int]:
        """Its root's user and group id on the node."""
        starts = {kind: outside for kind, inside, outside, _ in self.idmap if inside == 0}
        return starts.get("u", 0), starts.get("g", 0)

    @property
    def memory(self) -> int:
        """Bytes; PVE's default is 512 MiB."""
        return int(self.values.get("memory", "512")) * 2**20

    @property
    def swap(self) -> int:
        """Bytes."""
        return int(self.values.get("swap", "512")) * 2**20

    @property
    def cpus(self) -> float:
        """CPUs' worth of time; 0 is no limit. PVE pins `cores` to CPUs, here both are a share of time."""
        limit = float(self.values.get("cpulimit") or 0)
        return limit or float(self.values.get("cores") or 0)

    @property
    def features(self) -> dict[str, str]:
        """`nesting=1` and the like."""
        return properties(self.values.get("features", ""), "")

    def networks(self) -> dict[int, dict[str, str]]:
        """netN by number."""
        return {number: properties(text, "type") for number, text in self._numbered("net")}

    def mounts(self) -> dict[str, dict[str, str]]:
        """rootfs first (at /), then mpN in their order."""
        found = {"rootfs": properties(self.values["rootfs"], "volume") | {"mp": "/"}}
        return found | {f"mp{number}": properties(text, "volume") for number, text in self._numbered("mp")}

    def _numbered(self, kind: str) -> list[tuple[int, str]]:
        found = [(match, text) for key, text in self.values.items() if (match := NUMBERED.fullmatch(key))]
        return sorted((int(match[2]), text) for match, text in found if match[1] == kind)


def read(root: Path, node: str, vmid: int) -> Guest:
    """The guest as its file says now; snapshots and pending values, which follow in sections, are not it."""
    path = root / "nodes" / node / "lxc" / f"{vmid}.conf"
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ContainerError(f"Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist") from None
    config = guestconf.parse(text)
    return Guest(vmid, config.values, tuple(config.raw))
