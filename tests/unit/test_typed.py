"""What targets tell stays one word of a command for a person to type, whatever it holds."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.kinds.sites import plan
from unit.kinds.test_conformance import SITES, resources
from unit.simulated import World

from smbplan.engine.resource import Key
from smbplan.engine.step import Move, Step
from smbplan.report import clusters, guests, manual
from smbplan.report.typed import literal, word

PLAIN = "plain"
HOSTILE = st.text("ab '\"`;&|$(){}[]<>*?!#~%=,:\\^+é", min_size=1, max_size=20)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
SOME = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def moves() -> Iterator[Move]:
    """One of each type of object, there and back."""
    names = ("rich", "contained", "bound", "machined", "member", "ha-ad")
    steps = [step for name in names for step in plan(SITES[name], resources(SITES[name]), World()).steps]
    known = {step.do.key.type: step.do for step in reversed(steps) if isinstance(step.do, Move)}
    assert known.keys() >= TYPES, TYPES - known.keys()
    for move in known.values():
        yield move
        yield move.reversed(None)
        yield Move(move.address, move.key, move.after, move.after)
    for type_ in ("directory", "subvolume", "dataset"):
        yield Move("a", Key(type_, "/a"), {}, None, options={"delete_data": True})


TYPES = {*manual.RENDER, *guests.RENDER, *clusters.RENDER}
MOVES = list(moves())


def told(move: Move, name: str, marks: bool) -> Move:
    """The same, with this name in place of all that a target tells in words."""

    def state(data: Any) -> Any:
        if isinstance(data, dict):
            return {
                name if key in ("n1", "n2", "n3", "pve1", "pve2") else key: state(value) if key != "mark" else mark
                for key, value in data.items()
            }
        if isinstance(data, list | tuple):
            return [state(each) for each in data]
        return name if isinstance(data, str) and not data.isdigit() else data

    mark = "m" if marks else None
    more = {"vmid": 100, "node": name, "pool": name} if move.key.type in ("container", "machine") else {}
    before, after = ({**state(each), **more} if each else each for each in (move.before, move.after))
    head = {"subid": "u:"}.get(move.key.type, "box:" if move.key.type in guests.RENDER and not more else "")
    return Move(move.address, Key(move.key.type, head + name), before, after, options=move.options)


def lines(move: Move, name: str, marks: bool = False) -> list[str]:
    if move.key.type in guests.RENDER:
        name = name.replace(":", ".")  # behind it is what is in the guest
    found = told(move, name, marks or move.key.type in guests.RENDER)
    return manual.commands([Step("a", "a", "files", "", found.reversed(None), found)])


def words(line: str) -> list[str]:
    """Without what depends on the name's hash or is escaped in a regular expression."""
    return [re.sub(r"[0-9a-f]{20}|[][\\]", "", each) for each in shlex.split(line)]


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.key.type)
@SOME
@given(name=HOSTILE)
def test_a_name_is_one_word_and_the_others_are_as_ever(move: Move, name: str) -> None:
    plain = re.sub(r"[][\\]", "", name.replace(":", ".") if move.key.type in guests.RENDER else name)
    expected = [[each.replace(PLAIN, plain) for each in words(line)] for line in lines(move, PLAIN)]
    assert [words(line) for line in lines(move, name)] == expected


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.key.type)
@SOME
@given(name=TEXT)
def test_a_command_is_one_line(move: Move, name: str) -> None:
    for line in lines(move, name, marks=True):
        assert line.splitlines() == [line]


@SOME
@given(TEXT)
def test_a_word_is_what_was_told(text: str) -> None:
    said = subprocess.run(["bash", "-c", f"printf %s {word(text)}"], env={}, capture_output=True, check=True)
    assert said.stdout.decode() == text


@SOME
@given(HOSTILE)
def test_a_literal_matches_itself_alone(text: str) -> None:
    for given_, found in ((text, True), (f"{text}x", False), (f"x{text}", False)):
        for way in ("-G", "-E"):
            argv = ["grep", "-q", way, f"^{literal(text)}$"]
            done = subprocess.run(argv, input=f"{given_}\n", text=True, check=False, capture_output=True)
            assert (done.returncode == 0, done.stderr) == (found, "")


@pytest.mark.parametrize("name", ["x; touch evil", "$(touch evil)", 'it\'s "`touch evil`"'])
def test_within_a_substitution_it_is_a_word_too(name: str, tmp_path: Path) -> None:
    """Of a user with our mark, whose comment is read while the command is typed."""
    for stub in ("getent", "usermod"):
        (tmp_path / stub).write_text(f'#!/bin/sh\nprintf "%s\\n" {stub} "$@" >> done\n')
        (tmp_path / stub).chmod(0o755)
    state = {"mark": "m", "full_name": "", "locked": False, "uid": 1}
    (line,) = manual.RENDER["user"](name, state, state)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", line], env=path, cwd=tmp_path, check=True)
    done = (tmp_path / "done").read_text().splitlines()
    assert done == ["getent", "passwd", name, "usermod", "-c", "", name]
    assert not (tmp_path / "evil").exists()


def test_a_password_s_script_has_no_name_in_it() -> None:
    before, after = {"disabled": False, "password": "a"}, {"disabled": False, "password": "b", "changed": 7}
    (script, turned) = manual.RENDER["password"]('x"); evil("', before, after)
    argv = shlex.split(script)
    assert (
        argv[:3] == ["python3", "-I", "-c"]
        and argv[4] == 'x"); evil("'
        and argv[5].startswith("/var/lib/smbplan/runs/")
    )
    assert "evil" not in argv[3] and "pass_last_set_time = 7" in argv[3]
    compile(argv[3], "typed", "exec")
    assert shlex.split(turned) == ["smbpasswd", "-e", 'x"); evil("']
