"""A cluster as a target: it is read and set as every other target is, by requests to its API."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from smbplan.drivers.agent.core import Refused, Untouched
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, Asleep, ChannelError, strange
from smbplan.drivers.pve import begun, preflight, qga, related
from smbplan.drivers.pve.client import Access, Client
from smbplan.drivers.pve.errors import ApiError, Locked, Lost, Unreachable
from smbplan.drivers.pve.guests import Guest, Guests
from smbplan.drivers.pve.inside import Inside
from smbplan.drivers.pve.machine_setter import MachineSetter
from smbplan.drivers.pve.mappings import Mappings
from smbplan.drivers.pve.nodes import Nodes
from smbplan.drivers.pve.setter import Setter
from smbplan.drivers.pve.states import agrees, state
from smbplan.drivers.turn import Claim, written_down
from smbplan.engine.resource import STRANGE

MACHINES = ("machine", "disk", "virtiofs", "mapping")  # types of objects that only VMs have
MADE = ("machine", "container")
Connect = Callable[[Endpoint, Counts], Channel]
WORKERS = 30  # containers that change at a time; the nodes queue what is too much for them


class Cluster:
    """The channel to a cluster. See drivers.channel.Channel. `connect` makes one to a node at an address."""

    def __init__(self, client: Client, site: str, connect: Callable[[str, str], Channel]) -> None:
        self._nodes = Nodes(client, connect)
        self.guests = Guests(client, site, self._nodes.containers)
        self._mappings = Mappings(client)
        self.counts: Counts = client.counts
        self.version = ""  # of the node that is the endpoint
        self._versions: dict[str, str] = {}  # of nodes
        self._last: Mapping[str, Guest] = {}  # as the last search found them
        self._searches = 0  # that were begun
        self._placed: Mapping[str, Guest] | None = None  # by `places`, for the reading that follows
        self._guard = threading.Lock()
        self._common: Future[related.Told] | None = None  # by `places`, too
        self._unsure = False  # there may be tasks of ours whose answer nobody got

    def open(self) -> None:
        """Raises ApiError."""
        self.version = str(self.guests.client.get("version")["version"])

    def lock(self, claim: Claim, wait: float = 0.0, again: bool = False) -> list[Any]:
        """See drivers.pve.nodes. Raises ChannelError, Held and TakenOver."""
        self._unsure |= claim.takes_over and not again
        return self._nodes.lock(claim, wait, again)

    @property
    def met(self) -> Mapping[str, Any] | None:
        """Whom the lock waited for."""
        return self._nodes.met

    @property
    def unkept(self) -> bool:
        """Whether what is done is written down nowhere: no node is reached by SSH."""
        return not self._nodes.keepers

    def release(self, claim: Claim) -> None:
        """Raises ChannelError."""
        self._nodes.keep("release")

    def beat(self) -> None:
        """Raises ChannelError and TakenOver."""
        self._nodes.keep("beat")

    def close(self) -> None:
        """Sessions with the API end by themselves."""
        self._nodes.close()

    def address(self, node: str) -> str:
        """Of a node. Raises ApiError."""
        return self._nodes.address(node)

    def enter(self, endpoint: Endpoint, counts: Counts, connect: Connect) -> Channel:
        """The way into a gateway's guest: by its node, its guest agent, or SSH. Raises Absent, Asleep, ApiError."""
        gateway = endpoint.guest
        guest = self._found(gateway)
        if guest is None:
            raise Absent(f"gateway {gateway} has no guest yet")
        if not guest.running:
            raise Asleep(f"the guest of {gateway} ({guest.vmid} on {guest.node}) does not run")
        if guest.type == "lxc":
            host = self._nodes.address(guest.node)
            return connect(replace(endpoint, host=host, container=guest.vmid), counts)
        client = self.guests.client
        if not endpoint.by_ssh:
            return Inside(replace(endpoint, host=guest.node), counts, client=client, path=guest.path)
        guest = self.guests.again(guest) or guest  # a restart may have given it another address
        host = endpoint.host or guest.address
        return connect(replace(endpoint, host=host, host_key=qga.host_key(client, guest.path)), counts)

    def containers(self, endpoints: Mapping[str, Endpoint]) -> dict[str, dict[str, Endpoint]]:
        """{node: the endpoints with their containers} of those that ran in one when it was seen last."""
        found: dict[str, dict[str, Endpoint]] = {}
        for name, endpoint in endpoints.items():
            guest = self._last.get(endpoint.guest)
            if guest and guest.running and guest.type == "lxc":
                found.setdefault(guest.node, {})[name] = replace(endpoint, container=guest.vmid)
        return found

    def inside(self, node: str, commands: Mapping[str, str], lines: Mapping[str, str]) -> Mapping[str, str]:
        """See drivers.pve.nodes. Raises ChannelError."""
        return self._nodes.inside(node, commands, lines)

    def _found(self, gateway: str) -> Guest | None:
        """A guest that was running when it was seen last, or else as it is now.

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
            "known": lambda request: {"managed": bool(self._read({"keys": []})["records"]), "peers": {}},
            "perform": self._perform,
            "runs": lambda request: self._nodes.runs(request["site"]),
            **{verb: partial(self._kept, verb) for verb in ("ended", "finish")},
            "preflight": lambda request: list(preflight.check(self.guests.client, request["wishes"])),
        }
        try:
            return verbs[verb](arguments) if verb in verbs else None
        except STRANGE as error:
            raise strange("the cluster", error) from None

    def _places(self, request: Mapping[str, Any]) -> dict[str, str]:
        """{gateway: the node of its guest}; `nodes` have containers. Meanwhile what comes next is asked, too."""
        self.guests.nodes = request["nodes"]
        with ThreadPoolExecutor(2) as pool:
            self._common = pool.submit(related.lists, self.guests.client)
            if self.guests.nodes:
                pool.submit(self._nodes.address, "")
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
        mappings = self._mappings.every() if any(type_ == "mapping" for type_, _ in keys) else {}
        states = []
        for type_, name in sorted(keys):
            gateway, _, rest = name.partition(":")
            try:
                now = mappings.get(rest) if type_ == "mapping" else state(found.get(gateway), type_, name)
                states.append([type_, name, {"state": now}])
            except Refused as refused:
                states.append([type_, name, _failed(refused)])
        nodes = {given.get("node") for type_, _, given in request["keys"] if type_ == "virtiofs"}
        if nodes and not self.version:
            self.open()
        versions = {node: self._version(node) for node in sorted(filter(None, nodes))}
        facts = {"guests": self._facts(found), "version": self.version, "versions": versions}
        return {"facts": facts, "states": states, "records": records, "peers": {}}

    def _version(self, node: str) -> str:
        """Of Proxmox on a node; "" of one that doesn't answer, which the plan is told elsewhere."""
        if node not in self._versions:
            try:
                self._versions[node] = str(self.guests.client.get(f"nodes/{node}/version")["version"])
            except ApiError:
                return ""
        return self._versions[node]

    def _facts(self, found: Mapping[str, Guest]) -> dict[str, Any]:
        """What no state says, by gateway."""
        rules = {guest.vmid: guest.rules for guest in found.values() if guest.rules is not None}
        common, self._common = self._common, None
        paths = {guest.vmid: guest.path for guest in found.values()}
        gone = related.drops(self.guests.client, paths, rules, common.result if common else None)
        with ThreadPoolExecutor(WORKERS) as pool:
            waiting = dict(zip(found, pool.map(self._waiting, found.values()), strict=True))
        return {
            name: {
                "running": guest.running,
                "protected": guest.protected,
                "drops": gone[guest.vmid],
                "waiting": waiting[name],
                **{key: getattr(guest, key) for key in ("type", "vmid", "node")},
            }
            for name, guest in found.items()
        }

    def _waiting(self, guest: Guest) -> list[str]:
        """The settings that a running VM gets when it starts again."""
        if guest.type == "lxc" or not guest.running:
            return []
        rows = self.guests.client.get(f"{guest.path}/pending")
        return sorted({*guest.late, *(row["key"] for row in rows if "pending" in row or row.get("delete"))})

    def _kept(self, verb: str, request: Mapping[str, Any]) -> None:
        self._nodes.keep(verb, **{name: request[name] for name in ("outcome", "everything") if name in request})

    def _perform(self, request: Mapping[str, Any]) -> list[Any]:
        """Of a run that holds the lease, each operation is written down on a node before and after."""
        if "token" not in request:
            return self._performed(request)
        return written_down(request["ops"], self.note, lambda: self._performed(request))

    def note(self, **words: Any) -> None:
        """Have a node write down `notes` of what is begun, or `answers` to it. Raises ChannelError and TakenOver."""
        self._nodes.keep("note", **words)

    def _performed(self, request: Mapping[str, Any]) -> list[Any]:
        """Containers change at the same time, what is in one of them in order."""
        ops: Sequence[Mapping[str, Any]] = request["ops"]
        answers: list[Any] = [None] * len(ops)
        try:
            if self._unsure:
                begun.over(self.guests.client)
                self._unsure = False
            with self._guard:
                found = self._search()
            lanes: dict[str, list[int]] = {}
            for number, op in enumerate(ops):
                lanes.setdefault(_gateway(op, found), []).append(number)
            self.guests.must_know(filter(None, lanes), found)
        except Unreachable:
            raise  # it may be back soon
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
        """After another operation on the guest, or its creation."""
        return self.guests.again(known) if known else self.guests.find().get(gateway)

    def _answer(self, gateway: str, op: Mapping[str, Any], look: Callable[[], Guest | None]) -> Any:
        client = self.guests.client
        client.changed = False
        try:
            return {"ok": None, "warnings": self._move(gateway, op, look())}
        except ChannelError as error:
            self._unsure |= isinstance(error, Lost | Unreachable)
            return _failed(error, client.changed)
        except Refused as error:
            return _failed(error)
        except Exception as error:  # the person gets to read it, and the other operations go on
            return _failed(Refused(f"{type(error).__name__}: {error}"))

    def _state(self, guest: Guest | None, op: Mapping[str, Any]) -> Any:
        if op["type"] == "mapping":
            return self._mappings.every().get(op["name"].partition(":")[2])
        return state(guest, op["type"], op["name"])

    def _move(self, gateway: str, op: Mapping[str, Any], guest: Guest | None) -> list[str]:
        """Compare and set, as the agent does on its host. The warnings."""
        if op.get("call") in ("forget", "remember"):
            Setter(self.guests, self._nodes, gateway, guest).remember(**op["arguments"])
            return []
        if "type" not in op:
            raise Untouched(f"a cluster can't {op['call']}")
        left: list[str] = []
        if op["type"] in MADE and op["after"] is None and begun.may_be_made(guest):
            left = begun.ended(self.guests.client)
            guest = self._unlocked(self.guests.find().get(gateway))
        kind = MachineSetter if op["type"] in MACHINES or (guest and guest.type == "qemu") else Setter
        now, setter = self._state(guest, op), kind(self.guests, self._nodes, gateway, guest)
        if guest and guest.told.get("making") and op["type"] == "machine" and op["after"] is None:
            setter.set(op, now)  # a clone that was cut short is in no state that any plan knew
            return setter.warnings
        if op["type"] == "disk" and op["before"] is None and now and setter.records.get(op["address"]) != op["record"]:
            raise Untouched(f"a disk of {op['name']} has appeared since the plan was made", "", "make a new plan")
        if agrees(now, op["after"]):
            setter.note(op)
            return left
        if not agrees(now, op["before"]):
            raise Untouched(f"{op['name']} was changed by somebody else since the plan was made", "", "make a new plan")
        setter.set(op, now)
        return setter.warnings

    def _unlocked(self, guest: Guest | None) -> Guest | None:
        """One of ours that nothing makes any more. Without SSH to its node, Proxmox will tell what keeps it."""
        if guest is None or not begun.is_half_made(guest):
            return guest
        with suppress(ChannelError):
            self._nodes.unlock(guest.node, begun.LEFT[guest.type][1], guest.vmid)
        return self.guests.again(guest)


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
    """The gateway whose guest the operation is for."""
    if "type" in op:
        return str(op["name"]).partition(":")[0]
    record = op["arguments"].get("record")
    if record:
        return str(record["key"][1]).partition(":")[0]
    address = op["arguments"].get("address")
    return next((name for name, guest in found.items() if address in guest.records), "")


def _failed(error: Refused | ChannelError, changed: bool = False) -> dict[str, Any]:
    """The answer to an operation that failed. What is not reached, or locked, in the midst of it is not untouched."""
    words = {"summary": error.summary, "detail": error.detail, "hint": error.hint}
    before = isinstance(error, Unreachable | Locked) and not changed
    return {"error": words, **({"untouched": True} if isinstance(error, Untouched) or before else {})}
