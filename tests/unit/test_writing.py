"""A journal that can't be written from some line on: nothing new is begun, and what was begun is undone."""

import errno
from collections.abc import Sequence

import pytest

from smbplan.engine.execute import Execution
from smbplan.engine.outcome import Entry, Result
from smbplan.engine.resource import Key
from smbplan.engine.step import Move, Step, Way, Work
from smbplan.writing import Careful


class Full:
    """Has room for so many writes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, entries: Sequence[Entry]) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device", "journal.jsonl")


class Targets:
    """What is there."""

    def __init__(self, journal: Full) -> None:
        self.there, self.journal = set[str](), journal

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        for work in works:
            assert work.way is not Way.DO or self.journal.room >= 0, "begun without a line"
            self.there ^= {work.step.id}
        return [Result(True)] * len(works)


def step(name: str, target: str, *after: str) -> Step:
    move = Move(name, Key("file", name), None, {"mark": None})
    return Step(name, name, target, name, move, move.reversed(None), after=after, units=("share.s",))


LINES = 8  # writes of a run of these, when nothing fails
STEPS = (step("a", "files"), step("b", "vault"), step("c", "files", "a", "b"), step("d", "vault", "c"))


@pytest.mark.parametrize("room", range(9))
def test_what_can_not_be_written_down_is_not_begun(room: int) -> None:
    journal = Full(room)
    targets = Targets(journal)
    careful = Careful(targets, journal)
    execution = Execution(STEPS, careful, careful)
    careful.stop = execution.stop
    outcome = execution.run()
    whole = room >= LINES - 1  # of the last line, only the end of the last step is lacking
    assert targets.there == ({"a", "b", "c", "d"} if whole else set())
    assert outcome.name == ("applied" if whole else "rolled_back")
    assert bool(careful.error) == (room < LINES)
    assert not careful.error or careful.words == "the journal can't be written: No space left on device"
