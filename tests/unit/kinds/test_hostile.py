"""A host that tells anything at all, and a definition that says anything: understood, or refused in words."""

import json
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from unit.hostile import JUNK, altered
from unit.kinds.sites import RICH, plan
from unit.simulated import Notes, World

from smbplan import templates
from smbplan.engine import plan as planning
from smbplan.engine.execute import Execution
from smbplan.engine.kind import Options
from smbplan.engine.resource import Live
from smbplan.kinds import expand, kinds
from smbplan.report import document, text
from smbplan.spec.load import load, load_source
from smbplan.spec.problems import SpecError
from smbplan.spec.source import parse

SITE = load(templates.data("examples") / "quickstart").site
WANTED = expand(SITE)


WAYS = (Options(), Options(destroy=True), Options(adopt=True, purge=True, delete_data=True))


def applied() -> dict[str, Live]:
    world = World()
    Execution(plan(SITE, WANTED, world).steps, world, Notes()).run()
    return dict(world.live())


LIVE = applied()


@settings(max_examples=300)
@given(JUNK, st.integers())
def test_any_state_is_understood_or_refused(junk: Any, seed: int) -> None:
    chance = Random(seed)
    target = chance.choice(sorted(LIVE))
    seen = LIVE[target]
    victim = chance.choice(sorted(seen.states))
    states = {**seen.states, victim: altered(seen.states[victim], junk, chance)}
    live = {**LIVE, target: replace(seen, states=states)}
    for options in WAYS:
        made = planning.build(SITE.site, WANTED, live, kinds(), options)
        assert text.plan(made, kinds(), False, "plan")
        assert json.dumps(document.plan(made, kinds(), {}))


@settings(max_examples=500)
@given(JUNK, st.integers())
def test_any_definition_is_understood_or_refused(junk: Any, seed: int) -> None:
    """Of the right form in most of its parts, so that each check is come to."""
    data = altered(RICH, junk, Random(seed))
    try:
        site = load_source(parse(json.dumps(data), "site.yaml")).site
    except SpecError as error:
        assert error.problems and all(problem.summary for problem in error.problems)
        return
    assert plan(site, expand(site), World()).refused is not None
