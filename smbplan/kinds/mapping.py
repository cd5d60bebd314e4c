"""Directory mappings: folders of nodes that VMs may have by virtio-fs. `/cluster/mapping/dir` of the API"""

import hashlib
from collections.abc import Iterator

from smbplan.engine.kind import Kind
from smbplan.engine.resource import Key, Resource
from smbplan.kinds import directory, guest, machine
from smbplan.kinds.names import unit
from smbplan.spec.model import Site

LONGEST = 36  # bytes of virtio-fs's tag (virtio 1.2, 5.11), which is the mapping's id


class Mapping(Kind):
    """State: {mark, nodes: {node: path}}. The mark stands in its description."""

    name, title, object = "pve.mapping", "directory mapping", "mapping"
    marked = True


KIND = Mapping()


def address(share: str) -> str:
    return f"{KIND.name}.{share}"


def identity(site: Site, share: str) -> str:
    """The id of a share's mapping, one in the whole cluster."""
    plain = f"smb-{site.site}-{share}"
    if len(plain) <= LONGEST:
        return plain
    return f"{plain[: LONGEST - 9]}-{hashlib.sha256(plain.encode()).hexdigest()[:8]}"


def expand(site: Site) -> Iterator[Resource]:
    for name, gateway in site.gateways.items():
        for share, found in guest.binds(site, name).items() if gateway.mode == "vm" else ():
            yield Resource(
                address(share),
                KIND.name,
                guest.CLUSTER,
                Key(KIND.object, f"{name}:{identity(site, share)}"),
                {"nodes": {gateway.node: found.storage.path}},
                # Its record stands with the VM; the folder is there first, and looked at on its node.
                (machine.address(name), directory.below(site, share, found)),
                unit(share),
            )
