"""Tags and the pool of a guest: both may be refused, and the first are not worth a failure."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from smbplan.drivers.agent.core import Refused
from smbplan.drivers.pve import config
from smbplan.drivers.pve.errors import ApiError, Denied
from smbplan.drivers.pve.held import Held

RACES = 20  # ids that others may take before us
TAKEN = re.compile(r"already exists|can't lock file '[^']*/lock-\d+\.conf' - got timeout")
REFUSED_TAG = re.compile(r"modifying tag '([^']+)'")


class Tagged(Held):
    """Sets them together with other settings of a guest."""

    def _numbered(self, vmid: int | None, make: Callable[[int], None]) -> int:
        """The id with which a guest could be made: this one, or one that nobody has. Raises Refused."""
        for _ in range(RACES):
            number = vmid or self.guests.free_id()
            try:
                make(number)
                return number
            except ApiError as error:
                if vmid or not TAKEN.search(f"{error.summary} {error.detail}"):
                    raise
        raise Refused(f"{RACES} ids in a row were taken by others", "", "try again")

    def _told(
        self,
        old: Sequence[str],
        new: Sequence[str],
        changed: Mapping[str, Any],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Changes of the configuration, with tags if those change; `more` as in Guests.description."""
        if old == new:
            self.guests.tell(self._there(), self.records, more, **changed)
        else:
            self._tagged(new, lambda tags, refused: self._retag(tags, refused, changed, more))

    def _tagged(self, tags: Sequence[str], ask: Callable[[list[str], list[str]], Any]) -> Any:
        """The answer to a request with these tags, but for those that Proxmox refuses: the mark is enough."""
        given, refused = list(tags), list[str]()
        while True:
            try:
                answer = ask(given, refused)
            except Denied as denied:
                tag = REFUSED_TAG.search(denied.detail)
                if not tag or tag[1] not in given:
                    raise
                given.remove(tag[1])
                refused.append(tag[1])
                continue
            self.warnings += [f"tag {tag} is refused; the mark in the description does without it" for tag in refused]
            return answer

    def _retag(
        self, tags: list[str], refused: list[str], changed: Mapping[str, Any], more: Mapping[str, Any] | None
    ) -> None:
        guest, given = self._there(), dict(changed)
        if tags:
            given["tags"] = ";".join(tags)
        elif config.tags(guest.config):
            given["delete"] = ",".join(filter(None, [given.get("delete"), "tags"]))
        self.guests.tell(guest, self.records, {**(more or {}), "untagged": refused}, **given)

    @contextmanager
    def _pooled(self, old: str, new: str) -> Iterator[None]:
        """In its new pool; in the old one again if what follows fails."""
        self._pool(old, new)
        try:
            yield
        except (ApiError, Refused):
            self._pool(new, old)
            raise

    def _pool(self, old: str, new: str) -> None:
        if new == old:
            return
        move = {"poolid": new, "allow-move": True} if new else {"poolid": old, "delete": True}
        self.client.put("pools", vms=self._there().vmid, **move)
