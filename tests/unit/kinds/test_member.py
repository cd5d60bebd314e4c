"""Members of a domain: what is believed, what is repaired, how one leaves, and how one waits."""

from typing import Any

import pytest
from unit.kinds.sites import MEMBER, plan, site
from unit.simulated import World

from smbplan.engine.execute import Execution
from smbplan.engine.kind import Options
from smbplan.engine.resource import Key
from smbplan.engine.step import Move
from smbplan.kinds import config, expand, fallback, member
from smbplan.kinds.share import params

KEY = Key("member", "CORP.TEST")


class Notes:
    def write(self, entries: Any) -> None:
        pass


@pytest.fixture
def world() -> World:
    """With the member there."""
    made = World()
    defined = site(MEMBER)
    assert Execution(plan(defined, expand(defined), made).steps, made, Notes()).run().name == "applied"
    return made


def state(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.target("one").box("member").states[KEY.name]
    return found


def test_what_nobody_answers_for_is_believed_and_said(world: World) -> None:
    state(world).update(trust="unknown", registered="unknown")
    made = plan(site(MEMBER), expand(site(MEMBER)), world)
    assert made.changes == ()
    assert "domain.member.one: no controller of CORP.TEST answers" in made.warnings


def test_a_broken_trust_is_repaired(world: World) -> None:
    state(world).update(trust="broken")
    made = plan(site(MEMBER), expand(site(MEMBER)), world)
    (change,) = made.changes
    assert (change.address, change.after["trust"]) == ("domain.member.one", "ok")
    assert change.reasons == ("the domain refuses its machine account; it joins again",)


def test_leaving_takes_the_account_that_joins_and_no_secret_itself(world: World) -> None:
    made = plan(site(MEMBER), [], world, joins=member.joins(site(MEMBER)), allow=frozenset({"many-deletes"}))
    (step,) = [step for step in made.steps if step.address == "domain.member.one"]
    assert isinstance(step.do, Move) and step.do.after is None
    assert step.do.options["login"] == {"user": "joiner", "password": {"$secret": {"env": "SECRET_JOIN"}}}


def test_a_host_that_was_a_member_before_stays_one() -> None:
    world, defined = World(), site(MEMBER)
    there = {"realm": "CORP.TEST", "workgroup": "CORP", "name": "ONE", "aliases": [], "trust": "ok", "registered": True}
    world.target("one").box("member").states[KEY.name] = dict(there)
    made = plan(defined, expand(defined), world)
    (change,) = [change for change in made.changes if change.address == "domain.member.one"]
    differing = {name for name in there if change.before[name] != change.after[name]}
    assert differing == {"aliases"}, "it is used as it is, and gets what is defined here beside"
    assert Execution(made.steps, world, Notes()).run().name == "applied"
    gone = plan(defined, [], world, joins=member.joins(defined), allow=frozenset({"many-deletes"}))
    assert Execution(gone.steps, world, Notes()).run().name == "applied"
    assert world.target("one").box("member").states[KEY.name] == there


def test_looking_needs_nobodys_password() -> None:
    (item,) = [each for each in expand(site(MEMBER)) if each.kind == "domain.member"]
    assert member.KIND.reads(item) == {"floating": []}
    assert "login" in member.KIND.options(item)
    assert Options().joins == {}


def test_one_that_waits_serves_its_local_accounts_and_nobody_by_accident() -> None:
    defined = fallback.standing(site(MEMBER), ["one"])
    assert "domain.member.one" not in {item.address for item in expand(defined)}
    assert params(defined, "a", defined.shares["a"])["valid users"] == "nobody"
    both = {**MEMBER["shares"]["a"], "access": {"write": ["@CORP\\All Staff", "alice"]}}
    corp = {**MEMBER["domains"]["corp"], "ntlm": True}
    mixed = fallback.standing(site({**MEMBER, "domains": {"corp": corp}, "shares": {"a": both}}), ["one"])
    assert params(mixed, "a", mixed.shares["a"])["valid users"] == "alice"


def test_it_waits_until_it_has_joined() -> None:
    world, defined = World(), site(MEMBER)
    alone = fallback.standing(defined, ["one"])
    wanted = [*expand(alone), *fallback.waiting(defined, ["one"])]
    made = plan(alone, wanted, world)
    (note,) = [step for step in made.steps if step.id == "domain.fallback.one"]
    assert note.after == ("service.one.smbd",), "it tells of what is so"
    assert Execution(made.steps, world, Notes()).run().name == "applied"
    assert plan(alone, wanted, world).empty
    made = plan(defined, expand(defined), world)
    (change,) = [change for change in made.changes if change.kind == "domain.fallback"]
    assert (change.action, change.reasons) == ("delete", ("it waits for its domain no longer",))
    (note,) = [step for step in made.steps if step.id == "domain.fallback.one"]
    assert "domain.member.one" in note.after, "a join that fails leaves it where it is"
    assert Execution(made.steps, world, Notes()).run().name == "applied"
    assert plan(defined, expand(defined), world).empty


@pytest.mark.parametrize("moved", [{"workgroup": "OLD"}, {"name": "OTHER"}, {"realm": "OTHER.TEST"}])
def test_a_member_is_not_renamed_and_not_moved(world: World, moved: dict[str, str]) -> None:
    state(world).update(moved)
    (refused,) = plan(site(MEMBER), expand(site(MEMBER)), world).refused
    assert refused.address == "domain.member.one" and "without leaving" in refused.summary
    assert "take domain: off the gateway and apply" in refused.hint


def test_ids_of_another_domain_change_nobodys(world: World) -> None:
    """A domain that is trusted from now on; and autorid stands where idmap_autorid(8) wants it."""
    corp = MEMBER["domains"]["corp"]
    trusting = site({**MEMBER, "domains": {"corp": {**corp, "trusts": {"far": {"range": "5000000-5999999"}}}}})
    made = plan(trusting, expand(trusting), world)
    assert made.refused == ()
    text = config.content(trusting, "one", trusting.gateways["one"])
    assert "   idmap config FAR : backend = rid\n   idmap config FAR : range = 5000000-5999999\n" in text
    automatic = site({**MEMBER, "domains": {"corp": {**corp, "ids": {"backend": "autorid"}}}})
    text = config.content(automatic, "one", automatic.gateways["one"])
    assert [line.strip() for line in text.splitlines() if "idmap config" in line] == [
        "idmap config * : backend = autorid",
        "idmap config * : range = 2000000-2999999",
    ]


def test_other_ids_are_refused_on_a_host_that_keeps_its_smb_conf_too() -> None:
    world, adopting = World(), site({**MEMBER, "gateways": {"one": {"domain": "corp", "globals": "adopt"}, "two": {}}})
    foreign = {"mark": None, "content": "", "foreign": True, "include": "", "dormant": []}
    known = {"idmap config corp:backend": "rid", "idmap config CORP : range": "10000-99999"}
    world.target("one").box("smbconf").states[config.PATH] = {**foreign, "globals": known}
    refused = [each for each in plan(adopting, expand(adopting), world).refused if each.guardrail == "id-map"]
    assert [each.address for each in refused] == ["samba.config.one"]
    made = plan(adopting, expand(adopting), world, allow=frozenset({"id-map"}))
    (settings,) = [step for step in made.steps if step.id == "samba.config.one"]
    assert "file.one.globals" in settings.after
    assert Execution(made.steps, world, Notes()).run().name == "applied"
    corp = {**MEMBER["domains"]["corp"], "ids": {"backend": "ad", "range": "5000000-5999999"}}
    moved = site(
        {**MEMBER, "domains": {"corp": corp}, "gateways": {"one": {"domain": "corp", "globals": "adopt"}, "two": {}}}
    )
    refused = [each for each in plan(moved, expand(moved), world).refused if each.guardrail == "id-map"]
    assert [each.address for each in refused] == ["file.one.globals"]


def test_other_ids_are_refused_while_files_have_the_old_ones(world: World) -> None:
    other = {**MEMBER["domains"]["corp"], "ids": {"backend": "ad", "range": "5000000-5999999"}}
    changed = site({**MEMBER, "domains": {"corp": other}})
    made = plan(changed, expand(changed), world)
    (refused,) = made.refused
    assert (refused.address, refused.guardrail) == ("samba.config.one", "id-map")
    assert "would have other ids on one, and their files would not" in refused.summary
