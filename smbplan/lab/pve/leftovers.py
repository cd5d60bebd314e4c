"""What else in the cluster belongs to a guest, and goes with it."""

from smbplan.lab.pve import backup, usercfg
from smbplan.lab.pve.guestconf import Kind
from smbplan.lab.pve.guests import NAMES
from smbplan.lab.pve.site import Site
from smbplan.lab.pve.tasks import Log


def forget(site: Site, vmid: int) -> None:
    """Drop rights on the guest, its place in a pool, its firewall rules."""
    with usercfg.changing(site.root) as users:
        users.acl = {entry: flag for entry, flag in users.acl.items() if entry.path != f"/vms/{vmid}"}
        for pool in users.pools.values():
            pool.vms.discard(vmid)
    (site.root / "firewall" / f"{vmid}.fw").unlink(missing_ok=True)


def purge(site: Site, vmid: int, kind: Kind, log: Log) -> None:
    """Take it out of backup jobs; the lab has neither replication nor high availability."""
    log(f"purging {NAMES[kind]} {vmid} from related configurations..")
    backup.remove_guest(site, vmid)
