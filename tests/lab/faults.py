"""A connection that fails at one operation: before its effect, after it, or by losing the answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from smbplan.drivers.channel import Channel, ChannelError, Counts, Endpoint
from smbplan.drivers.fleet import encode
from smbplan.engine.step import Step

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


class Pool(dict[str, "FaultyChannel"]):
    """Connections that outlast a run, so that a thousand runs don't wait for a thousand logins."""

    def connect(self, fault: Fault) -> Callable[[Endpoint, Counts], Channel]:
        def channel(endpoint: Endpoint, counts: Counts) -> Channel:
            found = self.setdefault(endpoint.name, FaultyChannel(endpoint, counts))
            found.fault = fault
            return found

        return channel

    def close(self) -> None:
        for channel in self.values():
            channel.hang_up()


class FaultyChannel(Channel):
    fault: Fault

    def close(self) -> None:
        """A run has ended."""

    def hang_up(self) -> None:
        super().close()

    def request(self, verb: str, timeout: float = 900.0, **arguments: Any) -> Any:
        if verb != "perform" or self.endpoint.name != self.fault.step.target:
            return super().request(verb, timeout, **arguments)
        try:
            return self.fault.strike(partial(super().request, verb, timeout), arguments)
        except ChannelError:
            self.hang_up()
            raise
