"""Containers of a cluster as objects that are read and set. What they say of themselves is in their description."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from smbplan.drivers.agent.core import matches
from smbplan.drivers.pve import config
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import DOCTOR, ApiError, Denied

READERS = 8  # requests at a time
KIND = "lxc.container."  # before the gateway in the mark


@dataclass(slots=True)
class Guest:
    """One of our containers, as it was read."""

    node: str
    vmid: int
    running: bool
    config: Mapping[str, Any] = field(repr=False)
    pool: str = ""

    @property
    def path(self) -> str:
        return f"nodes/{self.node}/lxc/{self.vmid}"

    @property
    def told(self) -> dict[str, Any]:
        return config.told(self.config)

    @property
    def records(self) -> dict[str, Any]:
        """The inventory; a volume that is to be deleted is in it again when that can be done."""
        waiting = [volume["record"] for volume in config.doomed(self.config).values() if volume["record"]]
        return {**self.told.get("records", {}), **{record["address"]: record for record in waiting}}

    @property
    def protected(self) -> bool:
        return bool(int(self.config.get("protection", 0)))


class Guests:
    """The containers of one site, found by their marks anywhere in the cluster."""

    def __init__(self, client: Client, site: str) -> None:
        self.client, self.site = client, site
        self._sees = False

    def find(self) -> dict[str, Guest]:
        """{gateway: its container}; one request, and one for each container of the cluster.

        Raises ApiError; Denied for a token that is shown no container at all, whatever there is.
        """
        if not self._sees:
            held = self.client.get("access/permissions")
            if not any("VM.Audit" in held[path] for path in held if re.match("/(vms|pool)(/|$)", path)):
                raise Denied(f"{self.client.access.token} lacks VM.Audit on /vms", "", DOCTOR, 403)
            self._sees = True
        rows = [row for row in self.client.get("cluster/resources", type="vm") if row["type"] == "lxc"]
        with ThreadPoolExecutor(READERS) as pool:
            guests = [guest for guest in pool.map(self._read, rows) if guest]
        return {name: guest for guest in guests if (name := self._gateway(guest))}

    def again(self, guest: Guest) -> Guest | None:
        """The same container as it is now, wherever it has migrated to; two requests."""
        rows = self.client.get("cluster/resources", type="vm")
        now = next((self._read(row) for row in rows if int(row.get("vmid", 0)) == guest.vmid), None)
        return now if now and self._gateway(now) == self._gateway(guest) else None

    def _gateway(self, guest: Guest) -> str:
        """The gateway of our site that the container is, by its mark; "" for all others."""
        mark = config.unsealed(guest.told.get("mark"), guest.vmid) or ""
        site, _, address = mark.partition("/")
        return address.removeprefix(KIND) if site == self.site and address.startswith(KIND) else ""

    def _read(self, row: Mapping[str, Any]) -> Guest | None:
        try:
            told = self.client.get(f"nodes/{row['node']}/lxc/{row['vmid']}/config")
        except ApiError as error:
            if error.missing or isinstance(error, Denied):
                return None  # removed meanwhile, or none of ours: we may read what we own
            raise
        return Guest(row["node"], int(row["vmid"]), row.get("status") == "running", told, row.get("pool", ""))

    def tell(
        self, guest: Guest, records: Mapping[str, Any], more: Mapping[str, Any] | None = None, **changes: Any
    ) -> None:
        """Set some of its configuration together with what smbplan keeps in it, unless somebody changed it."""
        description = self.description(guest, records, more)
        digest = guest.config.get("digest")
        self.client.put(f"{guest.path}/config", description=description, digest=digest, **changes)

    @staticmethod
    def description(guest: Guest, records: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> str:
        """Its description with these records in it; `more` replaces other parts of what is kept, see config.told."""
        told = {**guest.told, "records": {key: value for key, value in records.items() if value is not None}}
        told = {key: value for key, value in (told | dict(more or {})).items() if value or key == "records"}
        return config.described(guest.config, told)


def state(guest: Guest | None, type_: str, name: str) -> Any:
    """What `container`, `volume` and `power` objects are; None for one that isn't there."""
    if guest is None:
        return None
    if type_ == "container":
        return {**config.container(guest.config, guest.node, guest.vmid), "pool": guest.pool}
    if type_ == "power":
        return {"running": True} if guest.running else None
    if type_ == "idmap":
        lines = config.raw(guest.config, "lxc.idmap")
        return {"map": lines} if lines else None
    if type_ == "entry":
        source = config.entries(guest.config).get(name.partition(":")[2])
        return {"source": source} if source else None
    path = name.partition(":")[2]
    return config.mounts(guest.config).get(path) or config.doomed(guest.config).get(path, {}).get("state")


def agrees(now: Any, wanted: Any) -> bool:
    """Whether a state is the wanted one.

    What Proxmox chose by itself (a MAC address), extra tags, and a disk that was grown already agree.
    """
    if not isinstance(now, dict) or not isinstance(wanted, dict):
        return matches(now, wanted)
    grown = (key for key in ("disk", "size") if (now.get(key) or 0) > (wanted.get(key) or 0) > 0)
    now = {**now, **{key: wanted[key] for key in grown}}
    if "networks" not in now:
        return matches(now, wanted)
    asked = wanted.get("networks") or {}
    told = {name: {**network} for name, network in now["networks"].items()}
    for name, network in told.items():
        if "mac" not in asked.get(name, {}):
            network.pop("mac", None)
    tagged = set(wanted.get("tags") or ()) <= set(now["tags"])
    return tagged and matches({**now, "networks": told, "tags": wanted.get("tags")}, wanted)
