"""What Proxmox drops along with a container: a person should know of it before the container goes.

ACLs and firewall rules always go; backup jobs, replication jobs and HA resources with `purge`. pct(1)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError

LISTS = ("cluster/backup", "access/acl", "cluster/ha/resources", "cluster/replication")  # once for all containers
READERS = 8  # requests at a time


Told = Mapping[str, list[Mapping[str, Any]]]


def lists(client: Client) -> Told:
    """What is asked once, by path. Raises ApiError."""
    return _told(client, LISTS)


def drops(
    client: Client,
    paths: Mapping[int, str],
    known: Mapping[int, int] = MappingProxyType({}),
    common: Callable[[], Told] | None = None,
) -> dict[int, list[str]]:
    """{vmid: names}, for guests at these paths of the API. What we may not read is left out. Raises ApiError.

    `known`: how many firewall rules some have; `common` gives what `lists` does.
    """
    if not paths:
        return {}
    rules = {vmid: f"{path}/firewall/rules" for vmid, path in paths.items()}
    asked = [path for vmid, path in rules.items() if vmid not in known]
    told = {**common(), **_told(client, asked)} if common else _told(client, [*LISTS, *asked])
    return {
        vmid: list(
            _names(f"{'vm' if '/qemu/' in path else 'ct'}:{vmid}", vmid, told, known.get(vmid, len(told.get(path, ()))))
        )
        for vmid, path in rules.items()
    }


def _told(client: Client, paths: Sequence[str]) -> Told:
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(paths, pool.map(lambda path: _list(client, path), paths), strict=True))


def _list(client: Client, path: str) -> list[Mapping[str, Any]]:
    try:
        return list(client.get(path))
    except ApiError as error:
        if error.status == 403 or error.missing:  # a container that was removed meanwhile
            return []
        raise


def _names(sid: str, vmid: int, told: Told, rules: int) -> Iterator[str]:
    jobs, acl, services, copies = (told[path] for path in LISTS)
    for job in jobs:
        guests = str(job.get("vmid", "")).split(",")
        if str(vmid) in guests:
            yield f"{'' if len(guests) == 1 else 'its place in '}backup job {job['id']}"
    who = sorted(f"{entry['ugid']} ({entry['roleid']})" for entry in acl if entry.get("path") == f"/vms/{vmid}")
    if who:
        yield f"the rights on /vms/{vmid} of {', '.join(who)}"
    for service in services:
        if service.get("sid") in (sid, str(vmid)):
            yield f"HA resource {sid}"
    for copy in copies:
        if int(copy.get("guest", 0)) == vmid:
            yield f"replication job {copy['id']} to {copy.get('target', 'another node')}"
    if rules:
        yield f"{rules} firewall rule{'s' if rules > 1 else ''}"
