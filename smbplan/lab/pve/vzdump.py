"""Backups on demand: the lock, the log and an archive of volumes that are folders."""

import subprocess
import time
from pathlib import Path

from smbplan.lab.pve import backup, formats, guests, status, storages, tasks
from smbplan.lab.pve.errors import denied, fail
from smbplan.lab.pve.lxc_params import is_volume_key, volume_type
from smbplan.lab.pve.lxc_update import parse_volume
from smbplan.lab.pve.routing import Call, route
from smbplan.lab.pve.schema import BOOL, Param
from smbplan.lab.pve.site import Site

_ENDING = {"zstd": "tar.zst", "gzip": "tar.gz", "1": "tar.gz", "lzo": "tar.lzo"}


@route("POST", "/nodes/{node}/vzdump", {**backup.VZDUMP, "job-id": Param(pattern=r"\S+"), "stdout": BOOL})
def create(call: Call) -> str:
    """Back up containers of this node, one after the other."""
    site, params = call.site, call.params
    backup.check_root_only(call)
    if any(name in params for name in ("bwlimit", "performance", "ionice")):
        call.rights.check("/", ["Sys.Modify"])
    backup.check_selection(params)
    storage = str(params.get("storage", "local"))
    call.rights.check(f"/storage/{storage}", ["Datastore.AllocateSpace"])
    ids = [int(vmid) for vmid in formats.split_list(params.get("vmid", ""))] or guests.ids_of(site)
    for vmid in ids:
        if not call.rights.has(f"/vms/{vmid}", ["VM.Backup"]):
            raise denied(f"/vms/{vmid}, VM.Backup")
    text = " ".join(f"--{key} {params[key]}" for key in ("storage", "mode", "compress") if key in params)

    def work(log: tasks.Log) -> None:
        listed = " ".join(map(str, ids))
        log(f"INFO: starting new backup job: vzdump {listed} --node {site.node} {text}".rstrip())
        failed = [vmid for vmid in ids if not _one(site, vmid, storage, dict(params), log)]
        log(f"INFO: Backup job finished {'with errors' if failed else 'successfully'}")
        if failed:
            raise fail("job errors")

    return tasks.spawn(site, "vzdump", str(ids[0]) if len(ids) == 1 else "", call.user, work)


def _one(site: Site, vmid: int, storage: str, params: dict[str, str], log: tasks.Log) -> bool:
    begin = time.gmtime()
    log(f"INFO: Starting Backup of VM {vmid} (lxc)")
    log(f"INFO: Backup started at {time.strftime('%Y-%m-%d %H:%M:%S', begin)}")
    try:
        _archive(site, vmid, storage, params, begin, log)
    except (Exception, tasks.Interrupted) as error:
        log(f"ERROR: Backup of VM {vmid} failed - {getattr(error, 'message', error)}")
        log(f"INFO: Failed at {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}")
        return False
    log(f"INFO: Finished Backup of VM {vmid}")
    return True


def _archive(site: Site, vmid: int, name: str, params: dict[str, str], begin: time.struct_time, log: tasks.Log) -> None:
    running = bool(status.live(site, vmid)["running"])
    with guests.locked(site, vmid):
        config = guests.load(site, vmid)
        guests.check_lock(config)
        log(f"INFO: status = {'running' if running else 'stopped'}")
        log(f"INFO: backup mode: {params.get('mode', 'snapshot') if running else 'stop'}")
        log("INFO: ionice priority: 7")
        log(f"INFO: CT Name: {config.values.get('hostname')}")
        config.values["lock"] = "backup"
        guests.store(site, vmid, config)
    try:
        folders = _included(site, config.values, log)
        dump = Path(storages.usable(site, name)["path"]) / storages.FOLDERS["backup"]
        dump.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y_%m_%d-%H_%M_%S", begin)
        goal = dump / f"vzdump-lxc-{vmid}-{stamp}.{_ENDING.get(params.get('compress', '0'), 'tar')}"
        log(f"INFO: creating vzdump archive '{goal}'")
        wait = getattr(site.backend, "wait", None)
        if wait:
            wait()
        sources = [argument for folder in folders for argument in ("-C", str(folder.parent), folder.name)]
        subprocess.run(["tar", "--auto-compress", "-cf", str(goal), *sources], check=True, capture_output=True)
    finally:
        with guests.locked(site, vmid):
            config = guests.load(site, vmid)
            config.values.pop("lock", None)
            guests.store(site, vmid, config)


def _included(site: Site, values: dict[str, str], log: tasks.Log) -> list[Path]:
    """The root and volumes with `backup=1`; never what is no volume."""
    found = []
    for key in sorted((key for key in values if is_volume_key(key)), key=lambda key: (key != "rootfs", key)):
        mount = parse_volume(key, values[key])
        place = mount.get("mp", "/")
        kind = volume_type(mount["volume"])
        if kind != "volume":
            log(f"INFO: excluding {kind} mount point {key} ('{place}') from backup (not a volume)")
        elif key != "rootfs" and mount.get("backup") != "1":
            log(f"INFO: excluding volume mount point {key} ('{place}') from backup (disabled)")
        else:
            log(f"INFO: including mount point {key} ('{place}') in backup")
            found.append(storages.path_of(site, mount["volume"]))
    return found
