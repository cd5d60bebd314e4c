"""A connection that fails at one operation: before its effect, after it, or by losing the answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
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

    @staticmethod
    def name(op: dict[str, Any]) -> dict[str, Any]:
        if "call" in op:
            arguments = op["arguments"]
            return {"call": op["call"], "share": arguments.get("share"), "address": arguments.get("address")}
        return {"address": op["address"]}

    def connect(self) -> Callable[[Endpoint, Counts], Channel]:
        return lambda endpoint, counts: FaultyChannel(endpoint, counts, fault=self)


class FaultyChannel(Channel):
    def __init__(self, endpoint: Endpoint, counts: Counts, fault: Fault) -> None:
        super().__init__(endpoint, counts)
        self.fault = fault

    def request(self, verb: str, timeout: float = 900.0, **arguments: Any) -> Any:
        fault = self.fault
        if verb != "perform" or fault.struck or self.endpoint.name != fault.step.target:
            return super().request(verb, timeout, **arguments)
        ops = arguments["ops"]
        hit = next((number for number, op in enumerate(ops) if fault.name(op) == fault.wanted), None)
        if hit is None:
            return super().request(verb, timeout, **arguments)
        fault.struck = True
        if fault.kind == "before":
            arguments["ops"] = ops[:hit] + ops[hit + 1 :]
            answers = super().request(verb, timeout, **arguments)
            return [*answers[:hit], ERROR, *answers[hit:]]
        answers = super().request(verb, timeout, **arguments)
        if fault.kind == "lost":
            self.close()
            raise ChannelError("seeded: the answer was lost")
        return [*answers[:hit], ERROR, *answers[hit + 1 :]]
