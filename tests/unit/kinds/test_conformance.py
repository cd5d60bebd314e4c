"""What the engine expects of every kind, whichever there are."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from unit.kinds.sites import BOUND, CONTAINER, MACHINE, MEMBER, RICH, plan, site
from unit.simulated import STORAGE, Notes, World

from smbplan import templates
from smbplan.engine.execute import Execution
from smbplan.engine.kind import Change, Options
from smbplan.engine.outcome import Result
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Key, Record, Resource
from smbplan.engine.step import Move, Nature, Op
from smbplan.kinds import expand, fallback, kinds
from smbplan.report import document
from smbplan.report.manual import commands
from smbplan.spec.load import load
from smbplan.spec.model import Site

ALL = sorted(kinds().by_name)
EXAMPLES = sorted(path for path in templates.data("examples").iterdir() if path.is_dir())


def defined() -> Iterator[tuple[str, Site]]:
    yield "rich", site(RICH)
    yield "contained", site(CONTAINER)
    yield "bound", site(BOUND)
    yield "machined", site(MACHINE)
    yield "member", site(MEMBER)
    for path in EXAMPLES:
        yield path.name, load(path).site


SITES = dict(defined())
DATA = {"directory", "btrfs.subvolume", "zfs.dataset"}
# A volume or disk holds data for all that anybody knows, and stays with its guest: test_container.py has the rules.
each_site = pytest.mark.parametrize(
    "name", sorted(SITES.keys() - {"ad", "bound", "contained", "ha-lxc", "lxc", "machined", "vm"})
)
each_kind = pytest.mark.parametrize("kind", ALL)


def apply(made: Plan, world: World) -> None:
    assert made.refused == ()
    outcome = Execution(made.steps, world, Notes()).run()
    assert outcome.name == "applied", outcome.problems


def resources(defined: Site) -> list[Resource]:
    """All that may come of a site, while no controller answers, too."""
    waiting = [name for name, gateway in defined.gateways.items() if gateway.domain]
    return [*expand(defined), *fallback.waiting(defined, waiting)]


def changes(kind: str) -> list[Change]:
    """Creations of a kind, in a world without anything."""
    found = [plan(defined, resources(defined), World()) for defined in SITES.values()]
    return [change for made in found for change in made.changes if change.kind == kind]


def test_kinds_are_described() -> None:
    for name, kind in kinds().by_name.items():
        assert (kind.name, bool(kind.title), bool(kind.object)) == (name, True, True)
        assert kind.nature is Nature.REVERSIBLE or kind.why


@each_kind
def test_the_sites_have_one_of_each_kind(kind: str) -> None:
    assert kind in {
        item.kind
        for name in ("rich", "contained", "bound", "machined", "member", "ha-ad")
        for item in resources(SITES[name])
    }


@each_kind
def test_canonical_is_idempotent_and_complete_a_fixpoint(kind: str) -> None:
    found = kinds()[kind]
    assert found.canonical(None) is None
    for change in changes(kind):
        assert change.resource is not None
        once = found.canonical(change.after)
        assert found.canonical(once) == once
        first = found.canonical(found.complete(change.resource.desired, None))
        assert found.canonical(found.complete(change.resource.desired, first)) == first


@each_kind
def test_states_are_plain_json(kind: str) -> None:
    for change in changes(kind):
        assert json.loads(json.dumps(change.after)) == change.after
        assert change.resource is not None
        assert isinstance(json.dumps(dict(kinds()[kind].options(change.resource))), str)


@each_site
def test_no_secret_is_shown(name: str) -> None:
    world = World()
    first = plan(SITES[name], expand(SITES[name]), world)
    apply(first, world)
    for made in (first, plan(SITES[name], [], world, purge=True, delete_data=True)):
        text = json.dumps([document.change(item, kinds(), made.steps) for item in made.changes])
        assert "SECRET" not in text
        assert "PASSWORD" not in text
        assert "$secret" not in text


@each_site
def test_every_step_has_an_undo_or_says_why_not(name: str) -> None:
    world = World()
    first = plan(SITES[name], expand(SITES[name]), world)
    apply(first, world)
    for made in (first, *(plan(SITES[name], [], world, purge=purge, delete_data=True) for purge in (False, True))):
        assert [step.id for step in made.steps if step.undo is None and not step.why] == []


@each_site
def test_apply_then_nothing_then_destroy_and_purge_leave_nothing(name: str) -> None:
    world, wanted = World(), expand(SITES[name])
    apply(plan(SITES[name], wanted, world), world)
    second = plan(SITES[name], wanted, world)
    assert [(change.address, change.before, change.after) for change in second.changes] == []
    assert second.steps == ()
    apply(plan(SITES[name], wanted, world, destroy=True, allow=frozenset({"prevent-destroy"})), world)
    left = {record.kind for target in world.targets.values() for record in target.records.values()}
    parked = {"packages", "posix.user", "posix.group"}  # for the files that they own
    assert left == parked & {item.kind for item in wanted}
    assert all(record.parked for target in world.targets.values() for record in target.records.values())
    users = [user for target in world.targets.values() for user in target.box("user").states.values()]
    assert {user["locked"] for user in users} == {True}
    assert plan(SITES[name], wanted, world, destroy=True).changes == ()
    apply(plan(SITES[name], wanted, world, destroy=True, purge=True), world)
    assert world.snapshot() == {}


@each_site
def test_what_was_parked_comes_back(name: str) -> None:
    world, wanted = World(), expand(SITES[name])
    apply(plan(SITES[name], wanted, world), world)
    before = world.snapshot()
    apply(plan(SITES[name], wanted, world, destroy=True, allow=frozenset({"prevent-destroy"})), world)
    apply(plan(SITES[name], wanted, world, allow=frozenset({"many-updates"})), world)
    assert world.snapshot() == before


def used(wanted: list[Resource]) -> World:
    """A world in which all that may be used is there already, with data and other settings."""
    world = World()
    for item in wanted:
        kind = kinds()[item.kind]
        box = world.target(item.target).box(item.key.type)
        if item.key.type in STORAGE:
            acl = ["user::rwx", "group::r-x", "other::---"]
            state = {"mark": None, "owner": "root", "group": "root", "special": "0", "acl": acl, "default": []}
            quota = {} if item.key.type == "directory" else {"quota": 0}
            deviating = {"deviating": 3} if "deviating" in item.desired else {}
            box.states[item.key.name] = {**state, **quota, **deviating, "empty": False}
        elif item.key.type == "service":
            box.states[item.key.name] = {"active": False, "enabled": True}
        elif kind.uses and item.key.type == "packages":
            box.states[item.key.name] = {"installed": item.desired["installed"]}
    return world


@each_site
def test_what_was_there_before_is_as_it_was(name: str) -> None:
    wanted = expand(SITES[name])
    world, before = used(wanted), used(wanted).snapshot()
    widened = frozenset({"acl-widening", "prevent-destroy"})
    apply(plan(SITES[name], wanted, world, allow=widened), world)
    assert plan(SITES[name], wanted, world).changes == ()
    apply(plan(SITES[name], wanted, world, destroy=True, purge=True, delete_data=True, allow=widened), world)
    assert world.snapshot() == before


def filled(name: str) -> tuple[World, list[Resource], set[str]]:
    """A world with the site applied and files in all its folders, whose names are given."""
    world, wanted = World(), expand(SITES[name])
    apply(plan(SITES[name], wanted, world), world)
    folders = [item for item in wanted if item.key.type in STORAGE]
    for item in folders:
        world.target(item.target).box(item.key.type).states[item.key.name]["empty"] = False
    return world, wanted, {item.key.name for item in folders}


@each_site
def test_data_stays_without_our_mark(name: str) -> None:
    world, wanted, folders = filled(name)
    allow = frozenset({"prevent-destroy"})
    apply(plan(SITES[name], wanted, world, destroy=True, purge=True, allow=allow), world)
    left = {key.name: state for target in world.targets.values() for key, state in target.states().items()}
    assert set(left) == folders
    assert {state["mark"] for state in left.values()} == {None}
    assert all(target.records == {} for target in world.targets.values())


@each_site
def test_data_goes_when_definition_and_command_line_say_so(name: str) -> None:
    world, wanted, folders = filled(name)
    mortal = {item.key.name for item in wanted if item.key.type in STORAGE and item.on_destroy == "delete"}
    allow = frozenset({"prevent-destroy"})
    parked = plan(SITES[name], wanted, world, destroy=True, delete_data=True, allow=allow)
    assert {change.record.key.name for change in parked.changes if change.record and change.kind in DATA} == folders
    apply(parked, world)
    still = {key.name for target in world.targets.values() for key in target.states()}
    assert folders <= still
    apply(plan(SITES[name], wanted, world, destroy=True, delete_data=True, purge=True, allow=allow), world)
    assert {key.name for target in world.targets.values() for key in target.states()} == folders - mortal


class Accounts(World):
    """Like a real host, it shows what belonged to an account that is gone by the account's number."""

    def perform(self, target: str, op: Op) -> Result:
        result = super().perform(target, op)
        if isinstance(op, Move) and op.after is None and op.key.type in ("user", "group"):
            for key, state in self.target(target).states().items():
                if key.type in STORAGE:
                    self.target(target).boxes[key.type].states[key.name] = renumbered(state, *op.key)
        return result


def renumbered(state: dict[str, Any], type_: str, name: str) -> dict[str, Any]:
    field = "owner" if type_ == "user" else "group"
    entries = {
        each: [entry.replace(f"{type_}:{name}:", f"{type_}:4711:") for entry in state[each]]
        for each in ("acl", "default")
    }
    return {**state, **entries, field: "4711" if state[field] == name else state[field]}


def test_data_goes_after_the_accounts_that_it_belongs_to() -> None:
    data = json.loads(json.dumps(RICH))
    for share in data["shares"].values():
        share["storage"]["on_destroy"] = "delete"
    mortal = site(data)
    world, wanted = Accounts(), expand(mortal)
    apply(plan(mortal, wanted, world), world)
    for item in wanted:
        if item.key.type in STORAGE:
            world.target(item.target).box(item.key.type).states[item.key.name]["empty"] = False
    apply(plan(mortal, wanted, world, destroy=True, purge=True, delete_data=True), world)
    assert world.snapshot() == {}


@each_kind
@pytest.mark.parametrize(("purge", "delete_data"), list(itertools.product((False, True), repeat=2)))
def test_removals_end_in_valid_states(kind: str, purge: bool, delete_data: bool) -> None:
    found = kinds()[kind]
    options = Options(destroy=True, purge=purge, delete_data=delete_data)
    for change, empty, ours, on_destroy in itertools.product(
        changes(kind), (True, False), (True, False), ("keep", "delete")
    ):
        assert change.resource is not None
        live = {**change.after, "empty": empty, "foreign": False} if isinstance(change.after, dict) else change.after
        key = Key(found.object, "x")
        record = Record("a", kind, key, original=None if ours else change.after, on_destroy=on_destroy)
        removal = found.removal(live, record, options)
        after = found.canonical(removal.after)
        assert after is None or set(after) <= {*found.canonical(live), "mark"}
        assert removal.nature is not Nature.IRREVERSIBLE or removal.why
        assert removal.parked == (removal.nature is Nature.PARKED)
        assert not removal.parked or removal.reason
        assert not (removal.options.get("delete_data") and not (purge and delete_data and on_destroy == "delete"))
        assert ours or removal.nature is Nature.IRREVERSIBLE or not removal.parked or kind == "packages"


@each_site
def test_undo_after_apply_is_as_before(name: str) -> None:
    """Each step's undo, in reverse order, takes the world back; what has none is kept."""
    world = World()
    made = plan(SITES[name], expand(SITES[name]), world)
    apply(made, world)
    for step in reversed(made.steps):
        if step.undo is not None:
            assert world.perform(step.target, step.undo).ok, step.id
    left = {record.kind for target in world.targets.values() for record in target.records.values()}
    assert left == {
        step.do.record.kind for step in made.steps if isinstance(step.do, Move) and step.undo is None and step.do.record
    }


@pytest.mark.parametrize("name", sorted(SITES))
def test_whatever_is_stranded_can_be_told(name: str) -> None:
    world, wanted = World(), expand(SITES[name])
    first = plan(SITES[name], wanted, world)
    apply(first, world)
    allow = frozenset({"prevent-destroy"})
    gone = [plan(SITES[name], wanted, world, destroy=True, allow=allow)]
    gone.append(plan(SITES[name], wanted, world, destroy=True, purge=True, delete_data=True, allow=allow))
    for made in (first, *gone):
        told = commands(made.steps)
        assert all("# " in line and "None" not in line for line in told), told


def test_examples_are_found() -> None:
    assert "quickstart" in SITES
