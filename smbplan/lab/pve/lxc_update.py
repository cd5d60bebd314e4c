"""Changing a container's configuration: what applies at once, what waits, and what happens to its volumes."""

import re
from collections.abc import Mapping

from smbplan.lab.pve import datacenter, formats, guests, schema, storages
from smbplan.lab.pve.errors import bad_params, fail
from smbplan.lab.pve.guestconf import GuestConfig, sort_of
from smbplan.lab.pve.lxc_params import CONFIG, NEW_VOLUME, is_volume_key, volume_type
from smbplan.lab.pve.site import Site

_REQUIRED = ("hostname", "memory", "rootfs")
_AT_ONCE = ("description", "hostname", "lock", "onboot", "protection", "startup", "tags", "template", "hookscript")
_BY_RESTART = ("arch", "cmode", "console", "debug", "entrypoint", "env", "features", "ostype", "timezone", "tty")


def normalise(site: Site, key: str, value: str) -> str:
    """The value as it is stored: property strings in the server's order, a MAC address added, tags tidied."""
    if re.fullmatch(r"net\d+", key):
        net = schema.parse_props("net", value, key)
        net.setdefault("hwaddr", guests.new_mac(site))
        net["hwaddr"] = net["hwaddr"].upper()
        net.setdefault("type", "veth")
        return schema.print_props("net", net)
    if is_volume_key(key):
        return schema.print_props(sort_of(key), schema.parse_props(sort_of(key), value, key))
    if key == "tags":
        return datacenter.tidy_tags(site, value)
    if key in ("nameserver", "searchdomain"):
        return " ".join(formats.split_list(value))
    if key == "hookscript" and not storages.path_of(site, value).exists():
        raise fail(f"script '{value}' does not exist")
    return value


def parse_volume(key: str, value: str) -> dict[str, str]:
    """A mount point's properties."""
    return schema.parse_props(sort_of(key), value, key)


def allocate(site: Site, vmid: int, key: str, value: str) -> str:
    """Make the volume that `storage:size` asks for; a volume that is there gets its size noted."""
    mount = parse_volume(key, value)
    new = NEW_VOLUME.fullmatch(mount["volume"])
    if not new:
        if volume_type(mount["volume"]) == "volume" and "size" not in mount:
            image = site.backend.path(mount["volume"])
            if image.is_file():
                mount["size"] = formats.print_size(image.stat().st_size)
        return schema.print_props(sort_of(key), mount)
    size = int(float(new[2]) * 2**30)
    mount["volume"] = site.backend.allocate(storages.usable(site, new[1]), vmid, size or None)
    mount["size"] = formats.print_size(size)
    return schema.print_props(sort_of(key), mount)


def check_storages(site: Site, values: Mapping[str, str]) -> None:
    """500 for a volume on a storage that can't be used."""
    for key, value in values.items():
        if is_volume_key(key):
            new = NEW_VOLUME.fullmatch(parse_volume(key, value)["volume"])
            if new:
                storages.usable(site, new[1])


def _own_volume(vmid: int, volume: str) -> bool:
    return volume_type(volume) == "volume" and storages.owner_of(volume) == vmid


def _keep_unused(config: GuestConfig, vmid: int, volume: str) -> None:
    if not _own_volume(vmid, volume):
        return
    used = {parse_volume(k, v)["volume"] for k, v in config.values.items() if sort_of(k) in ("mp", "rootfs", "unused")}
    if volume not in used:
        config.keep_unused(volume)


def _delete(site: Site, vmid: int, config: GuestConfig, key: str) -> None:
    old = config.values.pop(key, None)
    if old is None:
        return
    if sort_of(key) == "unused":
        site.backend.free(old.partition(",")[0])
    elif is_volume_key(key):
        _keep_unused(config, vmid, parse_volume(key, old)["volume"])


def _set(vmid: int, config: GuestConfig, key: str, value: str) -> None:
    old = config.values.get(key)
    config.values[key] = value
    if is_volume_key(key):
        volume = parse_volume(key, value)["volume"]
        for unused in [k for k, v in config.values.items() if sort_of(k) == "unused" and v == volume]:
            del config.values[unused]
        if old is not None:
            _keep_unused(config, vmid, parse_volume(key, old)["volume"])


def apply_pending(site: Site, vmid: int, config: GuestConfig) -> None:
    """All that waits becomes so: for a container that doesn't run."""
    for key in config.doomed:
        _delete(site, vmid, config, key)
    for key, value in config.pending.items():
        if key != "delete":
            _set(vmid, config, key, allocate(site, vmid, key, value) if is_volume_key(key) else value)
    config.pending.clear()


def _apply_hot(site: Site, vmid: int, config: GuestConfig, keys: list[str]) -> dict[str, str]:
    """Apply to a running container what can be; the rest stays pending. Errors by key."""
    doomed = config.doomed
    now = [key for key in keys if key in _AT_ONCE or sort_of(key) == "unused"]
    asked = [
        key for key in keys if key not in now and key not in _BY_RESTART and not (key in doomed and is_volume_key(key))
    ]
    for key in asked:
        if is_volume_key(key) and key not in doomed:
            config.pending[key] = allocate(site, vmid, key, config.pending[key])
    before = dict(config.values)
    after = {key: value for key, value in before.items() if not (key in doomed and key in now + asked)}
    after |= {key: config.pending[key] for key in now + asked if key not in doomed}
    errors: dict[str, str] = {}
    late = set(asked)
    try:
        if asked or "hostname" in now:
            late = set(site.backend.changed(vmid, before, after)) & set(asked)
    except Exception as error:
        errors = {key: f"unable to hotplug {key}: {str(error).rstrip()}\n" for key in asked[:1]}
    for key in now + [key for key in asked if key not in late]:
        if key in doomed:
            _delete(site, vmid, config, key)
            doomed.remove(key)
        else:
            _set(vmid, config, key, config.pending.pop(key))
    config.set_doomed(doomed)
    return errors


def update(
    site: Site,
    vmid: int,
    config: GuestConfig,
    values: Mapping[str, str],
    deleted: list[str],
    reverted: list[str],
    running: bool,
) -> dict[str, str]:
    """Change the configuration (not stored here); errors of single keys, for a 400 after it is stored."""
    for key in deleted:
        if schema.lookup(CONFIG, key) is None:
            raise bad_params({"delete": f"unknown option '{key}'"})
        if key in _REQUIRED:
            raise fail(f"unable to delete required option '{key}'")
    if "unprivileged" in [*values, *deleted]:
        raise fail("unable to modify read-only option: 'unprivileged'")
    for key in deleted:
        if is_volume_key(key) or sort_of(key) == "unused":
            guests.check_protection(config, f"can't remove CT {vmid} drive '{key}'")
    for key in sorted(values):
        if is_volume_key(key):
            guests.check_protection(config, f"can't update CT {vmid} drive '{key}'")
    stored = {key: normalise(site, key, value) for key, value in values.items()}
    check_storages(site, stored)
    doomed = [key for key in config.doomed if key not in reverted and key not in stored]
    for key in [*reverted, *deleted]:
        config.pending.pop(key, None)
    doomed += [key for key in deleted if key in config.values and key not in doomed]
    config.pending |= stored
    config.set_doomed(doomed)
    if not running:
        apply_pending(site, vmid, config)
        return {}
    errors = _apply_hot(site, vmid, config, [*(k for k in deleted if k in doomed), *stored])
    for key in [key for key, value in config.pending.items() if config.values.get(key) == value]:
        del config.pending[key]
    return errors
