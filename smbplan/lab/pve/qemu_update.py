"""Changing a virtual machine's configuration: what applies at once, what waits, and what happens to its disks.

The order of things and the keys that can be plugged are those of qemu-server (`vmconfig_hotplug_pending`).
"""

import re
import subprocess
from collections.abc import Mapping

from smbplan.lab.pve import datacenter, formats, guests, qemu_drives, schema
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.guestconf import GuestConfig, sort_of
from smbplan.lab.pve.machine import Log
from smbplan.lab.pve.qemu_params import CONFIG, is_cloud_init, is_drive
from smbplan.lab.pve.site import Site

_AT_ONCE = (
    *("description", "hookscript", "lock", "migrate_downtime", "migrate_speed", "name", "onboot", "protection"),
    *("shares", "startup", "tags", "vmstatestorage", "cpuunits", "cpulimit"),
)
_HOTPLUG = "network,disk,usb"
_FIXED_NET = ("model", "macaddr", "queues", "mtu")
_FIXED_DRIVE = ("aio", "discard", "iothread", "queues", "product", "cache", "ssd", "vendor", "ro")
_HASHED = re.compile(r"\$(?:[156]|2[ay])(\$.+){2}")


def normalise(site: Site, key: str, value: str) -> str:
    """The value as it is stored; drives are left to `qemu_drives`."""
    if re.fullmatch(r"net\d+", key):
        net = schema.parse_props("qemu-net", value, key)
        net.setdefault("macaddr", guests.new_mac(site))
        return schema.print_props("qemu-net", net)
    if key == "vmgenid" and value == "1":
        return guests.new_uuid()
    if key == "cipassword" and not _HASHED.match(value):
        command = ["openssl", "passwd", "-5", "-stdin"]
        return subprocess.run(command, input=value, capture_output=True, text=True, check=True).stdout.strip()
    return value


def check_names(values: Mapping[str, str], deleted: list[str], reverted: list[str]) -> None:
    """400 for options that aren't there, or that are said twice."""
    for name, keys in (("revert", reverted), ("delete", deleted)):
        for key in keys:
            if key in values:
                raise bad_params({"delete": f"you can't use '-{key}' and -{name} {key}' at the same time"})
            if name == "delete" and key in reverted:
                raise bad_params({"revert": f"you can't use '-delete {key}' and -revert {key}' at the same time"})
            if schema.lookup(CONFIG, key) is None:
                raise bad_params({name: f"unknown option '{key}'"})


def check_memory(config: GuestConfig, values: Mapping[str, str]) -> None:
    """500 for a balloon that is larger than the memory."""
    if not values.keys() & {"memory", "balloon"}:
        return
    future = {**config.values, **config.pending, **values}
    memory = schema.parse_props("qemu-memory", future.get("memory", "512"), "memory")["current"]
    if int(future.get("balloon", "0")) > int(memory):
        raise fail("balloon value too large (must be smaller than assigned memory)")


class Update:
    """One change of the configuration of a machine, which the caller has locked and stores afterwards."""

    def __init__(self, site: Site, vmid: int, config: GuestConfig, log: Log, force: bool = False) -> None:
        self.site, self.vmid, self.config, self.log, self.force = site, vmid, config, log, force
        order = re.search(r"order=([^,]*)", config.values.get("boot", ""))
        self.order = formats.split_list(order[1]) if order else []

    def delete(self, keys: list[str]) -> list[str]:
        """Note what is to go; the keys that were there."""
        config, found = self.config, []
        doomed, forced = config.doomed, config.forced
        for key in keys:
            value = config.values.get(key, config.pending.get(key))
            if value is None:
                self.log(f"cannot delete '{key}' - not set in current configuration!")
                continue
            found.append(key)
            waiting = config.pending.pop(key, None)
            if key in self.order:
                self.order.remove(key)
                config.pending["boot"] = qemu_drives.print_order(self.order)
                found.append("boot")
            if sort_of(key) == "unused":
                guests.check_protection(config, f"can't remove unused disk '{value}'")
                qemu_drives.drop(self.site, self.vmid, config, key, value, True)
                del config.values[key]
                continue
            if is_drive(key):
                guests.check_protection(config, f"can't remove drive '{key}'")
                if waiting is not None:
                    qemu_drives.drop(self.site, self.vmid, config, key, waiting, False)
            if key == "tags":
                config.values.pop(key, None)
            elif key in config.values and key not in doomed:
                doomed.append(key)
                forced |= {key} if self.force else set()
        config.set_doomed(doomed, forced)
        return found

    def set(self, values: Mapping[str, str]) -> list[str]:
        """Note what is to be; new disks are made. The keys."""
        config, found = self.config, []
        for key, value in sorted(values.items()):
            found.append(key)
            if config.pending.get(key) == value:
                continue
            if is_drive(key):
                found += self._drive(key, value)
            elif key == "cipassword":
                config.values[key] = normalise(self.site, key, value)
            elif key == "tags":
                config.pending[key] = datacenter.tidy_tags(self.site, value)
            elif key == "boot":
                config.pending[key] = self._boot(value, values)
            else:
                config.pending[key] = normalise(self.site, key, value)
            config.set_doomed([name for name in config.doomed if name != key], config.forced)
        return found

    def _drive(self, key: str, value: str) -> list[str]:
        config = self.config
        if key in config.pending:
            qemu_drives.drop(self.site, self.vmid, config, key, config.pending[key], False)
        maker = qemu_drives.Maker(self.site, self.vmid, config, self.log)
        try:
            config.pending[key] = maker.provide(key, value)
        except Exception:
            maker.undo()
            raise
        drive = qemu_drives.parse(key, config.pending[key])
        medium = qemu_drives.is_cdrom(drive) and not qemu_drives.is_cloud_init(drive)
        if self.order and medium and key not in self.order:
            self.order.append(key)
            config.pending["boot"] = qemu_drives.print_order(self.order)
            return ["boot"]
        return []

    def _boot(self, value: str, values: Mapping[str, str]) -> str:
        order = schema.parse_props("qemu-boot", value, "boot").get("order")
        if not order:
            return value
        keys = formats.split_list(order)
        there = {*self.config.values, *self.config.pending, *values} - set(self.config.doomed)
        for key in keys:
            if key not in there:
                raise fail(f"invalid bootorder: device '{key}' does not exist'")
        return qemu_drives.print_order(keys)

    def apply(self, keys: list[str], running: bool) -> dict[str, str]:
        """Let all of it be so that can be; errors by key, for a 400 after it is stored."""
        config = self.config
        for key in [key for key, value in config.pending.items() if config.values.get(key) == value]:
            del config.pending[key]
        config.set_doomed([key for key in config.doomed if key in config.values], config.forced)
        errors: dict[str, str] = {}
        if not config.pending:
            pass
        elif running:
            errors = _Hotplug(self.site, self.vmid, config).apply(keys)
        else:
            apply_pending(self.site, self.vmid, config)
        qemu_drives.tidy(config)
        return errors


def apply_pending(site: Site, vmid: int, config: GuestConfig) -> None:
    """All that waits becomes so: for a machine that doesn't run."""
    forced = config.forced
    for key in config.doomed:
        old = config.values.pop(key, None)
        if old is not None and is_drive(key):
            qemu_drives.drop(site, vmid, config, key, old, key in forced)
    for key, value in config.pending.items():
        if key != "delete":
            _replace(site, vmid, config, key, value)
    config.pending.clear()
    qemu_drives.tidy(config)


def _replace(site: Site, vmid: int, config: GuestConfig, key: str, value: str) -> None:
    old = config.values.get(key)
    config.values[key] = value
    if old is None or not is_drive(key):
        return
    if qemu_drives.parse(key, old)["file"] != qemu_drives.parse(key, value)["file"]:
        qemu_drives.drop(site, vmid, config, key, old, False)


class _Hotplug:
    """What can be done with a machine while it runs."""

    def __init__(self, site: Site, vmid: int, config: GuestConfig) -> None:
        self.site, self.vmid, self.config = site, vmid, config
        text = config.values.get("hotplug", "1")
        parts = formats.split_list(_HOTPLUG if text == "1" else "" if text == "0" else text)
        self.features = set(parts)

    def apply(self, keys: list[str]) -> dict[str, str]:
        """Errors by key; what can't be applied stays pending."""
        config, forced = self.config, self.config.forced
        errors: dict[str, str] = {}
        chosen = []
        for key in [*config.doomed, *(key for key in config.pending if key != "delete")]:
            always = key in _AT_ONCE or is_cloud_init(key)
            try:
                if always or (key in keys and self._can(key, None if key in config.doomed else config.pending[key])):
                    chosen.append(key)
            except ValueError as error:
                errors[key] = f"hotplug problem - {error}\n"
        doomed = config.doomed
        after = {key: value for key, value in config.values.items() if key not in chosen or key not in doomed}
        after |= {key: config.pending[key] for key in chosen if key not in doomed}
        late: set[str] = set()
        plugged = [key for key in chosen if is_drive(key) or sort_of(key) == "net"]
        if plugged:
            try:
                late = set(self.site.machines.changed(self.vmid, dict(config.values), after))
            except Exception as error:
                late = set(plugged)
                errors[plugged[0]] = f"hotplug problem - {str(error).rstrip()}\n"
        for key in [key for key in chosen if key not in late or key not in plugged]:
            if key in doomed:
                doomed.remove(key)
                old = config.values.pop(key)
                if is_drive(key):
                    qemu_drives.drop(self.site, self.vmid, config, key, old, key in forced)
            else:
                _replace(self.site, self.vmid, config, key, config.pending.pop(key))
        config.set_doomed(doomed, forced)
        return errors

    def _can(self, key: str, new: str | None) -> bool:
        """Whether the key can be set so (None: be deleted) without a restart; ValueError if it can't be at all."""
        old, sort = self.config.values.get(key), sort_of(key)
        if key == "hotplug":
            return not re.search("cpu|memory", f"{old} {new}")
        if key == "tablet":
            return "usb" in self.features
        if key == "balloon":
            return (old != "0") if new is None else (old == "0") == (new == "0")
        if key == "agent":
            return old is not None and new is not None and _same_but(old, new, "qemu-agent", "fstrim_cloned_disks")
        if sort == "net":
            return self._net(key, old, new)
        return is_drive(key) and self._drive(key, old, new)

    def _net(self, key: str, old: str | None, new: str | None) -> bool:
        if "network" in self.features:
            return True
        if old is None or new is None:
            return False
        before, after = (schema.parse_props("qemu-net", text, key) for text in (old, new))
        return all(before.get(name) == after.get(name) for name in _FIXED_NET)

    def _drive(self, key: str, old: str | None, new: str | None) -> bool:
        if key in ("efidisk0", "tpmstate0"):
            return False
        plug = "disk" in self.features and sort_of(key) not in ("ide", "sata")
        if old is None or new is None:
            return plug
        before, after = qemu_drives.parse(key, old), qemu_drives.parse(key, new)
        if before.get("media", "disk") != after.get("media", "disk"):
            raise ValueError("unable to change media type")
        if qemu_drives.is_cdrom(before):
            return True
        if before["file"] != after["file"]:
            return "disk" in self.features
        return all(before.get(name) == after.get(name) for name in _FIXED_DRIVE)


def _same_but(old: str, new: str, kind: str, key: str) -> bool:
    before, after = (schema.parse_props(kind, text, kind) for text in (old, new))
    return all(before.get(name) == after.get(name) for name in {*before, *after} - {key})
