"""Guests of a cluster as objects that are read and set. What they say of themselves is in their description."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from smbplan.drivers.errors import ChannelError
from smbplan.drivers.pve import conf, config, machines
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import DOCTOR, ApiError, Denied

READERS = 8  # requests at a time
MANY = 2  # containers of a node, from which on the node is asked for all of them at once
KINDS = {"lxc": "lxc.container.", "qemu": "vm.machine."}  # before the gateway in the mark, by the API's types
DOWN = {595, 596, 597, 599}  # a node that the API can't reach


@dataclass(slots=True)
class Guest:
    """One of our containers or virtual machines, as it was read."""

    node: str
    vmid: int
    running: bool
    config: Mapping[str, Any] = field(repr=False)
    pool: str = ""
    type: str = "lxc"  # as the API's paths have it
    pid: int = 0  # of the process that it is on its node
    rules: int | None = None  # of its firewall, where that is known

    @property
    def path(self) -> str:
        return f"nodes/{self.node}/{self.type}/{self.vmid}"

    @property
    def late(self) -> dict[str, Any]:
        """What the running VM has otherwise until its next start, of what cloud-init sets."""
        told = self.told.get("late") or {}
        return dict(told.get("was", {})) if told.get("pid") == self.pid else {}

    @property
    def address(self) -> str:
        """Where a VM is reached: the address that it got when it was started."""
        if self.late.get("address"):
            return str(self.late["address"]).partition("/")[0]
        return config.properties(str(self.config.get("ipconfig0", ""))).get("ip", "").partition("/")[0]

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
    """The guests of one site, found by their marks anywhere in the cluster."""

    def __init__(
        self, client: Client, site: str, containers: Callable[[str], Mapping[str, Any]] = lambda node: {}
    ) -> None:
        """`containers` asks a node for all of its own, see drivers.agent.containers; one of `nodes` alone."""
        self.client, self.site = client, site
        self.nodes: Collection[str] = ()  # that are reached by SSH
        self._containers = containers
        self._sees = False
        self._handed_out: set[int] = set()
        self._counter = threading.Lock()
        self._hidden: list[str] = []  # nodes with guests that could not be read

    def find(self) -> dict[str, Guest]:
        """{gateway: its guest}; one request, one for each guest of the cluster, and another for each of ours.

        Of a node with many containers, one for all of these, where it is reached by SSH. Raises ApiError, also where
        two guests carry one mark; Denied for a token that is shown no guest at all, whatever there is.
        """
        with ThreadPoolExecutor(1) as pool:
            listed = pool.submit(self.client.get, "cluster/resources", type="vm")
            self._must_see()
        rows = [row for row in listed.result() if row["type"] in KINDS]
        down, told = set[str](), self._told(rows)
        with ThreadPoolExecutor(READERS) as pool:
            read = [told.get(row["id"]) for row in rows if row["id"] in told]
            read += pool.map(lambda row: self._readable(row, down), [row for row in rows if row["id"] not in told])
        self._hidden = sorted(down)
        found: dict[str, Guest] = {}
        for guest in filter(None, read):
            gateway = self._gateway(guest)
            if not gateway:
                continue
            if other := found.get(gateway):
                raise ApiError(
                    f"guests {other.vmid} and {guest.vmid} both carry the mark of gateway {gateway}",
                    "",
                    "one of them is a copy, or somebody else's: take the smbplan comment out of its notes",
                )
            found[gateway] = guest
        return found

    def _must_see(self) -> None:
        """Raises ApiError, and Denied where all guests are hidden."""
        if not self._sees:
            held = self.client.get("access/permissions")
            if not any("VM.Audit" in held[path] for path in held if re.match("/(vms|pool)(/|$)", path)):
                raise Denied(f"{self.client.access.token} lacks VM.Audit on /vms", "", DOCTOR, 403)
            self._sees = True

    def must_know(self, gateways: Iterable[str], found: Mapping[str, Guest]) -> None:
        """Raises ApiError where one of these was not found, and may be on a node that can't be reached."""
        unknown = sorted(set(gateways) - set(found)) if self._hidden else []
        if unknown:
            words = f"node {self._hidden[0]} can't be reached, and the guest of {unknown[0]} may be there"
            raise ApiError(words, "", "bring the node back first; `pvecm status` tells how it is")

    def at(self, node: str, type_: str, vmid: int) -> Guest | None:
        """The guest of this id, whosever it is, as if it were stopped; None if there is none. Raises ApiError."""
        return self._read({"node": node, "type": type_, "vmid": vmid})

    def is_of(self, guest: Guest, gateway: str) -> bool:
        """Whether it carries the mark of this gateway of our site."""
        return self._gateway(guest) == gateway

    def free_id(self) -> int:
        """An id that no guest has, and that nobody else here was given. Raises ApiError."""
        with self._counter:
            vmid = int(self.client.get("cluster/nextid"))
            if vmid in self._handed_out:  # Proxmox knows it only when its guest is there
                vmid = next(n for n in count(vmid + 1) if n not in self._handed_out and self._is_free(n))
            self._handed_out.add(vmid)
            return vmid

    def _is_free(self, vmid: int) -> bool:
        try:
            self.client.get("cluster/nextid", vmid=vmid)
        except ApiError as error:
            if error.status != 400:
                raise
            return False
        return True

    def again(self, guest: Guest) -> Guest | None:
        """The same guest as it is now, wherever it has migrated to; two requests."""
        rows = self.client.get("cluster/resources", type="vm")
        now = next((self._read(row) for row in rows if int(row.get("vmid", 0)) == guest.vmid), None)
        return now if now and self._gateway(now) == self._gateway(guest) else None

    def _gateway(self, guest: Guest) -> str:
        """The gateway of our site that the guest is, by its mark; "" for all others."""
        mark = config.unsealed(guest.told.get("mark"), guest.vmid) or ""
        site, _, address = mark.partition("/")
        kind = KINDS[guest.type]
        return address.removeprefix(kind) if site == self.site and address.startswith(kind) else ""

    def _told(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Guest]:
        """{its id in the API: a container} of nodes with many of them. Who does not answer is left to the API."""
        count = Counter(row["node"] for row in rows if row["type"] == "lxc")
        many = [node for node in count if count[node] >= MANY and node in self.nodes]
        with ThreadPoolExecutor(max(1, len(many))) as pool:
            nodes = dict(zip(many, pool.map(self._asked, many), strict=True))
        found = {}
        for row in rows:
            if row["type"] == "lxc" and (each := nodes.get(row["node"], {}).get(str(row["vmid"]))):
                place, pool_ = (row["node"], int(row["vmid"])), row.get("pool", "")
                found[row["id"]] = Guest(*place, each["running"], conf.told(each["text"]), pool_, rules=each["rules"])
        return found

    def _asked(self, node: str) -> Mapping[str, Any]:
        try:
            return self._containers(node)
        except ChannelError:
            return {}

    def _readable(self, row: Mapping[str, Any], down: set[str]) -> Guest | None:
        """Nodes that can't be reached are noted, and not asked again."""
        if row["node"] in down:
            return None
        try:
            return self._read(row)
        except ApiError as error:
            if error.status not in DOWN:
                raise
            down.add(row["node"])
            return None

    def _read(self, row: Mapping[str, Any]) -> Guest | None:
        try:
            told = self.client.get(f"nodes/{row['node']}/{row['type']}/{row['vmid']}/config")
        except ApiError as error:
            if error.missing or isinstance(error, Denied):
                return None  # removed meanwhile, or none of ours: we may read what we own
            raise
        guest = Guest(row["node"], int(row["vmid"]), False, told, row.get("pool", ""), row["type"])
        if self._gateway(guest):  # lists tell what nodes have broadcast, seconds ago
            status = self.client.get(f"{guest.path}/status/current")
            guest.running, guest.pid = status["status"] == "running", int(status.get("pid") or 0)
        return guest

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
        disks = {"disks": machines.remembered(guest.config)} if guest.type == "qemu" else {}
        told = {**guest.told, **disks, "records": {key: value for key, value in records.items() if value is not None}}
        told = {key: value for key, value in (told | dict(more or {})).items() if value or key == "records"}
        return config.described(guest.config, told)
