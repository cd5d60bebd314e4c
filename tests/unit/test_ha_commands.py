"""What a person does to a cluster: alone, or not at all. The nodes are stubs."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from smbplan import app, ha, ha_trial
from smbplan.cli.output import note
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Answered, ChannelError, Unreachable
from smbplan.errors import Refused
from smbplan.spec.model import Site
from smbplan.store import runs

NODES = ("files1", "files2", "files3")
FLOATING = "198.18.0.61"


class Box:
    """What the nodes have been asked, and which of them are in trouble when they are locked."""

    def __init__(self) -> None:
        self.troubles: dict[str, ChannelError] = {}
        self.asked: list[tuple[str, str]] = []
        self.at = 0
        self.runs: list[Any] = []  # what is written down of changes to the cluster
        self.dropping: list[bool] = []  # of what is asked of ctdbd: whether the line breaks

    def connect(self, endpoint: Endpoint, counts: Counts) -> Channel:
        made = Stub(endpoint, counts)
        made.box = self
        return made

    def done(self, word: str) -> list[str]:
        return [name for name, verb in self.asked if verb == word]


class Stub(Channel):
    box: Box

    def open(self) -> None:
        return

    def request(self, verb: str, timeout: float = 0.0, **given: Any) -> Any:
        name = self.endpoint.name
        self.box.asked.append((name, given.get("do", verb)))
        trouble = self.box.troubles.get(name)
        if trouble and (verb == "lock" or isinstance(trouble, Unreachable)):
            raise trouble
        if given.get("do") == "power" and self.box.dropping and self.box.dropping.pop(0):
            raise ChannelError(f"lost the connection to {name}")
        if verb == "lock":
            return {"held": None, "unfinished": []}
        if verb == "runs":
            return {"runs": self.box.runs, "lease": None}
        if given.get("do") == "command":
            self.box.at = int(given["words"][-1])
        if given.get("do") == "look":
            words = {str(number): "ok" for number in range(len(NODES))}
            own = NODES.index(name) if name in NODES else 0
            status = {"own": own, "leader": 0, "nodes": words, "addresses": {FLOATING: self.box.at}}
            return {"settings": {}, "status": status, "why": ""}
        return None


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path / "state"))
    return Box()


@pytest.fixture(scope="module")
def site() -> Site:
    return app.validate(Path(__file__).parents[2] / "examples" / "ha").site


def test_an_address_moves_while_nobody_else_changes_the_cluster(site: Site, box: Box) -> None:
    ha.move(site, "files", FLOATING, "files2", box.connect)
    assert box.at == 1
    assert {*box.done("lock")} == {*NODES, "files"} == {*box.done("release")}


def test_nodes_that_are_away_do_not_matter(site: Site, box: Box) -> None:
    box.troubles["files3"] = Unreachable("files3: no answer from the host")
    ha.move(site, "files", FLOATING, "files2", box.connect)
    assert box.at == 1


@pytest.mark.parametrize("name", ["files2", "files"])
def test_where_the_lease_can_t_be_had_nothing_is_done(site: Site, box: Box, name: str) -> None:
    """It was done without any lease, at the same time as what somebody else does."""
    box.troubles[name] = Answered(f"{name}: OSError: [Errno 28] No space left on device")
    with pytest.raises(Refused, match="No space left"):
        ha.move(site, "files", FLOATING, "files2", box.connect)
    assert box.at == 0 and not runs.runs("ha")


def test_a_node_that_a_trial_has_stopped_comes_back_when_the_terminal_is_closed(
    site: Site, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, other = os.openpty()
    os.close(terminal)
    monkeypatch.setattr(ha_trial, "_clients", lambda *_: [])
    monkeypatch.setattr(ha_trial, "SETTLE", 0.0)
    monkeypatch.setattr(ha_trial, "_served_again", lambda *_: os.kill(os.getpid(), signal.SIGHUP))
    with open(other, "w") as stderr, pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(sys, "stderr", stderr)
        ha_trial.run(site, "files", note, stop="files2", connect=box.connect)
    assert box.done("power") == ["files2", "files2"]


@pytest.mark.parametrize("dropping", [[True], [False, True, True]])
def test_a_node_that_a_trial_has_stopped_comes_back_when_the_line_to_it_breaks(
    site: Site, box: Box, dropping: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not tried again, and nobody was told that the node stood still."""
    monkeypatch.setattr(ha_trial, "_clients", lambda *_: [])
    monkeypatch.setattr(ha_trial, "SETTLE", 0.0)
    monkeypatch.setattr(ha_trial.time, "sleep", lambda _: None)
    box.dropping, tries = [*dropping], len(dropping) + 1
    if dropping[0]:
        with pytest.raises(Refused, match="lost the connection"):
            ha_trial.run(site, "files", note, stop="files2", connect=box.connect)
    else:
        ha_trial.run(site, "files", note, stop="files2", connect=box.connect)
    assert box.done("power") == ["files2"] * tries and not box.dropping


def test_who_can_not_be_started_again_is_named(site: Site, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ha_trial, "_clients", lambda *_: [])
    monkeypatch.setattr(ha_trial, "SETTLE", 0.0)
    monkeypatch.setattr(ha_trial, "MOVED", 0.0)
    monkeypatch.setattr(ha_trial.time, "sleep", lambda _: None)
    box.dropping = [False, *[True] * 1000]
    with pytest.raises(Refused, match="files2 is stopped still: lost the connection"):
        ha_trial.run(site, "files", note, stop="files2", connect=box.connect)


@pytest.mark.parametrize(("more", "over"), [([], False), ([{"ended": "applied"}], True)])
def test_what_somebody_has_left_of_a_change_to_the_cluster_comes_first(
    site: Site, box: Box, more: list[Any], over: bool
) -> None:
    """Of a run that has begun nothing on the nodes themselves, neither a plan nor a move knew."""
    head = {"run": "20260102-120000-abcd", "site": "ha", "owner": "alice@far", "since": 1.0, "targets": [], "steps": 1}
    box.runs = [{"run": head["run"], "lines": [head, {"step": "a", "status": "doing"}, *more]}]
    if over:
        ha.move(site, "files", FLOATING, "files2", box.connect)
    else:
        with pytest.raises(Refused, match="was cut short: alice@far"):
            ha.move(site, "files", FLOATING, "files2", box.connect)
    assert box.at == int(over)


def test_no_client_tries_for_minutes_where_no_node_is_up(site: Site, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ha_trial, "_clients", lambda *_: pytest.fail("clients were made"))
    box.troubles = {name: Unreachable(f"{name}: no answer from the host") for name in (*NODES, "files")}
    with pytest.raises(Refused, match="no node of cluster files is up"):
        ha_trial.run(site, "files", note, connect=box.connect)
