"""A disk image becomes a template of virtual machines on a node. qm(1)"""

import time
from collections.abc import Callable
from pathlib import Path

from smbplan.drivers.errors import ChannelError
from smbplan.drivers.pve import machine_templates, tasks, templates
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError
from smbplan.drivers.pve.machine_templates import Template
from smbplan.drivers.pve.templates import Place

IMPORT = 3600.0  # seconds; the disk is copied
RACES = 20  # ids that others may take before us
HARDWARE = {
    "memory": 512,
    "cores": 2,
    "ostype": "l26",
    "agent": "enabled=1",
    "serial0": "socket",
    "scsihw": "virtio-scsi-single",
    "boot": "order=scsi0",
}


def made(
    client: Client, place: Place, storage: str, file: Path, samba: str, progress: Callable[[str], None]
) -> Template:
    """A template of a qcow2 file, with its disk on a storage; `place` takes the upload, which goes again.

    Raises ApiError; then nothing of it is left, or the error says what.
    """
    progress(f"uploading it to {place.storage} of {place.node}")
    volume = templates.upload(client, place, file)
    try:
        progress(f"making a template of it on {storage} of {place.node}")
        return _made(client, place, storage, volume, samba)
    finally:
        templates.dropped(client, place, volume)


def _made(client: Client, place: Place, storage: str, volume: str, samba: str) -> Template:
    day = time.strftime("%Y-%m-%d", time.gmtime())
    told = {"version": machine_templates.VERSION, "samba": samba, "built": day}
    given = {
        **HARDWARE,
        "name": f"debian-samba-{day.replace('-', '')}",
        "description": machine_templates.comment(told),
        "scsi0": f"{storage}:0,import-from={volume},discard=on,iothread=1",
        "ide2": f"{storage}:cloudinit",
    }
    vmid = _created(client, place.node, given)
    try:
        tasks.wait(client, client.post(f"nodes/{place.node}/qemu/{vmid}/template"))
    except BaseException as error:
        left = _discarded(client, place.node, vmid)
        if left and isinstance(error, ChannelError):
            error.hint = "; ".join(filter(None, [error.hint, left]))
        raise
    made = machine_templates.read(client, place.node, vmid)
    assert made is not None, "it was made a moment ago"
    return made


def _created(client: Client, node: str, given: dict[str, object]) -> int:
    for last in range(RACES):
        vmid = int(client.get("cluster/nextid"))
        try:
            tasks.wait(client, client.post(f"nodes/{node}/qemu", vmid=vmid, **given), IMPORT)
            return vmid
        except ApiError as error:
            if "already exists" not in f"{error.summary} {error.detail}" or last == RACES - 1:
                raise
    raise AssertionError


def _discarded(client: Client, node: str, vmid: int) -> str:
    try:
        tasks.wait(client, client.delete(f"nodes/{node}/qemu/{vmid}", purge=1))
    except ApiError:
        return f"`qm destroy {vmid} --purge` on {node} removes what is left"
    return ""
