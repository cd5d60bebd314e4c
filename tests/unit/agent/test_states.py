"""Looks of many processes at once are one look: each state once, and none of another time than the first request's."""

import os
from pathlib import Path
from typing import Any

import pytest

from smbplan.drivers.agent import states
from smbplan.drivers.agent.core import Refused
from smbplan.drivers.agent.inventory import Inventory
from smbplan.drivers.agent.states import Ahead

ME = os.getpid()


class Seen:
    """Objects that tell which process has looked; one is refused, and one ends its process where that is a child."""

    def prepare(self, names: list[str]) -> None:
        assert len(set(names)) == len(names)

    def settle(self) -> None:
        """Nothing was prepared."""

    def get(self, name: str, options: dict[str, Any]) -> Any:
        if name == "refused":
            raise Refused("it is")
        if name == "deadly" and os.getpid() != ME:
            os._exit(1)
        return "here" if os.getpid() == ME else "elsewhere"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three shares are many."""
    monkeypatch.setattr(states, "WORTH", 3)
    monkeypatch.setattr(states, "MANY", 2)
    for type_ in ("share", "directory", "user"):
        monkeypatch.setitem(states.OBJECTS, type_, Seen())


@pytest.fixture
def inventory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Inventory:
    """Of two sites with a share each, on a host that is up."""
    monkeypatch.setattr(states, "PATH", tmp_path / "inventory.json")
    monkeypatch.setattr(states, "LARGE", 0)
    monkeypatch.setattr(states, "STATE", states.LOCAL)
    for name in ("is_node", "is_booting"):
        monkeypatch.setattr(states, name, lambda: False)
    found = Inventory(tmp_path / "inventory.json")
    monkeypatch.setattr(states, "Inventory", lambda: found)
    found.update("one", {"samba.share.a": {"key": ["share", "a"]}, "directory.a": {"key": ["directory", "/a"]}})
    found.update("one", {"samba.share.b": {"key": ["share", "b"]}})
    found.update("two", {"directory.hung": {"key": ["directory", "/hung"]}})
    return found


def asked(*more: tuple[str, str], folder: dict[str, Any] | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    """A request has all that the inventory knows of its site."""
    known = (("share", "a"), ("share", "b"), *more)
    return {("directory", "/a"): folder or {}, **{key: {} for key in known}}


def told(ahead: Ahead, keys: dict[tuple[str, str], dict[str, Any]]) -> dict[str, str]:
    """Who has looked at what."""
    found = ahead.states(keys)
    assert len(found) == len(keys)
    assert all(answer.get("error", {"summary": "it is"})["summary"] == "it is" for _, _, answer in found)
    return {f"{type_} {name}": answer.get("state", "refused") for type_, name, answer in found}


@pytest.mark.parametrize(
    ("type_", "names", "by"),
    [
        ("share", ["a", "b"], ["here", "here"]),
        ("share", ["a", "b", "c"], ["elsewhere"] * 3),
        ("share", ["a", "b", "refused"], ["elsewhere", "elsewhere", "refused"]),
        ("share", ["a", "deadly", "c"], ["here"] * 3),
        ("directory", ["a", "b", "c", "d", "e"], ["here", "here", "elsewhere", "elsewhere", "elsewhere"]),
        ("directory", ["a", "b", "c", "d"], ["here"] * 4),
        ("user", ["a", "b", "c", "d", "e", "f"], ["here"] * 6),
    ],
)
def test_all_of_many_shares_and_half_of_many_folders_are_looked_at_by_a_child(
    type_: str, names: list[str], by: list[str]
) -> None:
    found = told(Ahead(), {("user", "alice"): {}, **{(type_, name): {} for name in names}})
    assert found == {"user alice": "here", **{f"{type_} {name}": who for name, who in zip(names, by, strict=True)}}


def test_shares_and_folders_that_are_known_are_looked_at_before_anybody_asks(inventory: Inventory) -> None:
    ahead = Ahead()
    ahead.begin()
    keys = asked(("share", "new"), ("directory", "/new"), ("user", "u"))
    assert told(ahead, keys) == {
        "share a": "elsewhere", "share b": "elsewhere", "directory /a": "elsewhere",
        "share new": "here", "directory /new": "here", "user u": "here",
    }  # fmt: skip
    assert {*told(ahead, asked()).values()} == {"here"}, "a second request is answered anew"


def test_what_is_to_be_looked_at_in_another_way_is_looked_at_anew(inventory: Inventory) -> None:
    ahead = Ahead()
    ahead.begin()
    found = told(ahead, asked(folder={"recursive": True}))
    assert found == {"share a": "elsewhere", "share b": "elsewhere", "directory /a": "here"}


def test_nobody_waits_for_the_folders_of_another_site(inventory: Inventory) -> None:
    """Whose server may have gone."""
    for count in range(10):
        inventory.update("two", {f"directory.hung{count}": {"key": ["directory", f"/hung/{count}"]}})
    ahead = Ahead()
    ahead.begin()
    assert {*told(ahead, asked()).values()} == {"here"} and not ahead._children


@pytest.mark.parametrize("damaged", ["{", '{"one": {"records": {"a": {}}, "peers": {}}}'])
def test_a_damaged_inventory_is_told_by_who_reads_it(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    states.PATH.write_text(damaged)
    monkeypatch.setattr(states, "Inventory", lambda: Inventory(states.PATH))
    ahead = Ahead()
    ahead.begin()
    assert {*told(ahead, asked()).values()} == {"here"}


def test_one_that_dies_or_is_not_wanted_any_more_costs_nothing(inventory: Inventory) -> None:
    inventory.update("one", {"samba.share.b": {"key": ["share", "deadly"]}})
    for end in (False, True):
        ahead = Ahead()
        ahead.begin()
        if end:
            ahead.end()
        keys: dict[tuple[str, str], dict[str, Any]] = {
            ("share", "a"): {},
            ("share", "deadly"): {},
            ("directory", "/a"): {},
        }
        assert {*told(ahead, keys).values()} <= {"here", "elsewhere"}
        assert told(ahead, keys)["share deadly"] == "here"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("is_node", lambda: True),
        ("is_booting", lambda: True),
        ("LARGE", 1_000_000),
        ("MANY", 1),
        ("STATE", Path("/srv/shared")),
        ("PATH", Path("/nonexistent")),
    ],
)
def test_few_shares_those_of_a_cluster_and_a_host_that_boots_are_left_until_then(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    monkeypatch.setattr(states, name, value)
    ahead = Ahead()
    ahead.begin()
    assert {*told(ahead, asked()).values()} == {"here"}
