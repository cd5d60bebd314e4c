"""Targets that answer nonsense to what they are to do: that costs their own steps, and nothing else."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unit.clustered import HOME, Fake, Nodes
from unit.hostile import JUNK

from smbplan.drivers import ha_nodes
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Answered, ChannelError
from smbplan.drivers.fleet import Fleet
from smbplan.engine.outcome import Result
from smbplan.engine.step import Call, Step, Way, Work
from smbplan.kinds.guest import CLUSTER

CALLS = [Call("prove"), Call("close")]
WORKS = [Work(Step(call.name, call.name, "files", "", call, None), Way.DO, call) for call in CALLS]
GOOD = {"ok": None}
BAD = {"error": {"summary": "no", "detail": "", "hint": ""}}
KEYS = st.sampled_from(["summary", "detail", "hint"])
ANSWER = JUNK | st.fixed_dictionaries(
    {},
    optional={
        "ok": JUNK,
        "error": JUNK | st.dictionaries(KEYS, JUNK, min_size=3),
        "warnings": JUNK | st.lists(JUNK, max_size=2),
        "untouched": JUNK,
    },
)
WHOLE = JUNK | st.fixed_dictionaries({"ok": JUNK | st.lists(ANSWER, min_size=1, max_size=3)}) | ANSWER


@dataclass(slots=True)
class Liar(Channel):
    """Answers this to what it is to perform."""

    whole: Any = None

    def open(self) -> None:
        """Nothing is there."""

    def _exchange(self, line: bytes, timeout: float) -> bytes:
        asked = json.loads(line)["verb"] == "perform"
        return json.dumps(self.whole if asked else {"ok": {"held": None, "unfinished": []}}).encode()


def lying(whole: Any) -> Callable[[Endpoint, Counts], Channel]:
    return lambda endpoint, counts: Liar(endpoint, counts, whole=whole)


def told(whole: Any) -> list[Result]:
    with Fleet("office", {"files": Endpoint("files")}, lying(whole)) as fleet:
        fleet.begin("run", ["files"])
        return list(fleet.run("files", WORKS))


@settings(max_examples=200, deadline=None)
@given(WHOLE)
@example({"ok": [{"error": {"summary": 3, "detail": None, "hint": [1]}}, {"ok": None, "warnings": [{}, None]}]})
@example({"error": {"summary": 3, "detail": None, "hint": [1]}})
def test_any_answer_becomes_a_result_for_each_step_in_words_that_can_be_shown(whole: Any) -> None:
    results = told(whole)
    assert len(results) == len(WORKS)
    for each in results:
        words = (each.summary, each.detail, each.hint, *each.warnings)
        assert [type(word) for word in words] == [str] * len(words)


@pytest.mark.parametrize("answers", [[GOOD], [GOOD] * 3, [], None, 7, "ab", {"a": 1, "b": 2}])
def test_of_answers_that_are_not_as_many_as_the_steps_nobody_knows_to_which_they_belong(answers: Any) -> None:
    for each in told({"ok": answers}):
        assert (each.ok, each.untouched, each.lost) == (False, False, True)
        assert each.summary == "what files answers can't be understood"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "error",
        "ok",
        [],
        {},
        {"error": "no"},
        {"error": {"summary": "no"}, "untouched": True},
        {**GOOD, "warnings": 3},
    ],
)
def test_one_answer_that_can_not_be_understood_costs_its_own_step(answer: Any) -> None:
    first, second = told({"ok": [answer, GOOD]})
    assert (first.ok, first.untouched, first.lost, second.ok) == (False, False, True, True)
    assert first.summary == "what files answers can't be understood" and first.detail and first.hint


def test_what_a_target_says_is_kept_as_text() -> None:
    words = {"summary": 3, "detail": None, "hint": ["a"]}
    failed, warned = told({"ok": [{"error": words, "untouched": True}, {**GOOD, "warnings": [3, None]}]})
    assert (failed.summary, failed.detail, failed.hint, failed.untouched) == ("3", "", "['a']", True)
    assert not failed.lost and warned.ok and list(warned.warnings) == ["3", ""]
    refused, _ = told({"error": words})
    assert (refused.summary, refused.detail, refused.hint) == ("files: 3", "", "['a']")
    with pytest.raises(Answered) as caught:
        Liar(Endpoint("files"), whole={"error": words}).request("perform")
    assert (caught.value.detail, caught.value.hint) == ("", "['a']")


@pytest.mark.parametrize("answers", [[None, GOOD], [{"error": 7}, GOOD]])
def test_what_another_target_writes_down_of_it_is_well_formed(answers: Any) -> None:
    """The node that keeps the notes of what guests share could not read them, and noted nothing of the others."""
    written: list[Any] = []
    places = {
        CLUSTER: Endpoint(CLUSTER, api={"endpoint": "pve1"}),
        "@ha:files": Endpoint("@ha:files", nodes={"n1": Endpoint("n1", guest="n1").as_json()}),
    }
    there = SimpleNamespace(note=lambda **words: written.append(words), lock=lambda *_: [], close=bool)
    fleet = Fleet("office", places, Channel)
    fleet._channels |= {CLUSTER: cast(Any, there), "@ha:files": lying({"ok": answers})(places["@ha:files"], Counts())}
    with fleet:
        fleet.begin("run", ["@ha:files"])
        first, second = fleet.run("@ha:files", WORKS)
    assert (first.lost, second.ok) == (True, True)
    before, after = written
    assert "answers" not in before and after["answers"][1] == {**GOOD, "warnings": []}
    assert isinstance(after["answers"][0]["error"]["summary"], str) and "ok" not in after["answers"][0]


class Odd(Fake):
    """A node of a cluster that answers nonsense."""

    def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
        return None if verb == "perform" or arguments.get("do") == "look" else super().request(verb, **arguments)


def odd(endpoint: Endpoint, counts: Counts) -> Channel:
    return Odd(endpoint, counts, Nodes("n1"))


def test_a_node_that_answers_nonsense_costs_the_steps_of_its_cluster() -> None:
    members = {"n1": Endpoint("n1").as_json()}
    places = {
        "@ha:files": Endpoint("@ha:files", home=HOME, nodes=members),
        "files": Endpoint("files", home=HOME, of="@ha:files"),
    }
    for target in places:
        with Fleet("office", places, odd) as fleet:
            fleet.begin("run", [target])
            step = replace(WORKS[0].step, target=target, do=Call("forget", {"address": "a"}))
            (result,) = fleet.run(target, [Work(step, Way.DO, step.do)])
        assert (result.ok, result.untouched) == (False, False)
        assert "answers can't be understood" in result.summary


class Serves(Channel):
    """A node that is healthy."""

    def request(self, verb: str, timeout: float = 0.0, **arguments: Any) -> Any:
        return {"status": {"own": 0, "nodes": {"0": "ok"}}, "settings": {}}


def test_the_way_in_is_by_a_node_whose_answers_can_be_understood() -> None:
    def connect(endpoint: Endpoint, counts: Counts) -> Channel:
        return Serves(endpoint, counts) if endpoint.host == "b" else odd(endpoint, counts)

    members = {name: Endpoint(name, host=host).as_json() for name, host in (("n1", "a"), ("n2", "b"))}
    assert isinstance(ha_nodes.enter(Endpoint("files", home=HOME), members, Counts(), connect), Serves)
    del members["n2"]
    with pytest.raises(ChannelError, match="what n1 answers can't be understood"):
        ha_nodes.enter(Endpoint("files", home=HOME), members, Counts(), connect)
