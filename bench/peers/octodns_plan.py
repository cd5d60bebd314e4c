"""octoDNS, the plan engine alone: N records that are wanted, compared with N that are there, in memory."""

import logging
import sys
from typing import Any

from octodns.provider.base import BaseProvider
from octodns.record import Record
from octodns.zone import Zone

COUNT, DRIFT = int(sys.argv[1]), len(sys.argv) > 2


class Memory(BaseProvider):  # type: ignore[misc]
    """A provider whose records are at hand."""

    log = logging.getLogger("memory")

    SUPPORTS_GEO = SUPPORTS_DYNAMIC = False
    SUPPORTS = frozenset({"A"})

    def populate(self, zone: Any, target: bool = False, lenient: bool = False) -> bool:
        fill(zone, self, DRIFT)
        return True

    def _apply(self, plan: Any) -> None:
        raise NotImplementedError


def fill(zone: Any, source: Any, drift: bool) -> None:
    for number in range(COUNT):
        value = f"198.51.{number // 250 % 100}.{number % 250 + 1}"
        data = {"type": "A", "ttl": 300, "values": ["198.51.100.254" if drift and number == 7 else value]}
        zone.add_record(Record.new(zone, f"s{number:05}", data, source=source))


logging.disable(logging.CRITICAL)
provider = Memory("memory")
wanted = Zone("bench.test.", [])
fill(wanted, provider, False)
plan = provider.plan(wanted)
print(0 if plan is None else len(plan.changes))
