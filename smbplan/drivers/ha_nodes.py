"""Nodes of a cluster asked at once, and the way in by one of them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from smbplan.drivers.agent.journal import open_of
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Asleep, ChannelError, understanding
from smbplan.drivers.secrets import MissingSecret
from smbplan.kinds.cluster import OK

Enter = Callable[[Endpoint, Counts], Channel]


def at_once(names: Sequence[str], call: Callable[[str], Any]) -> dict[str, Any]:
    def safely(name: str) -> Any:
        try:
            return call(name)
        except ChannelError as error:
            return error
        except MissingSecret as error:
            return ChannelError(error.summary, "", error.hint)

    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        return dict(zip(names, pool.map(safely, names), strict=True))


def good(answers: dict[str, Any]) -> dict[str, Any]:
    """Raises the first ChannelError."""
    for answer in answers.values():
        if isinstance(answer, ChannelError):
            raise answer
    return answers


def unfinished(node: Channel, site: str, lease: str) -> list[dict[str, Any]]:
    """The runs that change the cluster and that nobody has ended, by what its nodes share. Raises ChannelError."""
    told = node.request("runs", site=site, lease=lease)
    with understanding(node.endpoint.name):
        return open_of([{**row, "run": row["run"]} for row in told["runs"]])


def enter(endpoint: Endpoint, members: Mapping[str, Any], counts: Counts, connect: Enter) -> Channel:
    """The way to what a cluster serves, by the first of its nodes that is healthy.

    By any node while there is no cluster yet. Raises Asleep where there is one, and none of its nodes serves.
    """
    spare, told, trouble = None, False, ChannelError(f"cluster {endpoint.name} has no nodes")
    for data in members.values():
        try:
            channel = connect(Endpoint(**data).at_home(endpoint.home, endpoint.name), counts)
            look = channel.request("ctdb", do="look")
            with understanding(data["name"]):
                status, settled = look["status"], bool(look["settings"])
                serves = bool(status) and status["nodes"].get(str(status["own"])) == OK
        except ChannelError as error:
            trouble = error
            continue
        if serves:
            if spare:
                spare.close()
            return channel
        told = told or settled
        if spare is None:
            spare = channel
        else:
            channel.close()
    if spare is None:
        raise trouble
    if told:
        spare.close()
        raise Asleep(f"no node of cluster {endpoint.name} serves")
    return spare
