"""What a request began whose answer nobody got: Proxmox goes on with it, as with making a guest.

PVE::API2::Qemu and PVE::API2::LXC store the description with the first disk that is there; before that the
configuration of a new guest holds nothing but its lock, which stays until all is there.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress

from smbplan.drivers.pve import tasks
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.errors import ApiError, TaskFailed
from smbplan.drivers.pve.guests import Guest
from smbplan.drivers.pve.tasks import Upid

MAKING = ("qmclone", "vzcreate", "qmdestroy", "vzdestroy")  # and their contrary
LONGEST = 3600.0  # seconds; a full clone copies a whole disk
GOING = "destroyed"  # the lock of one that is being removed
LEFT = {"lxc": ("create", "pct"), "qemu": ("clone", "qm")}  # by type: the lock of one that is being made, and its tool


def may_be_made(guest: Guest | None) -> bool:
    """Whether a guest of ours is still being made, or one that isn't found may be."""
    return guest is None or is_half_made(guest)


def is_half_made(guest: Guest) -> bool:
    """Or half removed. When what did that has ended, its node went down meanwhile."""
    return guest.config.get("lock") in (LEFT[guest.type][0], GOING)


def ended(client: Client) -> list[str]:
    """Wait for the tasks of our token that make guests; a warning for each guest that was left half made.

    Raises ApiError.
    """
    over(client, MAKING)
    rows = client.get("cluster/resources", type="vm")
    left = [row for row in rows if row["type"] in LEFT and row.get("lock") == LEFT[row["type"]][0]]
    return [_half_made(row["node"], row["vmid"], *LEFT[row["type"]]) for row in left]


def over(client: Client, kinds: Collection[str] = ()) -> None:
    """Wait for the tasks of our token, of these kinds or of all. Raises ApiError."""
    for upid in list(_running(client)):
        if not kinds or upid.kind in kinds:
            with suppress(TaskFailed):
                tasks.wait(client, upid.text, LONGEST)


def _running(client: Client) -> Iterator[Upid]:
    """Tasks of our token."""
    for row in client.get("nodes"):
        if row.get("status") != "online":
            continue
        try:
            listed = client.get(f"nodes/{row['node']}/tasks", source="active")
        except ApiError:
            continue  # it went down a moment ago, and its tasks with it
        yield from (upid for upid in (Upid(task["upid"]) for task in listed) if upid.user == client.access.token)


def _half_made(node: str, vmid: int, lock: str, tool: str) -> str:
    return (
        f"guest {vmid} on {node} has the lock `{lock}` of one that is not finished; if nobody else is making it, "
        f"`{tool} unlock {vmid}` and `{tool} destroy {vmid} --purge` there remove it"
    )
