"""What becomes of a run when this machine can't write its journal any more, as on a full disk."""

from collections.abc import Callable, Sequence

from smbplan.engine.outcome import Entry, Journal, Result, Runner
from smbplan.engine.step import Way, Work

ROOM = "make room, then smbplan recover"


class Careful:
    """The runner and the journal of an execution: what can't be written down is not begun, and the run turns back.

    What was begun before is undone all the same; its targets have it in writing.
    """

    def __init__(self, runner: Runner, journal: Journal) -> None:
        self.error: OSError | None = None
        self.stop: Callable[[], None] = lambda: None
        self._runner, self._journal = runner, journal

    @property
    def words(self) -> str:
        assert self.error is not None
        return f"the journal can't be written: {self.error.strerror}"

    def write(self, entries: Sequence[Entry]) -> None:
        """See engine.outcome.Journal."""
        if self.error:
            return
        try:
            self._journal.write(entries)
        except OSError as error:
            self.error = error
            self.stop()

    def run(self, target: str, works: Sequence[Work]) -> Sequence[Result]:
        """See engine.outcome.Runner."""
        if not self.error:
            return self._runner.run(target, works)
        back = [work for work in works if work.way is not Way.DO]
        answers = iter(self._runner.run(target, back) if back else ())
        refused = Result(False, self.words, "", ROOM, untouched=True)
        return [refused if work.way is Way.DO else next(answers) for work in works]
