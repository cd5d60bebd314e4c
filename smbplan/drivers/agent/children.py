"""Work that children of the agent do: their answers are data, and their end is nobody else's."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from typing import Any, Callable

WORTH = 8  # operations for which a child is
MANY = min(os.cpu_count() or 1, 8)
DIED = {"error": {"summary": "it ended before its time", "detail": "", "hint": "try again; its host may lack memory"}}


class Commands:
    """How many programs have been started here. sys.addaudithook"""

    count = 0

    @classmethod
    def audit(cls, event: str, arguments: Any) -> None:
        cls.count += event == "subprocess.Popen"


class Child:
    """Work that is done by a child. Locks that are held stay so until it ends."""

    def __init__(self, work: Callable[[], Any]) -> None:
        """Raises OSError where there is no room for one."""
        self._out, into = os.pipe()
        try:
            self._id = os.fork()
        except OSError:
            os.close(self._out)
            os.close(into)
            raise
        if not self._id:
            try:
                os.close(self._out)
                Commands.count = 0
                with os.fdopen(into, "w", encoding="utf-8") as file:
                    file.write(json.dumps({"answer": work(), "commands": Commands.count}))
            finally:
                os._exit(0)
        os.close(into)

    def answer(self) -> Any:
        """None where the child died, be it in the midst of its answer."""
        with os.fdopen(self._out, encoding="utf-8") as file:
            text = file.read()
        os.waitpid(self._id, 0)
        try:
            told = json.loads(text)
        except ValueError:
            return None
        Commands.count += int(told["commands"])
        return told["answer"]

    def end(self) -> None:
        """Nobody wants the answer any more. A look at a folder whose server has gone can't be ended: it is left."""
        os.kill(self._id, signal.SIGKILL)
        os.close(self._out)
        deadline = time.monotonic() + 1
        while not os.waitpid(self._id, os.WNOHANG)[0] and time.monotonic() < deadline:
            time.sleep(0.001)


def side_by_side(ops: list[Any], do: Callable[[Any], Any]) -> list[Any]:
    """The answers to what waits for other processes, as a proof does for smbd: on all processors, if it is much."""
    parts = min(len(ops) // WORTH + 1, MANY)
    if parts == 1:
        return [do(op) for op in ops]

    def done(mine: list[Any]) -> list[Any]:
        return [do(op) for op in mine]

    answers = [DIED] * len(ops)
    children = [Child(partial(done, ops[part::parts])) for part in range(parts)]
    for part, told in enumerate([child.answer() for child in children]):
        answers[part::parts] = told or answers[part::parts]
    return answers
