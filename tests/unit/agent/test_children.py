"""Children of the agent: what they answer, in order, and what becomes of the work of one that dies."""

import os
import select
import signal
import subprocess
import sys
from typing import Any

import pytest

from smbplan.drivers.agent import children
from smbplan.drivers.agent.children import DIED, Child, side_by_side


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "MANY", 2)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 31])
def test_answers_come_in_the_order_of_what_was_asked(count: int) -> None:
    assert side_by_side(list(range(count)), lambda number: {"ok": number * 2}) == [
        {"ok": number * 2} for number in range(count)
    ]


def test_few_are_done_here_and_many_elsewhere() -> None:
    assert set(side_by_side([0] * 7, lambda _: os.getpid())) == {os.getpid()}
    found = set(side_by_side([0] * 20, lambda _: os.getpid()))
    assert len(found) == 2 and os.getpid() not in found


def test_what_a_child_that_dies_was_to_do_has_failed_and_nothing_else() -> None:
    def do(number: int) -> Any:
        if number == 4:
            os._exit(1)
        return {"ok": number}

    found = side_by_side(list(range(10)), do)
    assert found[1::2] == [{"ok": number} for number in range(1, 10, 2)]
    assert found[0::2] == [DIED] * 5


def test_a_child_that_dies_answers_nothing() -> None:
    def die() -> None:
        raise SystemExit(3)

    assert Child(die).answer() is None


def test_a_child_that_dies_while_it_answers_has_answered_nothing() -> None:
    """A part of an answer was taken for one, and nobody did its work."""
    child = Child(lambda: "x" * 1_000_000)  # more than a pipe takes
    assert select.select([child._out], [], [], 20)[0]
    os.kill(child._id, signal.SIGKILL)
    assert child.answer() is None


def test_programs_that_children_start_are_counted() -> None:
    script = (
        "import sys, subprocess\n"
        "from smbplan.drivers.agent.children import Commands, side_by_side\n"
        "sys.addaudithook(Commands.audit)\n"
        "side_by_side([0] * 20, lambda _: subprocess.run(['true']).returncode)\n"
        "print(Commands.count)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "20"


def test_a_child_whose_answer_nobody_wants_any_more_is_gone() -> None:
    child = Child(lambda: "x" * 1_000_000)  # more than a pipe takes
    child.end()
    with pytest.raises(ProcessLookupError):
        os.kill(child._id, 0)
