"""Security updates inside containers, where nobody else sees to them. apt.conf(5), unattended-upgrade(8)"""

from collections.abc import Iterator, Mapping
from typing import Any

from smbplan.kinds import guest
from smbplan.spec.model import Gateway
from smbplan.templates import render

PATH = "/etc/apt/apt.conf.d/90smbplan"  # after Debian's 20auto-upgrades and 50unattended-upgrades
LISTED = 8  # packages that a warning names


def unattended(gateway: Gateway) -> bool:
    return gateway.guest and gateway.updates == "unattended"


def file(gateway: str) -> str:
    return f"file.{gateway}.updates"


def settings(gateway: Gateway) -> str:
    return render("updates.conf.j2", unattended=unattended(gateway))


def timer(gateway: str, name: str) -> str:
    return f"service.{gateway}.{name}"


def timers(gateway: Gateway) -> Iterator[str]:
    """Debian's own: one refreshes the package lists, the other one installs. Nothing is served before they are on."""
    if gateway.guest:
        yield "apt-daily"
    if unattended(gateway):
        yield "apt-daily-upgrade"


def warning(name: str, gateway: Gateway, facts: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """What a person is told of updates that a guest's package lists hold and that are not installed; "" of none.

    `told` is what the cluster tells of the guest, see kinds.guest.told.
    """
    pending = facts.get("pending") or []
    if not pending or not gateway.guest:
        return ""
    more = f" and {len(pending) - LISTED} more" if len(pending) > LISTED else ""
    count = "1 security update is" if len(pending) == 1 else f"{len(pending)} security updates are"
    do = "unattended-upgrade" if unattended(gateway) else "apt-get upgrade"
    when = "they come within a day, or at once by" if unattended(gateway) else "install them by"
    words = f"{count} pending: {', '.join(pending[:LISTED])}{more}"
    return f"gateway.{name}: {words}; {when} {guest.enter(told, do)}"
