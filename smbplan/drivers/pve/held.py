"""One guest while it is changed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from smbplan.drivers.agent.core import Untouched
from smbplan.drivers.pve import tasks
from smbplan.drivers.pve.guests import Guest, Guests


class Held:
    """A gateway's guest as it was read last, its inventory, and what went well with a warning."""

    def __init__(self, guests: Guests, gateway: str, guest: Guest | None) -> None:
        self.guests, self.client, self.gateway, self.guest = guests, guests.client, gateway, guest
        self.records = dict(guest.told.get("records", {})) if guest else {}
        self.warnings: list[str] = []

    def note(self, op: Mapping[str, Any]) -> None:
        """Only what smbplan keeps in the description has changed."""
        if self.guest is not None and self.records.get(op["address"]) != op["record"]:
            self.guests.tell(self.guest, {**self.records, op["address"]: op["record"]})

    def remember(self, address: str = "", record: Mapping[str, Any] | None = None) -> None:
        """An entry of the inventory alone: the record, or without one nothing at this address."""
        if self.guest is not None:  # else its inventory is gone with it
            self.guests.tell(self.guest, {**self.records, (record["address"] if record else address): record})

    def _there(self) -> Guest:
        if self.guest is None:
            raise Untouched(f"the guest of {self.gateway} is gone", "", "make a new plan")
        return self.guest

    def _wait(self, answer: object) -> None:
        self.warnings += tasks.wait(self.client, answer)

    def _grow(self, disk: str, size: int) -> None:
        """To so many bytes; first of all changes, since it may find no room and has no way back."""
        words = f"{-(-size // 2**20)}M"
        self._wait(self.client.put(f"{self._there().path}/resize", disk=disk, size=words))
        self._again()

    def _again(self) -> None:
        self.guest = self.guests.again(self._there())
        self._there()

    @contextmanager
    def _unprotected(self) -> Iterator[None]:
        """Proxmox changes no volume of a protected guest, and we are asked for what does no harm."""
        guest = self._there()
        if guest.protected:
            self.client.put(f"{guest.path}/config", protection=False)
            self._again()
        try:
            yield
        finally:
            if guest.protected:
                self.client.put(f"{guest.path}/config", protection=True)
