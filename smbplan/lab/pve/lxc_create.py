"""Creating containers."""

import re
from contextlib import suppress
from pathlib import Path

from smbplan.lab.pve import guests, schema, status, storages, tasks, usercfg
from smbplan.lab.pve.acl import Rights
from smbplan.lab.pve.errors import denied, fail
from smbplan.lab.pve.guestconf import GuestConfig
from smbplan.lab.pve.lxc_params import CONFIG, CREATE, NEW_VOLUME, OS_TYPES, is_volume_key, volume_type
from smbplan.lab.pve.lxc_rights import Changes
from smbplan.lab.pve.lxc_update import allocate, normalise, parse_volume
from smbplan.lab.pve.routing import Call, route
from smbplan.lab.pve.site import Site

_DEFAULTS = {"arch": "amd64", "memory": "512", "swap": "512"}


@route("POST", "/nodes/{node}/lxc", CREATE)
def create(call: Call) -> str:
    """The order of the checks is the real one; the id is taken before the answer goes out."""
    site, rights, vmid = call.site, call.rights, int(call.params["vmid"])
    unprivileged = bool(call.take("unprivileged", int(site.dialect >= 9)))
    if not unprivileged and site.dialect >= 9:
        rights.check("/", ["Sys.Modify"])
    guests.check_unused(site, vmid)
    keys = call.take("ssh-public-keys", "")
    guests.check_ssh_keys(keys)
    pool = call.take("pool")
    if pool is not None:
        rights.check_pool_exists(pool)
    if not rights.has(f"/vms/{vmid}", ["VM.Allocate"]) and not (pool and rights.has(f"/pool/{pool}", ["VM.Allocate"])):
        raise denied()
    storage = call.take("storage", "local")
    options = {key: schema.as_text(call.raw[key]) for key in call.params if schema.lookup(CONFIG, key)}
    Changes(site, rights, vmid, pool, None).check(options, [], unprivileged)
    template = str(call.params["ostemplate"])
    storages.check_access(rights, template, "vztmpl")
    config = _config(site, rights, storage, options)
    if unprivileged:
        config["unprivileged"] = "1"
    config.setdefault("hostname", f"CT{vmid}")
    config.setdefault("ostype", next((name for name in OS_TYPES if f"/{name}-" in template), "debian"))
    try:
        guests.claim(site, vmid)
    except Exception as error:
        raise fail(str(error)) from None
    start = bool(call.take("start"))

    def work(log: tasks.Log) -> None:
        _work(site, vmid, config, template, log)
        _provide(site, vmid, call.params.get("password"), keys)
        if pool is not None:
            with usercfg.changing(site.root) as users:
                users.pools[pool].vms.add(vmid)
        if start:
            site.backend.start(vmid, log)

    return tasks.spawn(site, "vzcreate", str(vmid), call.user, work, lambda: status.publish(site))


def _config(site: Site, rights: Rights, storage: str, options: dict[str, str]) -> dict[str, str]:
    """The values to be stored, volumes still as `storage:size`."""
    volumes = {}
    for key in [key for key in options if is_volume_key(key)]:
        value = options.pop(key)
        volumes[key] = f"{storage}:{value}" if re.fullmatch(r"\d+(\.\d+)?(,.*)?", value) else value
    for key in [key for key in options if key.startswith("unused")]:
        del options[key]
    if volumes and "rootfs" not in volumes:
        raise fail("mount points configured, but 'rootfs' not set - aborting")
    volumes.setdefault("rootfs", f"{storage}:4")
    for key, value in volumes.items():
        volume = parse_volume(key, value)["volume"]
        if volume_type(volume) == "volume":
            storages.for_containers(site, rights, storages.split_volid(volume)[0])
        elif not rights.is_root:
            raise fail("Only root can pass arbitrary filesystem paths.")
    stored = {key: normalise(site, key, value) for key, value in {**options, **volumes}.items()}
    return {**_DEFAULTS, **stored}


def _archive(site: Site, template: str) -> Path:
    path = Path(template) if template.startswith("/") else storages.path_of(site, template)
    if not path.is_file():
        raise fail(f"volume '{template}' does not exist")
    return path


def _work(site: Site, vmid: int, config: dict[str, str], template: str, log: tasks.Log) -> None:
    made: list[str] = []
    try:
        archive = _archive(site, template)
        for key in sorted(key for key in config if is_volume_key(key)):
            mount = parse_volume(key, config[key])
            if not mount.get("mp", "/").startswith("/"):
                raise fail(f"{key}: mount point '{mount['mp']}' is not an absolute path")
            if NEW_VOLUME.fullmatch(mount["volume"]):
                config[key] = allocate(site, vmid, key, config[key])
                made.append(parse_volume(key, config[key])["volume"])
        guests.store(site, vmid, GuestConfig({**config, "lock": "create"}))
        site.backend.create(vmid, config, archive, log)
        if "nesting=1" not in config.get("features", ""):
            # All templates of the lab have systemd, of Debian 12.
            log.warn("Systemd 252 detected. You may need to enable nesting.")
        guests.store(site, vmid, GuestConfig(config))
    except BaseException as error:
        with suppress(Exception):
            site.backend.destroy(vmid)
        for volid in made:
            with suppress(Exception):
                site.backend.free(volid)
        guests.release(site, vmid)
        raise fail(f"unable to create CT {vmid} - {getattr(error, 'message', error)}") from None


def _provide(site: Site, vmid: int, password: str | None, keys: str) -> None:
    """Hand the root password and keys to a backend that can put them inside."""
    provide = getattr(site.backend, "provide", None)
    if provide and (password or keys):
        provide(vmid, password, keys)
