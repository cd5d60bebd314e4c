"""A site's containers on a cluster of the emulated API: real HTTPS, real plans and steps, files for containers."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unit.kinds.sites import CONTAINER, site
from unit.pve.emulated import TEMPLATE, Lab
from unit.simulated import Notes

from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Unreachable
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.pve.client import Client
from smbplan.drivers.pve.cluster import Cluster, cluster
from smbplan.engine import plan as planning
from smbplan.engine.execute import Execution
from smbplan.engine.kind import Change, Options
from smbplan.engine.outcome import Outcome, Result
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Resource
from smbplan.engine.step import Move, Step, Work
from smbplan.kinds import expand, kinds
from smbplan.kinds.guest import CLUSTER

TOKEN = "root@pam!plan"


def _no_node(node: str, address: str) -> Channel:
    raise Unreachable(f"no way to {node} at {address} here")


def defined(shares: Mapping[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """The site `contained`: keys of its gateway `box`, and of its shares `vol` and `spare`; None leaves one out."""
    data = copy.deepcopy(CONTAINER)
    data["gateways"]["box"] |= {"template": f"local:vztmpl/{TEMPLATE}", **keys}
    return with_storage(data, shares)


def with_storage(data: dict[str, Any], shares: Mapping[str, Any] | None) -> dict[str, Any]:
    """With keys of what the shares lie on; None leaves one out."""
    for name, storage in (shares or {}).items():
        if storage is None:
            del data["shares"][name]
        else:
            data["shares"][name]["storage"] |= storage
    return data


class Failing:
    """A runner with one step that is said to have failed."""

    def __init__(self, fleet: Fleet, address: str) -> None:
        self.fleet, self.address = fleet, address

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        results = list(self.fleet.run(target, works))
        for number, work in enumerate(works):
            if isinstance(work.op, Move) and work.op.address == self.address:
                assert results[number].ok, results[number]
                results[number], self.address = Result(False, "seeded"), ""
        return results


class Gateways:
    """What app does with a cluster, without what is inside the containers."""

    def __init__(self, lab: Lab, ca: Path, token: str = TOKEN) -> None:
        if token == TOKEN:
            lab.token(token)  # any other is there already
        self.lab = lab
        self.api = {
            "endpoint": f"https://127.0.0.1:{lab.client.port}",
            "token": {"id": token, "secret": "secret"},
            "ca_file": str(ca),
        }
        self.fleet = Fleet("contained", {CLUSTER: Endpoint(CLUSTER, api=self.api)})

    @property
    def cluster(self) -> Cluster:
        return cluster(self.api, "contained", Counts(), _no_node)

    @property
    def client(self) -> Client:
        return self.cluster.guests.client

    def plan(self, data: Mapping[str, Any], change: Mapping[str, Any] | None = None, **options: Any) -> Plan:
        """`change` replaces fields of the wanted container that no definition can have."""
        wanted = [self._changed(item, change or {}) for item in expand(site(data)) if item.target == CLUSTER]
        live, errors = self.fleet.read(CLUSTER, {item.key: {} for item in wanted})
        assert errors == {}
        return planning.build("contained", wanted, {CLUSTER: live}, kinds(), Options(**options))

    @staticmethod
    def _changed(item: Resource, change: Mapping[str, Any]) -> Resource:
        return replace(item, desired={**item.desired, **change}) if item.kind == "lxc.container" else item

    def run(self, steps: tuple[Step, ...], fail: str = "") -> Outcome:
        """`fail`: the step that fails after it took effect."""
        self.fleet.begin("run", [CLUSTER])
        return Execution(steps, Failing(self.fleet, fail), Notes()).run()

    def apply(self, data: Mapping[str, Any], **options: Any) -> Outcome:
        """It must succeed, and leave no difference."""
        made = self.plan(data, **options)
        assert made.refused == ()
        done = self.run(made.steps)
        assert done.name == "applied", done.problems
        left = self.differences(data, **options)
        assert left == [], left
        return done

    def differences(self, data: Mapping[str, Any], **options: Any) -> list[str]:
        return [f"{change.action} {change.address}" for change in self.plan(data, **options).changes]

    def config(self, vmid: int = 100, **params: Any) -> dict[str, Any]:
        found = self.lab.ask("GET", f"/nodes/pve1/lxc/{vmid}/config", "root@pam", **params)
        assert isinstance(found, dict)
        return found

    def restart(self, vmid: int = 100) -> None:
        """Down and up, by somebody else."""
        for verb in ("stop", "start"):
            assert self.lab.done(self.lab.ask("POST", f"/nodes/pve1/lxc/{vmid}/status/{verb}")) == "OK"


def reasons(made: Plan, address: str) -> tuple[str, ...]:
    """Of one change."""
    found: Change = next(change for change in made.changes if change.address == address)
    return found.reasons
