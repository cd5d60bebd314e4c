"""What a command costs, measured fairly: the sides take turns, and each comes at least five times."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

RUNS = 5
OWN = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}  # of who measures: all sides run as they are installed
METRICS = ("wall", "cpu", "peak")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, of CPU with all children, and the MiB of the largest process."""

    wall: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Side:
    """A command that is measured. `ready` comes before each run and is not; `answers` is what it has to say."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: Path | None = None
    ready: Callable[[], object] = lambda: None
    code: int = 0

    def run(self) -> tuple[Cost, str]:
        """Raises RuntimeError for another exit code than the expected one."""
        self.ready()
        with (self.stdin or Path(os.devnull)).open("rb") as given:
            known = {name: value for name, value in os.environ.items() if name not in OWN}
            began = time.monotonic()
            process = subprocess.Popen(
                self.argv,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**known, **self.env},
            )
            assert process.stdout is not None
            said = process.stdout.read().decode("utf-8", "replace")
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != self.code:
            raise RuntimeError(f"{self.name} ended with {process.returncode}:\n{said[-4000:]}")
        return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), said


@dataclass(frozen=True)
class Row:
    """All runs of one side."""

    name: str
    costs: Sequence[Cost]

    def median(self, metric: str) -> float:
        return float(median(getattr(cost, metric) for cost in self.costs))

    def words(self, metric: str) -> str:
        """The median, the least and the most."""
        found = sorted(getattr(cost, metric) for cost in self.costs)
        shown = "{:.0f}" if metric == "peak" else "{:.2f}"
        return f"{shown.format(median(found))} ({shown.format(found[0])} to {shown.format(found[-1])})"


def interleaved(sides: Sequence[Side], runs: int = RUNS, tell: Callable[[str], None] = print) -> list[Row]:
    costs: dict[str, list[Cost]] = {side.name: [] for side in sides}
    for number in range(runs):
        for side in sides if number % 2 == 0 else sides[::-1]:
            cost, _ = side.run()
            costs[side.name].append(cost)
            tell(f"  {side.name}: {cost.wall:.2f} s, CPU {cost.cpu:.2f} s, {cost.peak:.0f} MiB")
    return [Row(name, found) for name, found in costs.items()]
