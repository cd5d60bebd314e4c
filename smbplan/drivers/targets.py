"""The targets of a site and the ways to them: asked at once, connected when first used."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from smbplan.drivers.channel import Channel, Counts, understood
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import ChannelError, strange
from smbplan.drivers.secrets import MissingSecret, Secrets
from smbplan.drivers.wire import live
from smbplan.engine.resource import STRANGE, Key, Live
from smbplan.kinds.guest import CLUSTER

if TYPE_CHECKING:
    from smbplan.drivers.ha import Ha
    from smbplan.drivers.pve.cluster import Cluster

WORTH = 2  # containers of a node, from which on the node asks them
Wanted = Mapping[Key, Mapping[str, Any]]  # keys with the options for reading them
Connect = Callable[[Endpoint, Counts], Channel]
AnyChannel: TypeAlias = "Channel | Cluster | Ha"


class Targets:
    """Channels by target, opened when first used."""

    def __init__(
        self, site: str, endpoints: Mapping[str, Endpoint], connect: Connect, kept: Mapping[str, Channel] | None
    ) -> None:
        self.site = site
        self.endpoints = dict(endpoints)
        self.counts: dict[str, Counts] = {}
        self._secrets = Secrets()
        self._connect = connect
        self._channels: dict[str, AnyChannel] = {**(kept or {})}
        self._expected: dict[str, Future[None]] = {}  # connections that are being made
        self._ended = threading.Event()
        self._guard = threading.Lock()
        for target, channel in (kept or {}).items():
            channel.counts = self.counts[target] = Counts()

    def keep(self) -> dict[str, Channel]:
        """The connections to hosts, for another fleet: who has planned may apply a moment later."""
        found = {
            target: at for target, at in self._channels.items() if isinstance(at, Channel) and target in self._hosts
        }
        for target in found:
            del self._channels[target]
        return found

    @property
    def _hosts(self) -> set[str]:
        """That can be reached by what is known."""
        return {name for name, at in self.endpoints.items() if self._is_host(at) and not (at.api or at.of or at.node)}

    def channel(self, target: str) -> "AnyChannel":
        """Raises ApiError where a container has to be looked for, and MissingSecret for the cluster's token."""
        with self._guard:
            known = self._channels.get(target)
            counts = self.counts.setdefault(target, Counts())
        at = self.endpoints[target]
        moves = at.by_ssh or at.of  # its host may be another one by now
        if known is not None and not (moves and isinstance(known, Channel) and known.ended):
            return known
        made = self._made(at, counts)
        with self._guard:
            if self._channels.get(target) is known:
                self._channels[target] = made
            return self._channels[target]

    def _made(self, endpoint: Endpoint, counts: Counts) -> "AnyChannel":
        """What Proxmox VE and CTDB need is only loaded where there are any."""
        if endpoint.api:
            from smbplan.drivers.pve.cluster import cluster

            return cluster(self._secrets.resolve(endpoint.api), self.site, counts, partial(self._node, endpoint))
        if endpoint.nodes:
            from smbplan.drivers.ha import Ha

            return Ha(endpoint, self.site, counts, self._member)
        if endpoint.of:
            from smbplan.drivers.ha_nodes import enter

            members = self.endpoints[endpoint.of].nodes or {}
            return enter(endpoint, members, counts, self._member)
        if endpoint.guest or endpoint.node:
            there = self.cluster
            if endpoint.node:
                return self._connect(replace(endpoint, host=there.address(endpoint.node)), counts)
            return there.enter(endpoint, counts, self._connect)
        return self._connect(endpoint, counts)

    @property
    def cluster(self) -> "Cluster":
        """Proxmox VE. Raises what `channel` does."""
        found = self.channel(CLUSTER)
        assert not isinstance(found, Channel)
        return cast("Cluster", found)

    def _member(self, endpoint: Endpoint, counts: Counts) -> Channel:
        """A node of a cluster."""
        made = self._made(endpoint, counts)
        assert isinstance(made, Channel)
        return made

    def _node(self, api: Endpoint, node: str, address: str) -> Channel:
        """For what the cluster itself has to do on a node."""
        return self._connect(replace(api, api=None, name=node, host=address), self.counts[api.name])

    def each(self, targets: Sequence[str], call: Callable[[str], Any]) -> dict[str, Any]:
        """What the call gives for each target, or the ChannelError or MissingSecret that it raised."""

        def safely(target: str) -> Any:
            try:
                return call(target)
            except (ChannelError, MissingSecret) as error:
                return error

        pool, waits = ThreadPoolExecutor(max_workers=max(1, min(32, len(targets)))), True
        try:
            return dict(zip(targets, pool.map(safely, targets), strict=True))
        except KeyboardInterrupt:
            waits = self.changes
            raise
        finally:
            pool.shutdown(waits, cancel_futures=True)

    @property
    def changes(self) -> bool:
        """Whether what is under way has to end before anything else: nobody could say what it has done."""
        return False

    def expect(self) -> None:
        """Connect meanwhile to the hosts that can be reached by what is known; the first request waits for that."""
        plain = sorted(self._hosts)
        if plain:
            pool = ThreadPoolExecutor(max_workers=min(32, len(plain)))
            self._expected = {target: pool.submit(self._open, target) for target in plain}
            pool.shutdown(wait=False)

    def _open(self, target: str) -> None:
        found = self.channel(target)
        if isinstance(found, Channel) and not self._ended.is_set():
            found.connect()
        if self._ended.is_set():
            found.close()

    def ask(self, target: str, verb: str, **arguments: Any) -> Any:
        """Raises ChannelError."""
        expected = self._expected.pop(target, None)
        if expected:
            expected.result()
        return self.channel(target).request(verb, **arguments)

    def ask_all(self, asked: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """What each target answers to a verb with its arguments, or the ChannelError or MissingSecret that it raised.

        Of containers on one node, the node asks for all: that is one request, and no connection to any of them.
        """
        nodes = self._nodes_of(asked)
        below = {name for found in nodes.values() for name in found}
        pool = ThreadPoolExecutor(1)
        try:
            inside = pool.submit(self._inside, nodes, asked)
            answers = self._one_by_one({name: asked[name] for name in asked if name not in below})
            answers |= inside.result()
        finally:
            pool.shutdown(self.changes)
        return answers | self._one_by_one({name: asked[name] for name in asked if name not in answers})

    def _one_by_one(self, asked: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """By itself each."""
        return self.each(list(asked), lambda target: self.ask(target, **asked[target]))

    def _nodes_of(self, asked: Iterable[str]) -> Mapping[str, Mapping[str, Endpoint]]:
        """{node: the ways into containers that it asks}: of those that are not alone there, and have no connection."""
        guests = {name: self.endpoints[name] for name in asked}
        guests = {name: at for name, at in guests.items() if at.guest and not at.by_ssh and name not in self._channels}
        if len(guests) < WORTH or CLUSTER not in self.endpoints:
            return {}
        found = self.each([CLUSTER], lambda _: self.cluster.containers(guests))[CLUSTER]
        return {} if isinstance(found, Exception) else {node: at for node, at in found.items() if len(at) >= WORTH}

    def _inside(self, nodes: Mapping[str, Mapping[str, Endpoint]], asked: Mapping[str, Any]) -> dict[str, Any]:
        """What containers answer by their nodes; without what can't be understood, or says that it failed."""

        def told(node: str) -> Mapping[str, str]:
            lines = {name: json.dumps(asked[name]) for name in nodes[node]}
            return self.cluster.inside(node, {name: at.inside() for name, at in nodes[node].items()}, lines)

        found: dict[str, Any] = {}
        texts = {node: each for node, each in self.each(list(nodes), told).items() if not isinstance(each, Exception)}
        for name, text in ((name, texts[node].get(name)) for node in texts for name in nodes[node]):
            with suppress(ChannelError, *STRANGE):
                counts = self.counts.setdefault(name, Counts())
                found[name] = understood(self.endpoints[name].name, json.loads(text or ""), counts)
        return found

    def resolved(self, data: Any) -> Any:
        """With its secrets. Raises MissingSecret."""
        return self._secrets.resolve(data)

    def read(self, target: str, wanted: Wanted) -> tuple[Live, dict[Key, dict[str, str]]]:
        """One round trip: the states and the inventory, and the errors of what could not be read.

        Raises ChannelError, and MissingSecret for a password that is to be compared.
        """
        return self._live(target, self.ask(target, **self._reading(wanted)))

    def read_all(self, wanted: Mapping[str, Wanted], only: bool = False) -> dict[str, Any]:
        """The same of each target, or the ChannelError or MissingSecret that it raised; `only`: without the rest."""
        more = {"only": True} if only else {}
        asked = self.each(list(wanted), lambda target: {**self._reading(wanted[target]), **more})
        troubles = {target: error for target, error in asked.items() if isinstance(error, Exception)}
        answers = self.ask_all({target: asked[target] for target in asked if target not in troubles})
        troubles |= {target: error for target, error in answers.items() if isinstance(error, Exception)}
        good = [target for target in answers if target not in troubles]
        return troubles | self.each(good, lambda target: self._live(target, answers[target]))

    def _reading(self, wanted: Wanted) -> dict[str, Any]:
        """The request. Raises MissingSecret."""
        keys = [[*key, self._secrets.resolve(options)] for key, options in wanted.items()]
        return {"verb": "read", "site": self.site, "keys": keys}

    @staticmethod
    def _live(target: str, answer: Any) -> tuple[Live, dict[Key, dict[str, str]]]:
        """Raises ChannelError."""
        try:
            return live(target, answer)
        except STRANGE as error:
            raise strange(target, error) from None

    def _is_host(self, at: Endpoint) -> bool:
        """It does not come and go with a run; nor is it one of many that write down what they do together."""
        return not (at.guest or at.nodes or self._is_of_guests(at))

    def _is_of_guests(self, at: Endpoint) -> bool:
        """What they share outlasts them, and nobody could tidy it up when they are gone."""
        members = (self.endpoints[at.of] if at.of else at).nodes or {}
        return any(node.get("guest") for node in members.values())
