"""Containers of a cluster as objects that are read and set. What they say of themselves is in their description."""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from smbplan.drivers.agent.core import Refused, Untouched, matches
from smbplan.drivers.pve import config, tasks
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import DOCTOR, ApiError, Denied
from smbplan.drivers.pve.nodes import Nodes
from smbplan.drivers.pve.templates import roomiest

SHUTDOWN = 60  # seconds that a container has to end by itself
RACES = 20  # ids that others may take before us
READERS = 8  # requests at a time
KIND = "lxc.container."  # before the gateway in the mark
PLAIN = ("hostname", "nameserver", "searchdomain", "startup", "cores", "memory", "swap", "onboot", "protection")


@dataclass(slots=True)
class Guest:
    """One of our containers, as it was read."""

    node: str
    vmid: int
    running: bool
    config: Mapping[str, Any] = field(repr=False)

    @property
    def path(self) -> str:
        return f"nodes/{self.node}/lxc/{self.vmid}"

    @property
    def told(self) -> dict[str, Any]:
        return config.told(self.config)


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
        return Guest(row["node"], int(row["vmid"]), row.get("status") == "running", told)

    def tell(
        self, guest: Guest, records: Mapping[str, Any], volumes: Mapping[str, Any] | None = None, **changes: Any
    ) -> None:
        """Set some of its configuration together with what smbplan keeps in it, unless somebody changed it."""
        description = self.description(guest, records, volumes)
        digest = guest.config.get("digest")
        self.client.put(f"{guest.path}/config", description=description, digest=digest, **changes)

    @staticmethod
    def description(guest: Guest, records: Mapping[str, Any], volumes: Mapping[str, Any] | None = None) -> str:
        """Its description with these records in it."""
        told = {**guest.told, "records": {key: value for key, value in records.items() if value is not None}}
        return config.described(guest.config, {**told, **({"volumes": volumes} if volumes is not None else {})})


def state(guest: Guest | None, type_: str, name: str) -> Any:
    """What `container`, `volume` and `power` objects are; None for one that isn't there."""
    if guest is None:
        return None
    if type_ == "container":
        return config.container(guest.config, guest.node, guest.vmid)
    if type_ == "power":
        return {"running": True} if guest.running else None
    if type_ == "idmap":
        lines = config.raw(guest.config, "lxc.idmap")
        return {"map": lines} if lines else None
    if type_ == "entry":
        source = config.entries(guest.config).get(name.partition(":")[2])
        return {"source": source} if source else None
    return config.mounts(guest.config).get(name.partition(":")[2])


def agrees(now: Any, wanted: Any) -> bool:
    """Whether a state is the wanted one; what Proxmox chose by itself (a MAC address) and extra tags agree."""
    if not isinstance(now, dict) or not isinstance(wanted, dict) or "networks" not in now:
        return matches(now, wanted)
    asked = wanted.get("networks") or {}
    told = {name: {**network} for name, network in now["networks"].items()}
    for name, network in told.items():
        if "mac" not in asked.get(name, {}):
            network.pop("mac", None)
    tagged = set(wanted.get("tags") or ()) <= set(now["tags"]) or not now["tags"]
    return tagged and matches({**now, "networks": told, "tags": wanted.get("tags")}, wanted)


class Setter:
    """Brings one object of a gateway from a state to another. Raises ApiError, Refused or Untouched."""

    def __init__(self, guests: Guests, nodes: Nodes, gateway: str, guest: Guest | None) -> None:
        self.guests, self.client, self.gateway, self.guest = guests, guests.client, gateway, guest
        self.nodes = nodes
        self.records = dict(guest.told.get("records", {})) if guest else {}

    def set(self, op: Mapping[str, Any], now: Any) -> None:
        self.records[op["address"]] = op["record"]
        by_type: dict[str, Callable[[Mapping[str, Any], Any], None]] = {
            "container": self._container,
            "volume": self._volume,
            "power": self._power,
            "bind": self._bind,
            "idmap": self._idmap,
            "entry": self._entry,
        }
        by_type[op["type"]](op, now)

    def note(self, op: Mapping[str, Any]) -> None:
        """Only what smbplan keeps in the description has changed."""
        if self.guest is not None and self.records.get(op["address"]) != op["record"]:
            self.guests.tell(self.guest, {**self.records, op["address"]: op["record"]})

    def _there(self) -> Guest:
        if self.guest is None:
            raise Untouched(f"the container of {self.gateway} is gone", "", "make a new plan")
        return self.guest

    def _container(self, op: Mapping[str, Any], now: Any) -> None:
        after = op["after"]
        if after is None:
            self._remove()
        elif self.guest is None:
            self._create(after, op["options"]["template"])
        else:
            self._change(now, after)

    def _create(self, wanted: Mapping[str, Any], template: str) -> None:
        node = wanted["node"] or roomiest(self.client)
        params = {
            "ostemplate": template,
            "rootfs": f"{wanted['storage']}:{config.gibibytes(wanted['disk'])}",
            "hostname": wanted["hostname"],
            "unprivileged": wanted["unprivileged"],
            "features": "nesting=1" if wanted["nesting"] else None,
            "tags": ";".join(wanted["tags"]),
            **{name: wanted[name] for name in ("cores", "memory", "swap", "onboot", "protection")},
            **{name: wanted[name] or None for name in ("nameserver", "searchdomain", "startup")},
            **{f"net{number}": config.network(*item) for number, item in enumerate(sorted(wanted["networks"].items()))},
        }
        for _ in range(RACES):
            vmid = int(wanted["vmid"] or self.client.get("cluster/nextid"))
            data = {"mark": config.sealed(wanted["mark"], vmid), "records": self.records}
            params |= {"vmid": vmid, "description": config.described({}, data)}
            try:
                self._post(node, params)
                return
            except ApiError as error:
                taken = "already exists" in f"{error.summary} {error.detail}"
                if not taken or wanted["vmid"]:
                    raise
        raise Refused(f"{RACES} ids in a row were taken by others", "", "try again")

    def _post(self, node: str, params: dict[str, Any]) -> None:
        try:
            tasks.wait(self.client, self.client.post(f"nodes/{node}/lxc", **params))
        except Denied as denied:
            if "tag" not in denied.detail or "tags" not in params:
                raise
            params.pop("tags")  # the mark is enough
            tasks.wait(self.client, self.client.post(f"nodes/{node}/lxc", **params))

    def _change(self, now: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        guest, changed, gone = self._there(), {}, []
        for name in PLAIN:
            if after[name] != now[name]:
                if after[name] in ("", None):
                    gone.append(name)
                else:
                    changed[name] = after[name]
        if after["tags"] != now["tags"]:
            changed["tags"] = ";".join(after["tags"])
        nets = {key: config.properties(str(value)) for key, value in guest.config.items() if key.startswith("net")}
        keys = {pairs.get("name"): key for key, pairs in nets.items()}
        for name in sorted(now["networks"].keys() | after["networks"].keys()):
            if name not in after["networks"]:
                gone.append(keys[name])
            elif after["networks"][name] != now["networks"].get(name):
                key = keys.get(name) or next(f"net{n}" for n in range(32) if f"net{n}" not in guest.config)
                changed[key] = config.network(name, after["networks"][name])
        if gone:
            changed["delete"] = ",".join(gone)
        self.guests.tell(guest, self.records, **changed)
        if after["disk"] > now["disk"]:
            self._grow("rootfs", after["disk"])

    def _grow(self, disk: str, size: int) -> None:
        words = f"{-(-size // 2**20)}M"
        tasks.wait(self.client, self.client.put(f"{self._there().path}/resize", disk=disk, size=words))

    def _remove(self) -> None:
        guest = self._there()
        volumes = [each for each in config.mounts(guest.config).values() if not each["volume"].startswith("/")]
        if volumes:
            raise Untouched(
                f"container {guest.vmid} has the volume {volumes[0]['id']}, which would be deleted with it",
                "",
                "write on_destroy: delete at its share and use --delete-data, or move it with `pct move-volume`",
            )
        if guest.running:
            tasks.wait(self.client, self.client.post(f"{guest.path}/status/stop"))
        tasks.wait(self.client, self.client.delete(guest.path, purge=1))

    def _volume(self, op: Mapping[str, Any], now: Any) -> None:
        guest, after = self._there(), op["after"]
        if after is None:
            found = guest.told.get("volumes", {}).get(now["path"], {}).get("found")
            self.guests.tell(guest, self.records, delete=now["key"])
            if not found or op["options"].get("delete_data"):
                self._free(now["id"])
            return
        if now is None:
            key = self._free_key()
            spare = self._spare(after["path"])
            volume = spare or f"{after['volume']}:{config.gibibytes(after['size'])}"
        else:
            key, volume, spare = now["key"], now["id"], ""
        pairs = {"volume": volume, "mp": after["path"], "backup": after["backup"], "ro": after["readonly"] or None}
        size = f"{now['size'] >> 20}M" if now else None
        self.guests.tell(guest, self.records, None, **{key: config.text({**pairs, "size": size}, "volume")})
        if now is None:
            self._remember(after["path"], bool(spare))
        elif after["size"] > now["size"]:
            self._grow(key, after["size"])

    def _spare(self, path: str) -> str:
        """The volume that was mounted there before somebody took it off: its data is what the share has."""
        guest = self._there()
        known = guest.told.get("volumes", {}).get(path, {}).get("id", "")
        unused = {value for key, value in guest.config.items() if key.startswith("unused")}
        return str(known) if known in unused else ""

    def _remember(self, path: str, found: bool) -> None:
        """Which volume a mount point has got; one that was found is not deleted when the step is undone."""
        guest = self.guests.again(self._there())
        mount = config.mounts(guest.config).get(path) if guest else None
        if guest and mount:
            volumes = {**guest.told.get("volumes", {}), path: {"id": mount["id"], "found": found}}
            self.guests.tell(guest, self.records, volumes=volumes)

    def _free(self, volume: str) -> None:
        """A volume that was detached stands as `unusedN` until that is deleted, too."""
        guest = self.guests.again(self._there())
        for key, value in guest.config.items() if guest else ():
            if key.startswith("unused") and value == volume:
                self.client.put(f"{self._there().path}/config", delete=key)

    def _bind(self, op: Mapping[str, Any], now: Any) -> None:
        """A token may take a bind mount away, but not make one."""
        guest, after = self._there(), op["after"]
        if after is None:
            self.guests.tell(guest, self.records, delete=now["key"])
            return
        key = now["key"] if now else self._free_key()
        pairs = {"volume": after["volume"], "mp": after["path"], "ro": after["readonly"] or None}
        told = self.guests.description(guest, self.records)
        change = (
            "--digest",
            str(guest.config["digest"]),
            "--description",
            told,
            f"--{key}",
            config.text(pairs, "volume"),
        )
        self.nodes.pct(guest.node, "set", str(guest.vmid), *change)

    def _idmap(self, op: Mapping[str, Any], now: Any) -> None:
        before, after = (state["map"] if state else [] for state in (now, op["after"]))
        self._raw([f"lxc.idmap: {line}" for line in before], [f"lxc.idmap: {line}" for line in after])
        if self._there().running:
            self._stop()
            tasks.wait(self.client, self.client.post(f"{self._there().path}/status/start"))

    def _entry(self, op: Mapping[str, Any], now: Any) -> None:
        path = op["name"].partition(":")[2]
        before, after = ([config.entry(state["source"], path)] if state else [] for state in (now, op["after"]))
        self._raw(before, after)

    def _raw(self, before: list[str], after: list[str]) -> None:
        """The lines first: the record of what was not done must not stand there."""
        guest = self._there()
        self.nodes.raw(guest.node, guest.vmid, before, after)
        now = self.guests.again(guest)
        if now is not None:
            self.guests.tell(now, self.records)

    def _free_key(self) -> str:
        return next(f"mp{number}" for number in range(256) if f"mp{number}" not in self._there().config)

    def _power(self, op: Mapping[str, Any], now: Any) -> None:
        guest = self._there()
        if op["after"] is not None:
            answer = self.client.post(f"{guest.path}/status/start")
            tasks.wait(self.client, answer)
        else:
            self._stop()
        now = self.guests.again(guest)  # what was pending has been done
        if now is not None:
            self.guests.tell(now, self.records)

    def _stop(self) -> None:
        answer = self.client.post(f"{self._there().path}/status/shutdown", timeout=SHUTDOWN, forceStop=1)
        tasks.wait(self.client, answer)
