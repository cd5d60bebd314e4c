"""Saved plans: what goes in comes out, and what was not made by us is refused in words."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.kinds.sites import plan
from unit.simulated import Notes, World

from smbplan import templates
from smbplan.drivers.endpoint import Endpoint
from smbplan.engine.encoding import step_from_json, step_to_json
from smbplan.engine.execute import Execution
from smbplan.engine.resource import Key, Record
from smbplan.engine.step import Call, Move, Nature, Step
from smbplan.kinds import expand, kinds
from smbplan.report import document
from smbplan.spec.load import load
from smbplan.store import codec, seal
from smbplan.store.codec import BadPlan

SITE = load(templates.data("examples") / "quickstart").site
WORDS = st.text(max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(WORDS, JSON, max_size=3)
TUPLES = st.lists(WORDS, max_size=3).map(tuple)
RECORDS = st.builds(
    Record, WORDS, WORDS, st.builds(Key, WORDS, WORDS), TUPLES, WORDS, JSON, st.booleans(), WORDS, WORDS, TUPLES
)
MOVES = st.builds(Move, WORDS, st.builds(Key, WORDS, WORDS), JSON, JSON, st.none() | RECORDS, OBJECTS)
OPS = MOVES | st.builds(Call, WORDS, OBJECTS)
UNDOS, NATURES = st.none() | OPS, st.sampled_from(Nature)
STEPS = st.builds(
    Step, WORDS, WORDS, WORDS, WORDS, OPS, UNDOS, NATURES, WORDS, TUPLES, TUPLES, TUPLES, st.booleans()
)  # fmt: skip


def documents() -> list[dict[str, Any]]:
    """Plans that create and that remove everything in the example."""
    world = World()
    made = [plan(SITE, expand(SITE), world)]
    Execution(made[0].steps, world, Notes()).run()
    made.append(plan(SITE, [], world, destroy=True, purge=True, delete_data=True))
    endpoints = {name: Endpoint(name, host=f"{name}.example") for name in SITE.gateways}
    return [document.plan(each, kinds(), endpoints) for each in made]


@pytest.fixture(autouse=True, scope="module")
def key() -> Iterator[str]:
    """The one that all plans here are sealed with."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(seal.VARIABLE, KEY)
        yield KEY


ALTERED = "was altered, or made elsewhere"
KEY = "a key that two machines have in common"
with pytest.MonkeyPatch.context() as patched:
    patched.setenv(seal.VARIABLE, KEY)
    MADE = [seal.sealed(each) for each in documents()]


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """For what is made before the key is there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(seal.VARIABLE, KEY)
        return seal.sealed({"site": "", **data})


def saved(folder: Path, data: object) -> Path:
    path = folder / "plan.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


@given(STEPS)
def test_every_step_survives_json(step: Step) -> None:
    assert step_from_json(json.loads(json.dumps(step_to_json(step)))) == step


@pytest.mark.parametrize("made", MADE, ids=["create", "remove"])
def test_a_saved_plan_is_read_as_it_was_made(made: dict[str, Any], tmp_path: Path) -> None:
    found = codec.read(saved(tmp_path, made))
    assert [step_to_json(step) for step in found.steps] == made["steps"]
    assert (found.site, dict(found.endpoints)) == ("quickstart", made["endpoints"])
    kinds_of_steps = {type(step.do) for step in found.steps}
    assert kinds_of_steps == {Move, Call}
    assert {step.undo is None for step in found.steps} == {True, False}


def refusal(path: Path) -> str:
    with pytest.raises(BadPlan) as caught:
        codec.read(path)
    assert caught.value.hint
    return caught.value.summary.removeprefix(str(path)).strip(" :")


def without(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in (key, seal.SEAL)}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "is not a saved plan"),
        ("version: 1\nsite: x\n", "is not a saved plan"),
        ("[1, 2]", "is not a saved plan"),
        ("{}", "is not a saved plan"),
        ("null", "is not a saved plan"),
        ("[" * 100_000, "is not a saved plan"),
        (json.dumps(MADE[0])[:-100], "is not a saved plan"),
        ({**MADE[0], "format_version": "2.0"}, "has format 2.0; this smbplan reads 1.0"),
        ({**MADE[0], "format_version": None}, "has format None; this smbplan reads 1.0"),
        ({**MADE[0], "site": "other"}, ALTERED),
        ({**MADE[0], "steps": MADE[0]["steps"][1:]}, ALTERED),
        (without(MADE[0], "none"), ALTERED),
        (sealed(without(MADE[0], "steps")), "is not a complete plan"),
        (sealed(without(MADE[0], "endpoints")), "is not a complete plan"),
        (sealed({**without(MADE[0], ""), "steps": "none"}), "is not a complete plan"),
        (sealed({**without(MADE[0], ""), "steps": [None]}), "is not a complete plan"),
        (sealed({**without(MADE[0], ""), "steps": MADE[0]["steps"][-1:]}), "is not a complete plan"),
        (sealed({**without(MADE[0], ""), "site": "../../etc"}), "is not a complete plan"),
        (sealed({**without(MADE[0], ""), "endpoints": []}), "is not a complete plan"),
    ],
)  # fmt: skip
def test_what_is_no_plan_of_ours_is_refused(data: object, words: str, tmp_path: Path) -> None:
    assert refusal(saved(tmp_path, data)) == words


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent") == "No such file or directory"
    assert refusal(tmp_path) == "Is a directory"
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00{}")
    assert refusal(path) == "is not a saved plan"


@pytest.mark.parametrize("depth", [100, 400, 900, 2000, 20_000])
def test_a_plan_nested_without_end_is_refused_at_any_depth(depth: int, tmp_path: Path) -> None:
    text = f'{{"format_version": "1.0", "site": "x", "seal": "x", "deep": {"[" * depth}{"]" * depth}}}'
    assert refusal(saved(tmp_path, text)) in ("is not a saved plan", ALTERED)


def test_a_newer_minor_format_and_unknown_keys_are_read(tmp_path: Path) -> None:
    newer = sealed({**without(MADE[0], ""), "format_version": "1.9", "news": [1]})
    assert codec.read(saved(tmp_path, newer)).site == "quickstart"


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A plan with one value anywhere replaced, sealed again."""
    data = json.loads(json.dumps(without(MADE[draw(st.integers(0, 1))], "")))
    data["steps"], data["changes"] = data["steps"][:4], data["changes"][:1]
    node: Any = data
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or not node[key] or draw(st.integers(0, 4)) == 0:
            node[key] = draw(JSON)
            return sealed(data)
        node = node[key]


@given(damaged())
def test_whatever_is_damaged_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    path = saved(tmp_path_factory.getbasetemp(), data)
    try:
        found = codec.read(path)
    except BadPlan as error:
        assert str(path) in error.summary
        return
    again = [step_to_json(step) for step in found.steps]
    assert again == json.loads(json.dumps(again))
    Execution(found.steps, World(), Notes())


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    raw = bytearray(json.dumps(MADE[0]).encode())
    raw[place % len(raw)] ^= change
    path = tmp_path_factory.getbasetemp() / "changed.json"
    path.write_bytes(raw)
    try:
        found = codec.read(path)
    except BadPlan:
        return
    assert dict(found.document) == without(MADE[0], "")
