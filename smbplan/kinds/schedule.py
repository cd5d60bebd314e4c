"""What runs by itself on a gateway: snapshots, and the emptying of recycle bins. systemd.timer(5)"""

from collections.abc import Iterator
from dataclasses import dataclass

from smbplan.kinds import guest, view
from smbplan.spec.model import PreviousVersions, Recycle, Share, Site
from smbplan.templates import render

UNITS = "/etc/systemd/system/"
PREFIX = "smbplan-"  # of their names
SNAPSHOT = "smbplan-%Y.%m.%d-%H.%M.%S"  # UTC; shadow_copy2 finds snapshots by it


@dataclass(frozen=True, slots=True)
class Timer:
    """A pair of units for one share."""

    share: str
    target: str  # snapshots are taken where the data lies
    what: str  # snapshot, recycle
    calendar: str
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.what}-{self.share}.timer"

    def files(self) -> dict[str, tuple[str, str]]:
        """{resource's name: (path, content)}"""
        stem = f"{UNITS}{PREFIX}{self.what}-{self.share}"
        return {
            f"{self.what}-service": (f"{stem}.service", render("timer.service.j2", timer=self)),
            f"{self.what}-timer": (f"{stem}.timer", render("timer.timer.j2", timer=self)),
        }


def previous_versions(share: Share) -> PreviousVersions | None:
    wanted = share.previous_versions
    return PreviousVersions() if wanted is True else wanted or None


def recycle(share: Share) -> Recycle | None:
    return Recycle() if share.recycle is True else share.recycle or None


def timers(site: Site, name: str, share: Share) -> Iterator[Timer]:
    versions, bin_ = previous_versions(share), recycle(share)
    if versions:
        backend = "zfs" if share.storage.zfs else "btrfs"
        place = share.storage.zfs or share.storage.path
        shown = [found] if (found := view.folder(site, share)) else []
        command = (script("snapshot"), backend, place, str(versions.keep), *shown)
        yield Timer(name, guest.host(site, share.gateway), "snapshot", versions.schedule, command)
    if bin_:
        command = (script("recycle"), share.storage.path, str(bin_.expire))
        yield Timer(name, share.gateway, "recycle", "daily", command)


def script(what: str) -> str:
    return f"/usr/local/lib/smbplan/{what}"
