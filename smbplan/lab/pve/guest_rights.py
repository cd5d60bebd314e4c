"""Which rights a change of a guest needs, as far as containers and virtual machines have that in common."""

from collections.abc import Mapping

from smbplan.lab.pve import datacenter, schema
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.site import Site


class GuestChanges:
    """One change of a guest: who asks, what it was (None for a new one), in which pool it will be."""

    net_props = "net"

    def __init__(self, site: Site, rights: Rights, vmid: int, pool: str | None, old: Mapping[str, str] | None):
        self.site = site
        self.rights = rights
        self.vmid = vmid
        self.pool = pool
        self.old = old

    def _vm(self, *names: str) -> None:
        self.rights.check_vm(self.vmid, self.pool, list(names))

    def _tags(self, new: str) -> None:
        datacenter.check_tags(self.site, self.rights, (self.old or {}).get("tags", ""), new)

    def _bridge(self, key: str, value: str) -> None:
        """Bridges of a node are in the zone `localnetwork` of the software-defined network."""
        net = schema.parse_props(self.net_props, value, key)
        old = (self.old or {}).get(key)
        before = schema.parse_props(self.net_props, old, key) if old else {}
        bridge, tag = net.get("bridge"), net.get("tag")
        if bridge is None or (bridge, tag) == (before.get("bridge"), before.get("tag")):
            return
        path = f"/sdn/zones/localnetwork/{bridge}" + (f"/{tag}" if tag else "")
        self.rights.check(path, ["SDN.Use"])
