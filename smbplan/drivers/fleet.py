"""All targets of a site: read them at once, and perform operations on them. The only I/O on managed hosts."""

import getpass
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from smbplan.drivers import ha, ha_nodes
from smbplan.drivers.channel import Channel, ChannelError, Counts, Endpoint, Unreachable, strange
from smbplan.drivers.pve.cluster import Cluster, cluster
from smbplan.drivers.secrets import REFERENCE, MissingSecret, Secrets
from smbplan.engine.execute import Result
from smbplan.engine.resource import STRANGE, Key, Live, Record
from smbplan.engine.step import Move, Op
from smbplan.kinds.guest import CLUSTER

AWAY = 90.0  # seconds that a target which was there before is waited for
LOCK_WAIT = 120.0  # seconds; an agent whose connection was lost first ends what it does
EVERYWHERE = ("reload", "restart", "close")  # calls that every node of a cluster gets
Wanted = Mapping[Key, Mapping[str, Any]]  # keys with the options for reading them
Connect = Callable[[Endpoint, Counts], Channel]


class Fleet:
    """Channels by target, opened when first used. A context manager."""

    def __init__(self, site: str, endpoints: Mapping[str, Endpoint], connect: Connect = Channel) -> None:
        self.site, self.run_id = site, ""
        self.owner = f"{getpass.getuser()}@{socket.gethostname()} (process {os.getpid()})"
        self.endpoints = dict(endpoints)
        self.counts: dict[str, Counts] = {}
        self._secrets = Secrets()
        self._connect = connect
        self._channels: dict[str, Channel | Cluster | ha.Ha] = {}
        self._away: set[str] = set()  # targets that were waited for in vain
        self._guard = threading.Lock()

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels.values():
            channel.close()

    def channel(self, target: str) -> "Channel | Cluster | ha.Ha":
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

    def _made(self, endpoint: Endpoint, counts: Counts) -> "Channel | Cluster | ha.Ha":
        if endpoint.api:
            return cluster(self._secrets.resolve(endpoint.api), self.site, counts, partial(self._node, endpoint))
        if endpoint.nodes:
            return ha.Ha(endpoint, self.site, counts, self._member)
        if endpoint.of:
            members = self.endpoints[endpoint.of].nodes or {}
            return ha_nodes.enter(endpoint, members, counts, self._member)
        if endpoint.guest or endpoint.node:
            there = self.channel(CLUSTER)
            assert isinstance(there, Cluster)
            if endpoint.node:
                return self._connect(replace(endpoint, host=there.address(endpoint.node)), counts)
            return there.enter(endpoint, counts, self._connect)
        return self._connect(endpoint, counts)

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

        with ThreadPoolExecutor(max_workers=max(1, min(32, len(targets)))) as pool:
            return dict(zip(targets, pool.map(safely, targets), strict=True))

    def ask(self, target: str, verb: str, **arguments: Any) -> Any:
        """Raises ChannelError."""
        return self.channel(target).request(verb, **arguments)

    def resolved(self, data: Any) -> Any:
        """With its secrets. Raises MissingSecret."""
        return self._secrets.resolve(data)

    def read(self, target: str, wanted: Wanted) -> tuple[Live, dict[Key, dict[str, str]]]:
        """One round trip: the states and the inventory, and the errors of what could not be read.

        Raises ChannelError, and MissingSecret for a password that is to be compared.
        """
        keys = [[*key, self._secrets.resolve(options)] for key, options in wanted.items()]
        answer = self.ask(target, "read", site=self.site, keys=keys)
        try:
            return _live(target, answer)
        except STRANGE as error:
            raise strange(target, error) from None

    def finish(self, target: str, everything: bool) -> None:
        """Drop the run's before-images; with `everything` those of earlier, stranded runs too. Raises ChannelError."""
        self.ask(target, "finish", site=self.site, run=self.run_id, everything=everything)

    def run(self, target: str, ops: Sequence[Op]) -> Sequence[Result]:
        """See engine.execute.Runner."""
        try:
            encoded = [self._secrets.resolve(encode(op)) for op in ops]
        except MissingSecret as error:
            return [Result(False, error.summary, "", error.hint, untouched=True)] * len(ops)
        try:
            answers = self._patiently(target, encoded)
        except ChannelError as error:
            untouched = isinstance(error, Unreachable)
            return [Result(False, error.summary, error.detail, error.hint, untouched=untouched, lost=True)] * len(ops)
        return [_result(answer) for answer in answers]

    def _patiently(self, target: str, ops: Sequence[Any]) -> Sequence[Any]:
        """A target that is away, as one that reboots, is waited for; once in a run. Raises ChannelError."""
        deadline = time.monotonic() + (0.0 if target in self._away else AWAY)
        while True:
            try:
                channel = self.channel(target)
                channel.lock(self.owner, LOCK_WAIT)
                answers = self._performed(target, channel, ops)
                channel.counts.operations += len(ops)
                return answers
            except Unreachable:
                if time.monotonic() >= deadline:
                    self._away.add(target)
                    raise
                time.sleep(1)

    def _performed(self, target: str, channel: "Channel | Cluster | ha.Ha", ops: Sequence[Any]) -> Sequence[Any]:
        """Of what a cluster serves, sessions are on any node: what is for sessions goes to all. Raises ChannelError."""
        at, request = self.endpoints[target], dict[str, Any](site=self.site, run=self.run_id)
        spread = [bool(at.of) and op.get("call") in EVERYWHERE for op in ops]
        here = [op for op, everywhere in zip(ops, spread, strict=True) if not everywhere]
        answers = iter(channel.request("perform", ops=here, **request) if here else ())
        return [
            self.ask(at.of, "everywhere", op=op, **request) if everywhere else next(answers)
            for op, everywhere in zip(ops, spread, strict=True)
        ]


def _live(target: str, answer: Mapping[str, Any]) -> tuple[Live, dict[Key, dict[str, str]]]:
    if _names_a_secret([answer["states"], answer["records"]]):
        words = f"{target} tells of secrets of this machine, which smbplan never puts there"
        raise ChannelError(words, "", "somebody has written that there: look at its notes and /var/lib/smbplan")
    states: dict[Key, Any] = {}
    errors: dict[Key, dict[str, str]] = {}
    for type_, name, found in answer["states"]:
        if "error" in found:
            errors[Key(type_, name)] = {word: str(found["error"][word]) for word in ("summary", "detail", "hint")}
        else:
            states[Key(type_, name)] = found["state"]
    records = {address: Record.from_json(data) for address, data in answer["records"].items()}
    return Live(dict(answer["facts"]), states, records, dict(answer["peers"])), errors


def _names_a_secret(told: Any) -> bool:
    """Whether what a target tells would be resolved here, by a command or a file, when it is sent back."""
    if isinstance(told, Mapping):
        return REFERENCE in told or any(map(_names_a_secret, told.values()))
    return isinstance(told, list) and any(map(_names_a_secret, told))


def encode(op: Op) -> dict[str, Any]:
    """An operation as the agent takes it."""
    if isinstance(op, Move):
        return {
            "type": op.key.type,
            "name": op.key.name,
            "before": op.before,
            "after": op.after,
            "record": op.record.as_json() if op.record else None,
            "address": op.address,
            "options": dict(op.options),
        }
    return {"call": op.name, "arguments": dict(op.arguments)}


def _result(answer: Mapping[str, Any]) -> Result:
    if "error" in answer:
        words = answer["error"]
        return Result(False, words["summary"], words["detail"], words["hint"], untouched="untouched" in answer)
    return Result(True, output=answer["ok"], warnings=answer.get("warnings", ()))
