"""A connection that fails at one operation: before its effect, after it, or by losing the answer."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lab import snapshot
from lab.site import Site

from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import ChannelError
from smbplan.drivers.pve.inside import Inside
from smbplan.drivers.wire import encode
from smbplan.engine.step import Step
from smbplan.spec.load import load

FAULTS = ("before", "after", "lost")
ERROR = {"error": {"summary": "seeded fault", "detail": "", "hint": ""}}


@dataclass
class Fault:
    """Strikes the first time that a step's operation goes to its target."""

    step: Step
    kind: str
    struck: bool = False
    wanted: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.wanted = self.name(encode(self.step.do))

    def strike(self, request: Callable[..., list[Any]], arguments: dict[str, Any]) -> list[Any]:
        """The answers to a batch of operations; with the fault in the place of one, if it is among them."""
        ops = arguments["ops"]
        hit = next((number for number, op in enumerate(ops) if self.name(op) == self.wanted), None)
        if hit is None or self.struck:
            return request(**arguments)
        self.struck = True
        if self.kind == "before":
            answers = request(**{**arguments, "ops": ops[:hit] + ops[hit + 1 :]})
            return [*answers[:hit], ERROR, *answers[hit:]]
        answers = request(**arguments)
        if self.kind == "lost":
            raise ChannelError("seeded: the answer was lost")
        return [*answers[:hit], ERROR, *answers[hit + 1 :]]

    @staticmethod
    def name(op: dict[str, Any]) -> dict[str, Any]:
        if "call" in op:
            arguments = op["arguments"]
            return {"call": op["call"], "share": arguments.get("share"), "address": arguments.get("address")}
        return {"address": op["address"]}


def outside(site: Site, gateway: str) -> tuple[str, ...]:
    """The addresses of all that has to be there before something inside a gateway's guest is."""
    shares = {f"share.{name}" for name, share in load(site.folder).site.shares.items() if share.gateway == gateway}
    found = [change.resource for change in site.plan().plan.changes if change.resource]
    mine = [item.address for item in found if item.target.startswith("@") and item.unit in shares]
    return (f"guest.power.{gateway}", *mine)


def nodes(site: Site, names: Iterable[str]) -> dict[str, dict[str, object]]:
    """What is on each of these nodes."""
    return {node: snapshot.take(site.lab, node) for node in names}


def differences(before: dict[str, dict[str, object]], after: dict[str, dict[str, object]]) -> list[str]:
    return [line for node, state in before.items() for line in snapshot.differences(state, after[node])]


def where(endpoint: Endpoint) -> str:
    """Of a connection: what a cluster serves has one name on all its nodes, and a container may get another id."""
    return f"{endpoint.name} {endpoint.host} {endpoint.container} {endpoint.home}"


class Pool(dict[str, "Faulty"]):
    """Connections that outlast a run, so that a thousand runs don't wait for a thousand logins."""

    def connect(self, fault: Fault) -> Callable[[Endpoint, Counts], Channel]:
        def channel(endpoint: Endpoint, counts: Counts) -> Channel:
            return self.found(where(endpoint), fault, lambda: FaultyChannel(endpoint, counts))

        return channel

    def found(self, name: str, fault: Fault, make: Callable[[], "Faulty"]) -> Any:
        """The one of that name, or a new one, with this fault."""
        if name not in self:
            self[name] = make()
        self[name].fault = fault
        return self[name]

    def close(self) -> None:
        for channel in self.values():
            channel.hang_up()


class Faulty:
    """Before the class of a channel."""

    fault: Fault

    def close(self) -> None:
        """A run has ended."""

    def hang_up(self) -> None:
        super().close()  # type: ignore[misc]

    def request(self, verb: str, timeout: float = 900.0, **arguments: Any) -> Any:
        real = partial(super().request, verb, timeout)  # type: ignore[misc]
        if verb != "perform" or self.endpoint.name != self.fault.step.target:  # type: ignore[attr-defined]
            return real(**arguments)
        try:
            return self.fault.strike(real, arguments)
        except ChannelError:
            self.hang_up()
            raise


class FaultyChannel(Faulty, Channel):
    """Over SSH."""


class FaultyInside(Faulty, Inside):
    """By a guest agent."""
