"""What keeps hosts from being nodes of one cluster: asked of each of them, and of each about the others."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from smbplan.drivers.channel import timed
from smbplan.drivers.ha_nodes import at_once, good
from smbplan.kinds import together


def problems(wanted: Mapping[str, Any], ask: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """What it is, and what to do. `ask(node, what, **words)` is a node's answer. Raises ChannelError."""
    names, nodes = list(wanted["nodes"]), wanted["nodes"]
    told, offsets = {}, {}
    for name in names:  # one by one: a clock is compared with this machine's in the midst of its answer
        asked = {"address": nodes[name], **{key: wanted[key] for key in ("addresses", "shared", "lock")}}
        told[name], middle = timed(partial(ask, name, "present", **asked))
        offsets[name] = told[name]["time"] - middle
    yield from together.problems(wanted, told, offsets)
    others = {name: [nodes[each] for each in names if each != name] for name in names}
    reached = good(at_once(names, lambda name: ask(name, "reach", addresses=others[name])))
    yield from together.unreached(nodes, reached)
    own = {address for each in told.values() for address in each["own"]}
    free = [each for each in (address.split("/")[0] for address in wanted["addresses"]) if each not in own]
    yield from together.taken(ask(names[0], "taken", addresses=free) if free else {})
