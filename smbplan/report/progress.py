"""What a run is doing, on stderr: a live line on a terminal, plain lines elsewhere.

A `Progress` is a context manager; its `watch` is called by the run for every change of status, and never raises:
a closed stderr must not end a run.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self, TextIO

from smbplan.engine.step import Status, Step
from smbplan.report.terminal import paint, safe

TOLD: Mapping[Status, tuple[str, str]] = {
    Status.DONE: ("✓", "green"),
    Status.KEPT: ("✓", "green"),
    Status.FAILED: ("✗", "red"),
    Status.UNDONE: ("↶", "yellow"),
    Status.STRANDED: ("✗", "red"),
}
OVER = {Status.DONE, Status.KEPT, Status.FAILED, Status.UNDONE, Status.STRANDED, Status.CANCELLED}
MANY = 200  # steps; with more, a terminal shows only what goes wrong


class Plain:
    """One line for each step that has ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def watch(self, step: Step, status: Status) -> None:
        if status in TOLD:
            with suppress(OSError, ValueError):
                print(f"{safe(step.target)}: {status}: {safe(step.title)}", file=self._stream, flush=True)


class Live:
    """A line that counts, with what is being done; what has ended stays above it."""

    def __init__(self, stream: TextIO, total: int, colour: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(file=stream, no_color=not colour, highlight=False, markup=False, emoji=False)
        self._progress = Progress(
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=total or None)  # recover can't know
        self._all, self._colour = total <= MANY, colour
        self._doing: dict[str, str] = {}
        self._over: set[str] = set()

    def __enter__(self) -> Self:
        with suppress(OSError, ValueError):
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):
            self._progress.stop()

    def watch(self, step: Step, status: Status) -> None:
        self._doing.pop(step.id, None)
        if status in {Status.DOING, Status.UNDOING}:
            self._doing[step.id] = f"{'undo: ' if status is Status.UNDOING else ''}{safe(step.title)}"
        if status in OVER:
            self._over.add(step.id)
        with suppress(OSError, ValueError):
            if status in TOLD and (self._all or status is not Status.DONE):
                self._console.print(self._told(step, status), soft_wrap=True)
            self._progress.update(self._task, completed=len(self._over), description=_first(self._doing))

    def _told(self, step: Step, status: Status) -> Any:
        from rich.text import Text

        sign, style = TOLD[status]
        word = "" if status is Status.DONE else f" ({status})"
        return Text.from_ansi(f"{paint(sign, style, self._colour)} {safe(step.target)}: {safe(step.title)}{word}")


def _first(doing: Mapping[str, str]) -> str:
    more = f" and {len(doing) - 1} more" if len(doing) > 1 else ""
    return next(iter(doing.values()), "") + more


def progress(stream: TextIO, steps: Sequence[Step], colour: bool) -> Plain | Live:
    """What suits the stream."""
    return Live(stream, len(steps), colour) if stream.isatty() else Plain(stream)
