"""Steps that come behind others: an order, and no need."""

import pytest
from unit.engine.faults import Faults, walk
from unit.engine.things import plan, resource, there
from unit.simulated import World

from smbplan.engine.outcome import Outcome
from smbplan.engine.step import Step

# As a container's power comes behind its mounts: each mount is a share's, and what is inside needs both.
MOUNTS = [resource(f"thing.mount-{name}", unit=name, ahead=("thing.power",)) for name in "ab"]
POWER = resource("thing.power")
INSIDE = [resource(f"thing.share-{name}", 1, f"thing.mount-{name}", "thing.power", unit=name) for name in "ab"]
SITE = [*MOUNTS, POWER, *INSIDE]


def applied(world: World, steps: tuple[Step, ...], *failing: str) -> tuple[Outcome, list[str]]:
    """How it ended, and the steps in the order in which they were settled."""
    done = walk(world, steps, Faults(dict.fromkeys(failing, "before")))
    settled = [entry.step for entry in done.journal.entries if str(entry.status) in ("done", "undone")]
    return done.outcome, settled


def test_what_it_comes_behind_is_settled_first() -> None:
    world = World()
    outcome, settled = applied(world, plan(world, SITE).steps)
    assert outcome.name == "applied"
    assert settled.index("thing.power") == 2


def test_a_proof_comes_behind_what_its_resource_comes_behind() -> None:
    """The power changes, so that the share is proved; the mount, which it does not stand on, disturbs it meanwhile."""
    shares = [resource("thing.share", 1, "thing.power", unit="a", proof=True)]
    mounts = [resource("thing.mount", unit="b", ahead=("thing.power", "thing.share"))]
    world = World()
    there(world, [POWER, *shares])
    steps = {step.id: step for step in plan(world, [resource("thing.power", 2), *shares, *mounts]).steps}
    assert set(steps) == {"thing.power", "thing.mount", "thing.share#proof"}
    assert steps["thing.share#proof"].behind == ("thing.mount",)


@pytest.mark.parametrize("failing", ["thing.mount-a", "thing.share-a"])
def test_one_that_fails_takes_its_unit_and_not_what_came_behind(failing: str) -> None:
    world = World()
    outcome, _ = applied(world, plan(world, SITE).steps, failing)
    statuses = {name: str(status) for name, status in outcome.statuses.items()}
    assert outcome.name == "partial"
    assert statuses["thing.mount-a"] == "undone"
    assert {statuses[name] for name in ("thing.power", "thing.mount-b", "thing.share-b")} == {"done"}


def test_undo_goes_the_opposite_way() -> None:
    world = World()
    outcome, settled = applied(world, plan(world, SITE, atomic=True).steps, "thing.share-a")
    assert outcome.name == "rolled_back"
    undone = settled[settled.index("thing.power") + 1 :]
    assert undone.index("thing.power") < min(undone.index("thing.mount-a"), undone.index("thing.mount-b"))
    assert world.snapshot() == {}


def test_what_goes_goes_the_opposite_way_and_alone_it_needs_nobody() -> None:
    world = World()
    there(world, SITE)
    steps = {step.id: step for step in plan(world, [], allow=frozenset({"many-deletes"})).steps}
    assert steps["thing.mount-a"].behind == ("thing.power",)
    alone = {step.id: step for step in plan(world, [*MOUNTS[1:], POWER, *INSIDE[1:]]).steps}
    assert set(alone) == {"thing.mount-a", "thing.share-a"}
    assert alone["thing.mount-a"].behind == ()
