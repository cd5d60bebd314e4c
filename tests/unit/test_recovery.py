"""A run of another machine, by what its targets tell of it; and what they must not get by telling anything else."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from unit.hostile import JUNK
from unit.telling import NOTHING, OLDER, RUN, SITE, Told, doing, fleet, header, known, step

from smbplan import recovery
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import ChannelError, Held, TakenOver
from smbplan.drivers.fleet import Fleet
from smbplan.engine.resource import Key, Live
from smbplan.engine.step import Move, Status, Step
from smbplan.errors import Refused
from smbplan.kinds.guest import CLUSTER
from smbplan.report import clusters
from smbplan.report import guests as guest_commands
from smbplan.spec.load import load_source
from smbplan.spec.model import Site
from smbplan.spec.source import parse
from smbplan.store import runs


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMBPLAN_STATE", str(tmp_path))


@pytest.fixture
def site() -> Site:
    return load_source(parse(SITE, "site.yaml")).site


def left(site: Site, *forget: str, **answers: Mapping[str, Any]) -> recovery.Left | None:
    with fleet(**answers) as there:
        return recovery.left(there, site, forget)


def test_a_run_is_put_together_from_all_its_targets(site: Site) -> None:
    first, second, last = step("b"), step("a", "vault", "b", "c"), step("d", "files", "a")
    both = header(RUN, "files", "vault")
    files = known(both, doing(first), {"step": "b", "status": "done", "time": 2.0}, doing(last, time=3.0))
    found = left(site, files=files, vault=known(both, doing(second), {"step": "a", "status": "done", "time": 2.5}))
    assert found and found.run == RUN and found.about["owner"] == "alice@far"
    steps = found.steps(site)
    assert [each.id for each in steps] == ["b", "a", "d"]
    assert steps[1].after == ("b",), "c was never begun"
    assert {entry.step: entry.status for entry in found.entries()} == {
        "b": Status.DONE,
        "a": Status.DONE,
        "d": Status.DOING,
    }


def test_who_has_only_heard_that_a_run_began_is_told_that_it_is_over(site: Site) -> None:
    """Its lease and its journal's first line stayed on it, when another machine took the run back."""
    both = header(RUN, "files", "vault", "elsewhere")
    found = left(site, "elsewhere", files=known(both, doing(step("a"))), vault=known(both))
    assert found and found.targets == {"files", "vault"}, "what the definitions do not have can't be told"


@pytest.mark.parametrize(("steps", "whole"), [(2, True), (3, False), (0, False), (None, False), ("2", False)])
def test_a_run_is_whole_when_all_of_its_steps_are_known(site: Site, steps: Any, whole: bool) -> None:
    both = header(RUN, "files", "vault", steps=steps)
    found = left(site, files=known(both, doing(step("a"))), vault=known(both, doing(step("b", "vault"))))
    assert found and found.is_whole is whole


def test_a_guest_does_not_say_how_long_a_run_is() -> None:
    with guests(box={}, proxmox={}) as there:
        assert recovery._said(there, "box", [header(steps=1)])[0]["steps"] == 0
        assert recovery._said(there, "@proxmox", [header(steps=1)])[0]["steps"] == 1


def test_a_run_that_one_of_its_targets_has_forgotten_has_ended(site: Site) -> None:
    both = header(RUN, "files", "vault")
    assert left(site, files=known(both, doing(step("a"))), vault=NOTHING) is None
    mine = header(RUN, "files")
    assert left(site, files=known(mine, doing(step("a"))), vault=NOTHING) is not None, "vault took no part"


@pytest.mark.parametrize(("word", "found"), [("applied", False), ("rolled_back", False), ("stranded", True)])
def test_one_that_has_ended_is_of_interest_when_it_is_stranded(site: Site, word: str, found: bool) -> None:
    lines = known(header(RUN, "files"), doing(step("a")), {"ended": word})
    assert (left(site, files=lines, vault=NOTHING) is not None) == found


def test_a_stranded_run_that_one_of_its_targets_has_forgotten_is_over(site: Site) -> None:
    lines = known(header(RUN, "files", "vault"), doing(step("a")), {"ended": "stranded"})
    assert left(site, files=lines, vault=NOTHING) is None
    assert left(site, files=lines, vault=known(header(RUN, "files", "vault"), {"ended": "stranded"})) is not None


def test_one_that_is_known_here_to_have_ended_is_not_taken_up(site: Site) -> None:
    run = runs.start("office", {"steps": []}, RUN)
    run.finish({"outcome": "applied"})
    assert left(site, files=known(header(RUN, "files"), doing(step("a"))), vault=NOTHING) is None


def test_a_target_that_took_part_has_to_answer_or_be_forgotten(site: Site) -> None:
    files = known(header(RUN, "files", "vault"), doing(step("a")))
    with pytest.raises(Refused) as caught:
        left(site, files=files, vault={"away": True})
    assert "--forget vault" in caught.value.troubles[0].hint
    assert left(site, "vault", files=files, vault={"away": True}) is not None
    with pytest.raises(Refused, match="old took part in the run"):
        left(site, files=known(header(RUN, "files", "old"), doing(step("a"))), vault=NOTHING)
    with pytest.raises(Refused, match="no answer"):
        left(site, files={"away": True}, vault={"away": True})


def test_a_target_speaks_for_itself(site: Site) -> None:
    lines = known(header(RUN, "files"), doing(step("a")), doing(step("b", "vault")))
    found = left(site, files=lines, vault=NOTHING)
    assert found and [each.id for each in found.steps(site)] == ["a"]


@pytest.mark.parametrize(
    ("source", "fine"),
    [({"env": "ALICE"}, True), ({"env": "HOME"}, False), ({"command": ["touch", "/tmp/evil"]}, False)],
)
def test_a_target_gets_no_secret_that_is_not_its_own(site: Site, source: dict[str, Any], fine: bool) -> None:
    found = left(site, files=known(header(RUN, "files"), doing(step("a", password={"$secret": source}))), vault=NOTHING)
    assert found
    if fine:
        assert len(found.steps(site)) == 1
    else:
        with pytest.raises(Refused, match="names secrets"):
            found.steps(site)


def of_type(type_: str, target: str) -> Step:
    move = Move("a", Key(type_, "box"), {"mark": "m"}, None)
    return Step("a", "a", target, "a", move, move.reversed(None))


@pytest.mark.parametrize("type_", [*guest_commands.RENDER, *clusters.RENDER])
def test_what_only_a_cluster_has_no_other_target_tells_of(site: Site, type_: str) -> None:
    """It would be printed as commands for its nodes."""
    for target in ("files", "@proxmox", "@ha:box"):
        told = {target: [header(), doing(of_type(type_, target))]}
        found = recovery.Left(RUN, header(), told, {}, {target: target}, False)
        if target == ("@ha:box" if type_ in clusters.RENDER else "@proxmox"):
            assert len(found.steps(site)) == 1
        else:
            with pytest.raises(Refused, match="is damaged"):
                found.steps(site)
    through = {"files": [header(), doing(of_type(type_, "@proxmox"))]}
    assert recovery.Left(RUN, header(), through, {}, {"files": "files"}, False).steps(site) == (), "nor on its behalf"


@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b", "\x7f"])
@pytest.mark.parametrize("field", ["id", "address", "title", "name", "undo"])
def test_what_is_shown_of_a_step_is_one_line(site: Site, field: str, sign: str) -> None:
    good = step("a")
    bad = Move("a", Key("file", f"/a{sign}pve1# reboot"), None, None)
    odd = {"name": {"do": bad}, "undo": {"undo": bad}}.get(field, {field: f"a{sign}pve1# reboot"})
    for each, fine in ((good, True), (replace(good, **odd), False)):
        found = left(site, files=known(header(RUN, "files"), doing(each)), vault=NOTHING)
        assert found
        if fine:
            assert found.steps(site) == (good,)
        else:
            with pytest.raises(Refused, match="is damaged"):
                found.steps(site)


def test_of_two_who_tell_of_one_step_one_lies(site: Site) -> None:
    files, vault = known(header(RUN), doing(step("a"))), known(header(RUN), doing(step("a", "vault")))
    found = left(site, files=files, vault=vault)
    assert found
    with pytest.raises(Refused, match="both tell of a: one of them lies") as caught:
        found.steps(site)
    assert "--forget" in caught.value.troubles[0].hint


def guests(**answers: Mapping[str, Any]) -> Fleet:
    """The guest `box`, and its cluster."""

    def connect(endpoint: Endpoint, counts: Counts) -> Channel:
        made = Told(endpoint, counts)
        made.answers = answers[endpoint.name.removeprefix("@")]
        return made

    return Fleet("office", {"box": Endpoint("box", guest="box"), "@proxmox": Endpoint("@proxmox")}, connect)


@pytest.mark.parametrize(
    ("cluster", "over"), [(NOTHING, True), (known(header(RUN)), False), ({"runs": {"runs": [], "unsure": True}}, False)]
)
def test_a_run_that_only_a_guest_tells_of_is_one_if_its_cluster_knows_it(cluster: Any, over: bool) -> None:
    """It invents one, or was away when that ended."""
    facts = {"unfinished": [{**header(RUN, "@proxmox", "files", "elsewhere"), "begun": True}]}
    with guests(box={}, proxmox=cluster) as there:
        live = {"box": Live(facts, {}, {}, {}), "@proxmox": Live({}, {}, {}, {})}
        if over:
            recovery.must_be_over(there, live)
        else:
            with pytest.raises(Refused, match="was cut short"):
                recovery.must_be_over(there, live)


def test_a_stranded_run_is_known_to_have_ended(site: Site) -> None:
    lines = (header(RUN, "files"), doing(step("a")), {"ended": "stranded"})
    found = left(site, files=known(*lines), vault=NOTHING)
    assert found and found.ended
    found = left(site, files=known(*lines[:2]), vault=NOTHING)
    assert found and not found.ended


def test_a_secret_of_one_is_not_told_to_another(site: Site) -> None:
    bad = doing(step("a", "vault", password={"$secret": {"env": "ALICE"}}))
    found = left(site, files=NOTHING, vault=known(header(RUN, "vault"), bad))
    assert found
    with pytest.raises(Refused, match="names secrets"):
        found.steps(site)


@pytest.mark.parametrize("run", ["../../etc", "x", "20260101-120000-abcd/../y"])
def test_a_run_with_a_strange_name_is_nobodys(site: Site, run: str) -> None:
    assert left(site, files=known(header(run, "files"), doing(step("a")), run=run), vault=NOTHING) is None
    live = {"files": Live({"unfinished": [{**header(run, "files"), "begun": True}]}, {}, {}, {})}
    with fleet(files=NOTHING) as there:
        recovery.must_be_over(there, live)


def over(facts: Mapping[str, Any]) -> None:
    with fleet(files=NOTHING) as there:
        recovery.must_be_over(there, {"files": Live(facts, {}, {}, {})})


def test_a_plan_says_who_is_at_work_or_has_left_something() -> None:
    facts: dict[str, Any] = {"unfinished": [{**header(RUN, "files"), "begun": True}]}
    lease = {**header(RUN), "silent": 3.0}
    with pytest.raises(Refused, match="is being changed by alice@far since") as caught:
        over({**facts, "lease": lease})
    assert caught.value.troubles[0].hint == "wait until that run ends"
    for told in ({**lease, "silent": 100.0}, None, {**lease, "run": OLDER}):
        with pytest.raises(Refused, match="was cut short: alice@far") as caught:
            over({**facts, "lease": told})
        assert "smbplan recover" in caught.value.troubles[0].hint
    idle = {"unfinished": [{**header(RUN, "files"), "begun": False}]}
    over(idle)


@pytest.mark.parametrize("guests", [True, False])
def test_of_what_guests_share_no_plan_is_told_of_runs(guests: bool) -> None:
    """Any of them can write there; what is done to it is written down by its hosts."""
    node = Endpoint("files1", guest="files1" if guests else "").as_json()
    home = "/mnt/shared/.smbplan/files"
    facts = {"unfinished": [{**header(RUN), "begun": True}]}
    with fleet(files=NOTHING) as there:
        there.endpoints["@ha:files"] = Endpoint("@ha:files", home=home, nodes={"files1": node})
        there.endpoints["files"] = Endpoint("files", home=home, of="@ha:files")
        if guests:
            there.endpoints[CLUSTER] = Endpoint(CLUSTER, api={"endpoint": "pve1"})
        for target in ("@ha:files", "files"):
            live = {target: Live(facts, {}, {}, {})}
            if guests:
                recovery.must_be_over(there, live)
            else:
                with pytest.raises(Refused, match="was cut short"):
                    recovery.must_be_over(there, live)


def test_the_last_word_is_the_latest_whichever_node_tells_it() -> None:
    """Of a cluster, each node tells its own lines."""
    lines = [{"step": "a", "status": "done", "time": 3.0}, {"step": "b", "status": "doing", "time": 1.0}]
    lines += [{"step": "a", "status": "doing", "time": 2.0}]
    assert list(recovery.statuses(lines).items()) == [("b", Status.DOING), ("a", Status.DONE)]


def test_while_a_node_can_not_be_asked_nothing_is_taken_up(site: Site) -> None:
    """It may know of steps that the others don't."""
    told = known(header(RUN, "files"), doing(step("a")))
    unsure = {"runs": {**told["runs"], "unsure": True}}
    with pytest.raises(Refused, match="a node of the cluster can't be asked"):
        left(site, files=unsure, vault=NOTHING)
    both = header(RUN, "files", "vault")
    unsure = {"runs": {"runs": [], "unsure": True}}
    with pytest.raises(Refused, match="a node of the cluster can't be asked"):  # nor has it forgotten the run
        left(site, files=known(both, doing(step("a"))), vault=unsure)


MANY = settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)


@MANY
@given(JUNK, JUNK, JUNK)
def test_whatever_a_target_tells_is_understood_or_refused(site: Site, one: Any, two: Any, lines: Any) -> None:
    telling = known(header(RUN, "files"), doing(step("a")))
    for answer in ({"runs": one}, {"runs": {"runs": [{"run": RUN, "lines": lines}]}}, {**telling, "read": two}):
        try:
            found = left(site, files=answer, vault=NOTHING)
            if found:
                found.steps(site)
                found.entries()
        except (Refused, ChannelError):
            continue


@MANY
@given(JUNK, JUNK)
def test_whatever_a_target_says_of_its_lease_is_understood_or_refused(one: Any, two: Any) -> None:
    facts = {"unfinished": [{**header(RUN, "files"), "begun": True, "since": one, "owner": two}], "lease": one}
    for told in (facts, {"unfinished": one, "lease": two}):
        try:
            over(told)
        except Refused:
            continue
    for lock in (one, {"held": one, "unfinished": two}):
        with fleet(files={"lock": lock}) as there:
            there.begin(RUN, ["files"])
            (answer,) = there.lock().values()
            assert isinstance(answer, list | ChannelError)
            if isinstance(answer, Held | TakenOver):
                assert answer.summary
            try:
                recovery.refuse_cut(there, {"files": answer})
            except Refused:
                continue
