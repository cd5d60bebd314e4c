"""All of the fault matrix: `make torture` tries each case once, and writes the table of docs/reliability.md.

Goes on where it was stopped; several workers have a lab each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from torture.cases import AGAIN, APPLIED, BY_HAND, LOST, RESTORED, Case, tried
from torture.grounds import GROUNDS, ground
from torture.troubles import KINDS

from smbplan.lab import Lab

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
WORDS = (RESTORED, APPLIED, AGAIN, BY_HAND, LOST)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def work(results: Path, part: int, parts: int, only: str) -> None:
    """Every case of this worker's part that has no result yet. A stranded one is finished by hand, or by `recover`."""
    for up, names in groupby(filter(partial(_may_have, only), GROUNDS), key=lambda name: GROUNDS[name].up):
        lab = Lab(f"torture-{part}")
        lab.down()
        lab.up(**up)
        try:
            for name in names:
                done = {each["case"] for each in records(results) if each["ground"] == name}
                while missing := _try(lab, name, done, results, part, parts, only):
                    done |= missing
        finally:
            lab.down()


def _may_have(only: str, name: str) -> bool:
    """Whether cases that are wanted can be on this ground: it is not another one that is named."""
    return only.startswith(name) or not only.startswith(tuple(GROUNDS))


def _try(lab: Lab, name: str, done: set[str], results: Path, part: int, parts: int, only: str) -> set[str]:
    """What was tried until something was lost, whose ground is no use any more."""
    tried_now: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, ground(GROUNDS[name], lab, Path(folder)) as here:
        for case, by_hand in _cases(GROUNDS[name].cases(here), part, parts):
            if case.name in done | tried_now or only not in f"{name}: {case.name}":
                continue
            verdict = tried(here, case, by_hand)
            tried_now.add(case.name)
            note = {"ground": name, "case": case.name, "kind": case.kind, "word": verdict.word}
            note |= {"seconds": round(verdict.seconds, 1), "detail": verdict.detail}
            with results.open("a") as file:
                file.write(json.dumps(note) + "\n")
            print(f"{verdict.word:20} {name}: {case.name} {verdict.detail}", flush=True)
            if verdict.word == LOST:
                break
    return tried_now


def _cases(found: list[Case], part: int, parts: int) -> Iterator[tuple[Case, bool]]:
    for number, case in enumerate(found):
        if number % parts == part:
            yield case, bool(number // parts % 2)


def table(found: list[dict[str, Any]]) -> str:
    """By what goes wrong, and by what it goes wrong with."""
    parts = [_rows("What goes wrong", "kind", KINDS, found), _rows("Plan", "ground", tuple(GROUNDS), found)]
    return "\n\n".join(parts)


def _rows(head: str, key: str, names: tuple[str, ...], found: list[dict[str, Any]]) -> str:
    rows = [f"| {head} | cases | {' | '.join(WORDS)} |", "|---" * (len(WORDS) + 2) + "|"]
    counts = {name: Counter(each["word"] for each in found if each[key] == name) for name in names}
    counts["**all**"] = Counter(each["word"] for each in found)
    for name, count in counts.items():
        rows.append(f"| {name} | {count.total()} | {' | '.join(str(count[word]) for word in WORDS)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 2) + 1)
    parser.add_argument("--part", type=int, help="only this worker's part, and no table")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "smbplan" / "torture")
    told = parser.parse_args()
    told.work.mkdir(parents=True, exist_ok=True)
    results = told.work / "results.jsonl"
    if told.part is not None:
        work(results, told.part, told.workers, told.only)
        return
    argv = [sys.executable, "-m", "torture", "--workers", str(told.workers), "--only", told.only, "--work", told.work]
    kept = [each for each in records(results) if each["word"] != LOST]  # a lost one is tried again
    results.write_text("".join(f"{json.dumps(each)}\n" for each in kept))
    running = [subprocess.Popen([*map(str, argv), "--part", str(part)]) for part in range(told.workers)]
    failed = [process for process in running if process.wait()]
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table(records(results))}\n{END}{after}")
    print(table(records(results)))
    sys.exit(bool(failed) or any(each["word"] == LOST for each in records(results)))


if __name__ == "__main__":
    main()
