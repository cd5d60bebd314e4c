"""What a command costs, measured fairly: the sides take turns, and each comes at least five times."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

RUNS = 5
OWN = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}  # of who measures: all sides run as they are installed
# A process inherits the peak of the one that it was forked from: a small one starts what is measured. getrusage(2)
LAUNCHER = """
import os, sys, time
began = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    print(time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=file)
sys.exit(os.waitstatus_to_exitcode(status))
"""
METRICS = ("wall", "cpu", "peak")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, of CPU with all children, and the MiB of the largest process; requests, if counted."""

    wall: float
    cpu: float
    peak: float
    requests: float = 0.0


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
        known = {name: value for name, value in os.environ.items() if name not in OWN}
        with (self.stdin or Path(os.devnull)).open("rb") as given, tempfile.NamedTemporaryFile() as told:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", LAUNCHER, told.name, *self.argv],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**known, **self.env},
                check=False,
            )
            said = done.stdout.decode("utf-8", "replace")
            if done.returncode != self.code:
                raise RuntimeError(f"{self.name} ended with {done.returncode}:\n{said[-4000:]}")
            wall, cpu, peak = map(float, Path(told.name).read_text().split())
        return Cost(wall, cpu, peak), said


@dataclass(frozen=True)
class Row:
    """All runs of one side."""

    name: str
    costs: Sequence[Cost]

    def median(self, metric: str) -> float:
        return float(median(getattr(cost, metric) for cost in self.costs))

    def words(self, metric: str) -> str:
        """The median, the least and the most; – for what was not measured."""
        found = sorted(getattr(cost, metric) for cost in self.costs)
        if not found[-1]:
            return "–"
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
