"""A cluster as a target: it is read and set as every other target is, by requests to its API."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from smbplan.drivers.agent.core import Refused, Untouched
from smbplan.drivers.channel import Channel, ChannelError, Counts
from smbplan.drivers.pve import templates
from smbplan.drivers.pve.client import Access, Client
from smbplan.drivers.pve.errors import Unreachable
from smbplan.drivers.pve.guests import Guest, Guests
from smbplan.drivers.pve.nodes import Nodes
from smbplan.drivers.pve.related import drops
from smbplan.drivers.pve.setter import Setter
from smbplan.drivers.pve.states import agrees, state

WORKERS = 30  # containers that change at a time; the nodes queue what is too much for them


class Absent(ChannelError):
    """The gateway has no container yet."""


class Asleep(ChannelError):
    """The gateway's container doesn't run."""


class Cluster:
    """The channel to a cluster. See drivers.channel.Channel. `connect` makes one to a node at an address."""

    def __init__(self, client: Client, site: str, connect: Callable[[str, str], Channel]) -> None:
        self.guests = Guests(client, site)
        self._nodes = Nodes(client, connect)
        self.counts: Counts = client.counts
        self.version = ""
        self._last: Mapping[str, Guest] = {}  # as the last search found them
        self._searches = 0  # that were begun
        self._placed: Mapping[str, Guest] | None = None  # by `places`, for the reading that follows
        self._guard = threading.Lock()

    def open(self) -> None:
        """Raises ApiError."""
        self.version = str(self.guests.client.get("version")["version"])

    def lock(self, owner: str, wait: float) -> None:
        """Nobody else changes this site's guests until the connection ends; held on the cluster's first node.

        Where that can't be reached by SSH, Proxmox's own locks of each guest must do. Raises ChannelError.
        """
        self._nodes.lock(self.guests.site, owner, wait)

    def close(self) -> None:
        """Sessions with the API end by themselves."""
        self._nodes.close()

    def address(self, node: str) -> str:
        """Of a node. Raises ApiError."""
        return self._nodes.address(node)

    def place(self, gateway: str) -> tuple[str, int]:
        """Address of the node, and vmid. Raises Absent or Asleep."""
        guest = self._found(gateway)
        if guest is None:
            raise Absent(f"gateway {gateway} has no container yet")
        if not guest.running:
            raise Asleep(f"the container of {gateway} ({guest.vmid} on {guest.node}) does not run")
        return self._nodes.address(guest.node), guest.vmid

    def _found(self, gateway: str) -> Guest | None:
        """A container that was running when it was seen last, or else as it is now.

        Of many that ask at once, one searches for all: each takes what was begun after it asked.
        """
        asked = self._searches
        with self._guard:
            guest = self._last.get(gateway)
            if self._searches == asked and not (guest and guest.running):
                self._search()
            return self._last.get(gateway)

    def _search(self) -> Mapping[str, Guest]:
        """With the guard held."""
        self._searches += 1
        self._last = self.guests.find()
        return self._last

    def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
        """Raises ApiError."""
        verbs: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "places": self._places,
            "read": self._read,
            "perform": self._perform,
            "templates": lambda request: list(templates.missing(self.guests.client, request["wanted"])),
        }
        return verbs[verb](arguments) if verb in verbs else None

    def _places(self, request: Mapping[str, Any]) -> dict[str, str]:
        """{gateway: the node on which its guest is}"""
        with self._guard:
            self._placed = self._search()
        return {name: guest.node for name, guest in self._placed.items()}

    def _read(self, request: Mapping[str, Any]) -> Any:
        with self._guard:
            found = self._placed if self._placed is not None else self._search()
            self._placed = None
        keys = {(type_, name) for type_, name, _ in request["keys"]}
        self.guests.must_know({name.partition(":")[0] for _, name in keys}, found)
        records: dict[str, Any] = {}
        for guest in found.values():
            records |= guest.records
        keys |= {tuple(record["key"]) for record in records.values()}
        states = []
        for type_, name in sorted(keys):
            states.append([type_, name, {"state": state(found.get(name.partition(":")[0]), type_, name)}])
        return {"facts": {"guests": self._facts(found)}, "states": states, "records": records, "peers": {}}

    def _facts(self, found: Mapping[str, Guest]) -> dict[str, Any]:
        """What no state says, by gateway."""
        gone = drops(self.guests.client, {guest.vmid: guest.path for guest in found.values()})
        return {
            name: {"running": guest.running, "protected": guest.protected, "drops": gone[guest.vmid]}
            for name, guest in found.items()
        }

    def _perform(self, request: Mapping[str, Any]) -> list[Any]:
        """Containers change at the same time, what is in one of them in order."""
        ops: Sequence[Mapping[str, Any]] = request["ops"]
        answers: list[Any] = [None] * len(ops)
        try:
            with self._guard:
                found = self._search()
            lanes: dict[str, list[int]] = {}
            for number, op in enumerate(ops):
                lanes.setdefault(_gateway(op, found), []).append(number)
            self.guests.must_know(filter(None, lanes), found)
        except ChannelError as error:
            return [_failed(error)] * len(ops)

        def work(gateway: str) -> None:
            first, *others = lanes[gateway]
            answers[first] = self._answer(gateway, ops[first], lambda: found.get(gateway))
            for number in others:
                answers[number] = self._answer(gateway, ops[number], lambda: self._now(gateway, found.get(gateway)))

        with ThreadPoolExecutor(min(WORKERS, max(1, len(lanes)))) as pool:
            list(pool.map(work, lanes))
        return answers

    def _now(self, gateway: str, known: Guest | None) -> Guest | None:
        """After another operation on the container, or its creation."""
        return self.guests.again(known) if known else self.guests.find().get(gateway)

    def _answer(self, gateway: str, op: Mapping[str, Any], look: Callable[[], Guest | None]) -> Any:
        try:
            return {"ok": None, "warnings": self._move(gateway, op, look())}
        except (Refused, ChannelError) as error:
            return _failed(error)

    def _move(self, gateway: str, op: Mapping[str, Any], guest: Guest | None) -> list[str]:
        """Compare and set, as the agent does on its host. The warnings."""
        if op.get("call") in ("forget", "remember"):
            Setter(self.guests, self._nodes, gateway, guest).remember(**op["arguments"])
            return []
        if "type" not in op:
            raise Untouched(f"a cluster can't {op['call']}")
        now, setter = state(guest, op["type"], op["name"]), Setter(self.guests, self._nodes, gateway, guest)
        if agrees(now, op["after"]):
            setter.note(op)
            return []
        if not agrees(now, op["before"]):
            raise Untouched(f"{op['name']} was changed by somebody else since the plan was made", "", "make a new plan")
        setter.set(op, now)
        return setter.warnings


def cluster(api: Mapping[str, Any], site: str, counts: Counts, connect: Callable[[str, str], Channel]) -> Cluster:
    """By spec.proxmox.Proxmox as JSON, with the secret in place of its reference."""
    access = Access(
        endpoint=api["endpoint"],
        token=api["token"]["id"],
        secret=api["token"]["secret"],
        fingerprint=api.get("fingerprint") or "",
        ca_file=api.get("ca_file") or "",
        verify=api.get("verify", True),
    )
    return Cluster(Client(access, counts), site, connect)


def _gateway(op: Mapping[str, Any], found: Mapping[str, Guest]) -> str:
    """The gateway whose container the operation is for."""
    if "type" in op:
        return str(op["name"]).partition(":")[0]
    record = op["arguments"].get("record")
    if record:
        return str(record["key"][1]).partition(":")[0]
    address = op["arguments"].get("address")
    return next((name for name, guest in found.items() if address in guest.records), "")


def _failed(error: Refused | ChannelError) -> dict[str, Any]:
    """The answer to an operation that failed."""
    words = {"summary": error.summary, "detail": error.detail, "hint": error.hint}
    return {"error": words, **({"untouched": True} if isinstance(error, Untouched | Unreachable) else {})}
