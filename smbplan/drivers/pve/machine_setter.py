"""Brings a virtual machine of a gateway from one state to another: clone, change, park, remove, start."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from smbplan.drivers.agent.core import Refused, Untouched
from smbplan.drivers.pve import config, machine_templates, machines, tasks
from smbplan.drivers.pve.boot import Boot
from smbplan.drivers.pve.errors import ApiError
from smbplan.drivers.pve.guests import Guest, Guests
from smbplan.drivers.pve.machine_templates import Template
from smbplan.drivers.pve.nodes import Nodes
from smbplan.drivers.pve.tagged import Tagged

CLONING = 3600.0  # seconds; a full clone copies the whole disk
SHUTDOWN, BRIEF = 60, 10  # seconds that a VM has to end by itself
CLOUD_INIT = ("address", "gateway", "address6", "gateway6", "hostname", "nameserver", "searchdomain", "ssh_keys")
PLAIN = {"hostname": "name", "nameserver": "nameserver", "searchdomain": "searchdomain", "startup": "startup",
         "cores": "cores", "memory": "memory", "balloon": "balloon", "onboot": "onboot", "protection": "protection",
         }  # fmt: skip


def _of_network(state: Mapping[str, Any], name: str) -> Any:
    """What cloud-init sets, of a state of a machine."""
    return state[name] if name in state else state["networks"].get(machines.INTERFACE, {}).get(name)


class MachineSetter(Tagged):
    """Raises ApiError, Refused or Untouched."""

    def __init__(self, guests: Guests, nodes: Nodes, gateway: str, guest: Guest | None) -> None:
        super().__init__(guests, gateway, guest)
        self.nodes = nodes

    def set(self, op: Mapping[str, Any], now: Any) -> None:
        self.records[op["address"]] = op["record"]
        by_type: dict[str, Callable[[Mapping[str, Any], Any], None]] = {
            "machine": self._machine,
            "disk": self._disk,
            "virtiofs": self._virtiofs,
            "mapping": self._mapping,
            "power": self._power,
        }
        by_type[op["type"]](op, now)

    def _machine(self, op: Mapping[str, Any], now: Any) -> None:
        after = op["after"]
        if after is None:
            self._remove()
        elif self.guest is None:
            self._create(after, op["options"])
        else:
            self._change(now, after)

    def _create(self, wanted: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        template = machine_templates.chosen(self.client, wanted["node"], options["template"])
        node = wanted["node"] or template.node
        vmid = self._cloned(template, node, wanted, options["clone"] == "full")
        with self._wholly(node, vmid):
            self.guest = self.guests.at(node, "qemu", vmid)
            now = machines.machine(self._there().config, node, vmid)
            self._change({**now, "pool": wanted["pool"]}, wanted)

    def _cloned(self, template: Template, node: str, wanted: Mapping[str, Any], full: bool) -> int:
        """The id of a new clone."""

        def make(vmid: int) -> None:
            with self._wholly(node, vmid):
                upid = self._clone(template, node, vmid, wanted, full)
                self.warnings += tasks.wait(self.client, upid, CLONING)

        return self._numbered(wanted["vmid"], make)

    def _clone(self, template: Template, node: str, vmid: int, wanted: Mapping[str, Any], full: bool) -> Any:
        """The task. From its start on the id is ours, by the mark; `making` says that the rest is still to come."""
        told = {"mark": config.sealed(wanted["mark"], vmid), "records": self.records, "making": True}
        given = {
            "newid": vmid,
            "name": wanted["hostname"],
            "description": config.described({}, told),
            "full": full,
            "storage": wanted["storage"] if full else None,
            "target": node if node != template.node else None,
            "pool": wanted["pool"] or None,
        }
        return self.client.post(f"nodes/{template.node}/qemu/{template.vmid}/clone", **given)

    @contextmanager
    def _wholly(self, node: str, vmid: int) -> Iterator[None]:
        """A VM that can't be finished goes again, with its disks, if it is what was begun here."""
        try:
            yield
        except (ApiError, Refused) as error:
            left = self._discarded(node, vmid)
            error.hint = "; ".join(filter(None, [error.hint, left]))
            raise

    def _discarded(self, node: str, vmid: int) -> str:
        """What a person has to do where that fails, too."""
        try:
            there = self.guests.at(node, "qemu", vmid)
            begun = there is not None and self.guests.is_of(there, self.gateway) and there.told.get("making")
            if there is not None and begun:
                if there.protected:
                    self.client.put(f"{there.path}/config", protection=False)
                tasks.wait(self.client, self.client.delete(there.path, purge=1))
            self.guest = None
        except ApiError as error:
            return f"`qm destroy {vmid} --purge` on {node} removes what is left of it ({error.summary})"
        return ""

    def _change(self, now: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        after = {**{name: now[name] for name in ("sockets", "ciuser")}, **after}  # plans of before don't know them
        if after["cores"] % after["sockets"]:
            after["sockets"] = 1
        changed, gone = self._plain(now, after)
        more: dict[str, Any] = {"making": False, "late": self._late(now, after)}
        if "agent" not in self._there().config:
            changed["agent"] = "enabled=1"
        old, new = (state["networks"].get(machines.INTERFACE) for state in (now, after))
        if new is None and old is not None:
            gone += ["net0", *(["ipconfig0"] if "ipconfig0" in self._there().config else [])]
        elif new is not None:
            mac = new.get("mac") or (old or {}).get("mac")
            if old is None or any(new.get(key) != old.get(key) for key in (*machines.CARD, "mac")):
                changed["net0"] = machines.card(str(self._there().config.get("net0", "")), {**new, "mac": mac})
            lease, there = machines.lease(new), str(self._there().config.get("ipconfig0", ""))
            if lease and lease != machines.lease(old or {}):
                changed["ipconfig0"] = lease
            elif there and not lease:
                gone.append("ipconfig0")
        if not machines.has_cloud_init(self._there().config):
            changed["ide2"] = f"{after['storage']}:cloudinit"
        if gone:
            changed["delete"] = ",".join(gone)
        if after["disk"] > now["disk"]:
            self._grow(machines.root_disk(self._there().config), after["disk"])
        with self._pooled(now["pool"], after["pool"]):
            self._told(now["tags"], after["tags"], changed, more)

    def _plain(self, now: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Settings of one value each: new values, and keys that go."""
        changed: dict[str, Any] = {}
        gone: list[str] = []
        for ours, theirs in PLAIN.items():
            if after[ours] == now[ours]:
                continue
            if after[ours] in ("", None):
                gone.append(theirs)
            else:
                changed[theirs] = after[ours]
        if "cores" in changed or after["sockets"] != now["sockets"]:
            changed |= {"sockets": after["sockets"], "cores": after["cores"] // after["sockets"]}
        if after["ssh_keys"] != now["ssh_keys"]:
            if after["ssh_keys"]:
                changed["sshkeys"] = machines.ssh_keys(after["ssh_keys"])
            else:
                gone.append("sshkeys")
        if after["ciuser"] != now["ciuser"]:
            changed |= {"ciuser": after["ciuser"]} if after["ciuser"] else {}
            gone += [] if after["ciuser"] else ["ciuser"]
        return changed, gone

    def _late(self, now: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
        """What a running VM has otherwise until its next start, as cloud-init told it; Proxmox doesn't list that."""
        guest = self._there()
        if not guest.running:
            return {}
        was = guest.late
        for name in CLOUD_INIT:
            has = was.get(name, _of_network(now, name))
            was.pop(name, None)
            if has != _of_network(after, name):
                was[name] = has
        return {"pid": guest.pid, "was": was} if was else {}

    def _remove(self) -> None:
        guest = self._there()
        making = guest.told.get("making")
        data = [] if making else [*machines.further(guest.config), *machines.unused(guest.config)]
        if data:
            raise Untouched(
                f"VM {guest.vmid} has the disk {data[0]}, which would be deleted with it",
                "",
                "write on_destroy: delete at its share and use --delete-data, or move it with `qm disk move`",
            )
        if guest.running:
            self._wait(self.client.post(f"{guest.path}/status/stop"))
        if guest.protected:  # made so by the step that is undone: a plan would have refused it
            self.client.put(f"{guest.path}/config", protection=False)
        self._wait(self.client.delete(guest.path, purge=1))

    def _disk(self, op: Mapping[str, Any], now: Any) -> None:
        guest, after, serial = self._there(), op["after"], op["name"].partition(":")[2]
        if after is None:
            with self._unprotected():
                self.client.put(f"{guest.path}/unlink", idlist=now["key"], force=True)
            self._again()
            self.guests.tell(self._there(), self.records)
            return
        if after["size"] is None:  # it was off when the run began
            self._take_off(now["key"])
            return
        if now is None or now["size"] is None:
            self._attach(serial, after, now["id"] if now else "")
            return
        if after["size"] > now["size"]:
            self._grow(now["key"], after["size"])
        with self._unprotected():
            there = self._there()
            value: dict[str, Any] = {}
            if after["backup"] != now["backup"]:
                value = {now["key"]: machines.disk_changed(str(there.config[now["key"]]), after)}
            self.guests.tell(there, self.records, **value)

    def _attach(self, serial: str, wanted: Mapping[str, Any], volume: str) -> None:
        """A new disk, or the one that was taken off and has the share's data."""
        key = machines.free(self._there().config, "scsi")
        volume = volume or f"{wanted['volume']}:{config.gibibytes(wanted['size'])}"
        given: dict[str, Any] = {key: machines.disk_text(serial, wanted, volume)}
        with self._unprotected():
            self.guests.tell(self._there(), self.records, **given)
        self._again()
        found = machines.disk(self._there().config, serial) or {"size": wanted["size"]}
        try:
            if found["size"] < wanted["size"]:
                self._grow(key, wanted["size"])
        except (ApiError, Refused):
            self._take_off(key)
            raise
        self.guests.tell(self._there(), self.records)  # with the volume that it is

    def _take_off(self, key: str) -> None:
        """The volume stays, unused."""
        with self._unprotected():
            self.guests.tell(self._there(), self.records, delete=key)

    def _virtiofs(self, op: Mapping[str, Any], now: Any) -> None:
        guest, mapping = self._there(), op["name"].partition(":")[2]
        if op["after"] is None:
            self.guests.tell(guest, self.records, delete=now["key"])
            return
        key = now["key"] if now else machines.free(guest.config, "virtiofs")
        device: dict[str, Any] = {key: f"{mapping},cache=auto,expose-acl=1,expose-xattr=1"}
        self.guests.tell(guest, self.records, **device)
        if not guest.running:
            return
        answers = op["options"].get("answers") or {}
        self._stop()  # it is no device that can be plugged in
        try:
            self._start(answers)
        except (ApiError, Refused) as error:
            try:
                self._without(op["address"], key, answers)
            except (ApiError, Refused) as second:
                error.hint = "; ".join(
                    filter(None, [error.hint, f"the VM does not start without it: {second.summary}"])
                )
            raise

    def _without(self, address: str, key: str, answers: Mapping[str, Any]) -> None:
        """Started without a device, so that what is served already goes on."""
        self._again()
        if self._there().running:  # it may have booted, and nobody in it answers
            self._wait(self.client.post(f"{self._there().path}/status/stop"))
            self._again()
        self.guests.tell(self._there(), {**self.records, address: None}, delete=key)
        self._start(answers)

    def _mapping(self, op: Mapping[str, Any], now: Any) -> None:
        after, name = op["after"], op["name"].partition(":")[2]
        if after is None:
            self.client.delete(f"cluster/mapping/dir/{name}")
        else:
            given = {
                "map": [f"node={node},path={path}" for node, path in sorted(after["nodes"].items())],
                "description": f"smbplan {config.sealed(after['mark'], name)}",
            }
            if now is None:
                self.client.post("cluster/mapping/dir", id=name, **given)
            else:
                self.client.put(f"cluster/mapping/dir/{name}", **given)
        self.guests.tell(self._there(), self.records)

    def _power(self, op: Mapping[str, Any], now: Any) -> None:
        guest = self._there()
        if op["after"] is not None:
            self.guests.tell(guest, self.records)
            self._start(op["options"].get("answers") or {})
        else:
            self._stop()
            self._again()
            self.guests.tell(self._there(), self.records)

    def _start(self, answers: Mapping[str, Any]) -> None:
        boot = Boot(self.client, self.nodes, self._there(), answers)
        with boot.watched():
            self._wait(self.client.post(f"{self._there().path}/status/start"))
            self.warnings += boot.wait()

    def _stop(self) -> None:
        """One whose agent is silent may not have booted at all, and isn't given much time."""
        guest = self._there()
        try:
            silent = not Boot(self.client, self.nodes, guest, {}).answers()
        except ApiError:  # it has none, or we may not ask it; Proxmox asks in its own way
            silent = False
        timeout = BRIEF if silent else SHUTDOWN
        self._wait(self.client.post(f"{guest.path}/status/shutdown", timeout=timeout, forceStop=1))
