"""smbplan against what people use today: `make bench` measures every goal, and writes docs/performance.md.

Goes on where it was stopped: what was measured is kept, by goal. `--only WORDS` measures goals with these words anew.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import containers, gateways
from bench.measure import METRICS, Cost, Row, Side, interleaved
from bench.sides import HOSTS, Sides, installed
from smbplan.lab import Lab

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LAB = "bench"
DRIFT, BACK = "setfacl -m g:readers:rwx /srv/bench/s00007", "setfacl -m g:readers:r-x /srv/bench/s00007"
QUICKSTART = str(Path(__file__).parents[1] / "examples" / "quickstart")


@dataclass(frozen=True)
class Goal:
    """The first side's median, divided by the second's, is to be at most `limit`. `sides` makes, or measures, them."""

    name: str
    limit: float
    sides: Callable[[Sides], Sequence[Side] | list[Row]]
    metric: str = "wall"
    started: bool = False  # the third side is how both start: that is taken off

    def ratio(self, rows: Sequence[Row]) -> float:
        one, other, *more = (row.median(self.metric) for row in rows)
        start = more[0] if self.started else 0.0
        return (one - start) / (other - start)


def no_op(made: Sides, count: int, peer: str) -> Sequence[Side]:
    """Both hosts as they are to be; all sides agree on that, and find one folder that is not.

    Of pyinfra with few shares, a third one is what its users write who are no experts.
    """
    plan = made.smbplan("plan", count, "--detailed-exitcode")
    if peer == "pyinfra":
        others, applied = [made.pyinfra(count, "--dry")], made.pyinfra(count, "-y")
        others += [made.pyinfra(count, "--dry", expert=False)] if count < 100 else []
    else:
        others, applied = [made.ansible(peer, count, "--check")], made.ansible(peer, count)
    tool = "pyinfra" if peer == "pyinfra" else "ansible"
    made.fresh("smbplan")
    made.fresh(tool)
    made.smbplan("apply", count, "--yes").run()
    applied.run()
    for other in others:
        agree(made, plan, other, tool, count)
    return plan, *others


def agree(made: Sides, plan: Side, other: Side, tool: str, count: int) -> None:
    """Raises RuntimeError where one finds nothing that is to be found, or something that is not there."""
    sure(QUIET[tool], other.run()[1])
    plan.run()
    for each in ("smbplan", tool):
        made.shell(each, DRIFT)
    found = made.smbplan("plan", count, "--detailed-exitcode", code=2).run()[1]
    sure(lambda said: "~ directory.s00007" in said and "1 to update" in said, found)
    sure(lambda said: not QUIET[tool](said), other.run()[1])
    for each in ("smbplan", tool):
        made.shell(each, BACK)


# What a peer says that finds nothing to do.
QUIET: dict[str, Callable[[str], bool]] = {
    "ansible": lambda said: " changed=0 " in said,
    "pyinfra": lambda said: f" ({HOSTS['pyinfra']}) " not in f"{said} ",
}


def sure(true: Callable[[str], bool], said: str) -> None:
    if not true(said):
        raise RuntimeError(f"the sides do not agree:\n{said[-4000:]}")


def first_apply(made: Sides, proved: bool, peer: str) -> Sequence[Side]:
    """From a host as new, every time."""
    apply = made.smbplan("apply", 1000, "--yes", proved=proved)
    other = made.by_hand(1000, proved) if peer == "script" else made.ansible("expert", 1000, proved=proved)
    return (
        replace(apply, ready=lambda: made.fresh("smbplan", proved)),
        replace(other, ready=lambda: made.fresh(peer, proved)),
    )


def floor(made: Sides) -> Sequence[Side]:
    made.fresh("smbplan")
    made.smbplan("apply", 1000, "--yes").run()
    return made.smbplan("plan", 1000, "--detailed-exitcode"), made.floor()


def one_changed(made: Sides) -> Sequence[Side]:
    """There and back: every apply changes one share."""
    made.fresh("smbplan")
    made.smbplan("apply", 1000, "--yes").run()
    there, back = made.smbplan("apply", 1000, "--yes", changed="s00007"), made.smbplan("apply", 1000, "--yes")
    apply = replace(there, name="smbplan apply, one changed", ready=back.run)
    plan = replace(made.smbplan("plan", 1000), ready=back.run)
    return apply, plan


def engines(made: Sides) -> Sequence[Side]:
    """The first two are compared; the others show what reading definitions costs here, and what it costs there."""
    memory = str(Path(__file__).parent / "peers" / "octodns_plan.py")
    own = made.python("smbplan's engine, in memory", ["-m", "bench.engine", "10000"])
    sync, drifted = made.octodns(10000), made.octodns(10000, drift=True)
    sure(lambda said: said.strip() == "0", own.run()[1])
    sure(lambda said: said.strip() == "1", made.python("", ["-m", "bench.engine", "10000", "drift"]).run()[1])
    sure(lambda said: "No changes were planned" in said, sync.run()[1])
    sure(lambda said: "Summary: Creates=0, Updates=1, Deletes=0" in said, drifted.run()[1])
    other = made.python("octoDNS, in memory", [memory, "10000"], str(made.peers / "python"))
    sure(lambda said: said.strip() == "0", other.run()[1])
    changed = made.python("", [memory, "10000", "drift"], str(made.peers / "python"))
    sure(lambda said: said.strip() == "1", changed.run()[1])
    return own, sync, made.engine(5000), other


def growth(made: Sides) -> Sequence[Side]:
    sizes = (("10,000 shares", "20000"), ("1,000 shares", "2000"), ("no share, which is taken off", "0"))
    return [made.python(f"smbplan's engine, {name}", ["-m", "bench.engine", size]) for name, size in sizes]


def started(made: Sides, *words: str) -> Sequence[Side]:
    argv = ["-m", "smbplan", *words]
    return made.python(f"smbplan {words[0]}", argv), Side(
        "ansible-playbook --version", [str(made.peers / "ansible-playbook"), "--version"]
    )


GOALS = (
    Goal("No-op plan, 1000 shares, against expert Ansible", 1 / 25, lambda made: no_op(made, 1000, "expert")),
    Goal(
        "No-op plan, 100 shares, against Ansible with one template and loops",
        1 / 100,
        lambda made: no_op(made, 100, "loops"),
    ),
    Goal("No-op plan, 10 shares, against pyinfra", 1 / 10, lambda made: no_op(made, 10, "pyinfra")),
    Goal("No-op plan, 1000 shares, against pyinfra", 1 / 60, lambda made: no_op(made, 1000, "pyinfra")),
    Goal("No-op plan, 1000 shares, against only collecting the state", 4, floor),
    Goal(
        "First apply of 1000 shares, without proof, against expert Ansible",
        1 / 10,
        lambda made: first_apply(made, False, "ansible"),
    ),
    Goal(
        "First apply of 1000 shares, with proof, against expert Ansible",
        1 / 4,
        lambda made: first_apply(made, True, "ansible"),
    ),
    Goal(
        "First apply of 1000 shares, without proof, against a script by hand",
        2,
        lambda made: first_apply(made, False, "script"),
    ),
    Goal("Apply of one changed share among 1000, against the no-op plan", 1.5, one_changed),
    Goal("Plan of 10,000 resources in memory, against octoDNS, CPU", 1 / 10, engines, "cpu"),
    Goal("Plan of 10,000 resources in memory, against octoDNS, memory", 1, engines, "peak"),
    Goal("CPU of the engine, 10,000 shares against 1,000", 11, growth, "cpu", started=True),
    Goal("smbplan --help, against ansible-playbook --version", 1 / 3, lambda made: started(made, "--help")),
    Goal(
        "smbplan validate, against ansible-playbook --version",
        1,
        lambda made: started(made, "validate", QUICKSTART),
    ),
    Goal(
        "Plan of 1000 gateways on 16 nodes, agents' answers replayed: round trips that depend on each other",
        8,
        lambda made: gateways.dependent(made.folder),
    ),
    Goal(
        "Requests of that plan, against those with 100 gateways on the same nodes",
        1,
        lambda made: gateways.requests(made.folder),
        "requests",
    ),
    Goal(
        "Apply of 30 containers, against its longest chain, or its work on all processors",
        1.3,
        lambda made: containers.rows(made.folder),
    ),
)


def measure(goal: Goal, made: Sides) -> list[Row]:
    print(goal.name, flush=True)
    found = goal.sides(made)
    measured = [each for each in found if isinstance(each, Row)]
    sides = [each for each in found if isinstance(each, Side)]
    return measured or interleaved(sides, tell=lambda line: print(line, flush=True))


def table(found: dict[str, list[Row]]) -> str:
    lines = ["| Goal | at most | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        if rows := found.get(goal.name):
            ratio = goal.ratio(rows)
            lines.append(
                f"| {goal.name} | {words(goal.limit)} | {words(ratio)} | {'met' if ratio <= goal.limit else 'missed'} |"
            )
    lines += ["", "| | wall s | CPU s | peak MiB |", "|---|---|---|---|"]
    for goal in GOALS:
        for row in found.get(goal.name, ()):
            lines.append(f"| {goal.name}: {row.name} | {' | '.join(row.words(metric) for metric in METRICS)} |")
    return "\n".join(lines)


def words(ratio: float) -> str:
    return f"1/{1 / ratio:.1f}" if ratio < 1 else f"{ratio:.2f}"


def known(path: Path) -> dict[str, list[Row]]:
    data = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: [Row(row["name"], [Cost(**cost) for cost in row["costs"]]) for row in rows] for name, rows in data.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default="", help="goals whose name has this in it, measured anew")
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "smbplan" / "bench")
    told = parser.parse_args()
    told.work.mkdir(parents=True, exist_ok=True)
    results = told.work / "results.json"
    found = known(results)
    wanted = [goal for goal in GOALS if (told.only in goal.name if told.only else goal.name not in found)]
    lab = Lab(LAB)
    lab.up(nodes=len(HOSTS), btrfs=False, client=False)
    try:
        made = Sides(lab, told.work, installed(told.work))
        for goal in wanted:
            found[goal.name] = measure(goal, made)
            results.write_text(json.dumps({name: [asdict(row) for row in rows] for name, rows in found.items()}))
    finally:
        lab.down()
    before, after = PAGE.read_text().partition(BEGIN)[0], PAGE.read_text().partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{after}")
    print(table(found))
    sys.exit(any(goal.ratio(rows) > goal.limit for goal in GOALS if (rows := found.get(goal.name))))


if __name__ == "__main__":
    main()
