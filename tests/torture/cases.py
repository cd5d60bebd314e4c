"""Cases from an emitted plan, and what becomes of each: nothing may be lost."""

import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from lab.faults import differences
from lab.site import Site
from torture.troubles import BACKWARDS, DEATHS, FULL, KINDS, NEVER, Killed, Place, Trouble, watched

from smbplan import app
from smbplan.app import Planned
from smbplan.drivers import fleet
from smbplan.engine.outcome import Outcome
from smbplan.engine.step import Move, Nature, Status, Step
from smbplan.report import manual

RESTORED, APPLIED, BY_HAND, AGAIN, LOST = "restored", "applied", "restored by hand", "restored by recover", "lost"
# The printed command asks a person to look, and to delete what is unused then.
EMPTIED = ("qm disk unlink", "it is unused then; delete it if it holds no data")
STAYS = "with volumes it stays"  # and goes when they do
DELETES = """
for tool in pct qm; do
    for each in $($tool config {id} 2>/dev/null | grep -o '^unused[0-9]*'); do $tool set {id} --delete $each; done
done
"""
# What smbplan itself has noted: it goes when smbplan is back.
NOTES = ("file /var/lib/smbplan", "file /mnt/shared/.smbplan", "notes ")


@dataclass(frozen=True)
class Case:
    """One trouble at one step."""

    kind: str
    step: Step

    @property
    def name(self) -> str:
        return f"{self.step.id}: {self.kind}"


@dataclass(frozen=True)
class Verdict:
    case: Case
    word: str
    seconds: float
    detail: str = ""


@dataclass
class Ground:
    """Where cases are tried: a site's plan, and how all that it may change looks, by machine.

    `back` takes back what was applied after all.
    """

    site: Site
    look: Callable[[], dict[str, dict[str, object]]]
    places: dict[str, Place]  # of targets
    back: Callable[[], object]
    wish: dict[str, object]  # the options of the plan
    machines: frozenset[str] = frozenset()  # targets that are virtual machines
    another: bool = False  # what `back` makes is another one, as a new cluster is
    planned: Planned = field(init=False)
    before: dict[str, dict[str, object]] = field(init=False)

    def __post_init__(self) -> None:
        self.planned = self.site.plan(atomic=True, **self.wish)
        self.before = self.look()

    def again(self) -> None:
        """As before what was applied after all. A password that was set anew is another one: so is the plan."""
        self.back()
        self.planned = self.site.plan(atomic=True, **self.wish)
        self.before = self.look() if self.another else self.before

    def differences(self) -> list[str]:
        return differences(self.before, self.look())


def cases(ground: Ground, kinds: Iterable[str] = KINDS) -> Iterator[Case]:
    """Every step × every trouble that it can meet."""
    steps = ground.planned.plan.steps
    for step in steps:
        never = NEVER.get("machine" if step.target in ground.machines else step.target, set())
        for kind in kinds:
            if kind in never or (kind == FULL and not ground.places[step.target].disk):
                continue
            undone = kind in BACKWARDS or Status.UNDOING in {death.status for death in DEATHS.get(kind, ())}
            if undone and (step.undo is None or step.bracket):
                continue
            if kind not in BACKWARDS or last_user(steps, step):
                yield Case(kind, step)


def last_user(steps: Sequence[Step], step: Step) -> Step | None:
    """The last one of those that stand on it: when that fails, it has been done."""
    names, found = {step.id}, None
    for each in steps:  # in topological order
        if names & {*each.after}:
            names.add(each.id)
            found = each
    return found


def representative(ground: Ground) -> list[Case]:
    """Every kind of step × every trouble: of each kind and action the step that most others stand on."""
    steps = ground.planned.plan.steps
    users = {step.id: sum(step.id in each.after for each in steps) for step in steps}
    chosen: dict[str, Step] = {}
    for step in sorted(steps, key=lambda step: -users[step.id]):
        chosen.setdefault(kind_of(step), step)
    mine = {step.id for step in chosen.values()}
    return [case for case in cases(ground) if case.step.id in mine]


def sample(found: Sequence[Case], size: int, seed: int) -> list[Case]:
    """So many of them, in which every kind of step and every trouble comes as often as can be."""
    rest, chosen, seen = list(found), list[Case](), Counter[str]()
    Random(seed).shuffle(rest)
    while rest and len(chosen) < size:
        best = min(rest, key=lambda case: (seen[kind_of(case.step)], seen[case.kind]))
        rest.remove(best)
        chosen.append(best)
        seen.update((kind_of(best.step), best.kind))
    return chosen


def kind_of(step: Step) -> str:
    """Such as `create samba.share`, `reload` or `prove samba.share`."""
    action, _, _ = step.title.partition(" ")
    kind = step.address.rpartition(".")[0] if not step.bracket else ""
    return f"{action} {kind}".strip()


def tried(ground: Ground, case: Case, by_hand: bool) -> Verdict:
    """`by_hand`: a stranded run is finished by the commands that were printed, and not by `recover`."""
    began = time.monotonic()
    last = last_user(ground.planned.plan.steps, case.step) if case.kind in BACKWARDS else None
    trouble = Trouble(case.kind, case.step, ground.places[case.step.target], last)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fleet, "AWAY", fleet.AWAY if case.kind == "the target restarts" else 0.0)
        connect = watched(trouble, patched)
        outcome = _ended(lambda: app.apply(ground.planned, connect=connect), trouble, ground)
        while outcome is None:
            outcome = _ended(lambda: app.recover(ground.planned.plan.site, _unseen, connect), trouble, ground)
        trouble.repair()
        if not trouble.struck:
            return Verdict(case, LOST, time.monotonic() - began, f"it was never met; {outcome.problems}")
        word, detail = _judged(ground, outcome, by_hand)
        trouble.close()
    return Verdict(case, word, time.monotonic() - began, detail)


def _unseen(step: Step, status: Status) -> None:
    """Nobody looks."""


def _ended(run: Callable[[], app.Applied | None], trouble: Trouble, ground: Ground) -> Outcome | None:
    """None: the controller died."""
    try:
        done = run()
    except Killed:
        trouble.torn(ground.planned.plan.site)
        return None
    return done.outcome if done else Outcome({})


def _judged(ground: Ground, outcome: Outcome, by_hand: bool) -> tuple[str, str]:
    if outcome.name == "applied":
        left = ground.site.plan(**ground.wish).plan.changes
        ground.again()
        return (APPLIED, "") if not left else (LOST, f"it is said to be applied: {left}")
    word = RESTORED
    if outcome.stranded:
        by_hand = by_hand and not any(map(_is_made_anew, outcome.stranded))
        word = BY_HAND if by_hand else AGAIN
        if by_hand:
            found = [line for line in _typed(ground, outcome) if not line.startswith(NOTES)]
            if found:
                return LOST, "; ".join(found[:5])
        again = app.recover(ground.planned.plan.site, _unseen)
        if again is None or again.outcome.stranded:
            return LOST, f"recover: {again.outcome.problems if again else None}; {outcome.problems}"
    found = ground.differences()
    if outcome.name == "partial" and not any(step.nature is Nature.IRREVERSIBLE for step in ground.planned.plan.steps):
        return LOST, f"only a part of it was taken back: {outcome.problems}"
    return (LOST, f"{outcome.name}: {'; '.join(found[:5])}; {outcome.problems[:1]}") if found else (word, "")


def _is_made_anew(step: Step) -> bool:
    """A machine account that a person makes is not smbplan's."""
    undo = step.undo
    return isinstance(undo, Move) and undo.after is not None and undo.key.type == "member"


class Guest:
    """Which one it is, as a person reads from what a printed command shows, for those that follow."""

    def __init__(self) -> None:
        self._found: tuple[str, str] | None = None

    def told(self, line: str, shown: object) -> None:
        found = re.search(r"/etc/pve/nodes/([^/]+)/[^/]+/([0-9]+)[.]conf", str(shown))
        if line.endswith("# tells NODE and ID of what follows"):
            self._found = (found[1], found[2]) if found else None

    @property
    def deletes(self) -> str:
        """The disks that are unused now; a person has looked, and there is nothing on them."""
        assert self._found
        return DELETES.format(id=self._found[1])

    def named(self, line: str) -> str:
        if self._found is None:
            return line
        node, number = self._found
        return re.sub(r"\bID\b", number, line.replace(":NODE#", f":{node}#"))


def _typed(ground: Ground, outcome: Outcome) -> list[str]:
    """What differs when every printed command was typed; and what commands said that failed."""
    wrong, guest = [], Guest()
    for line in manual.commands(outcome.stranded, outcome.homes):
        target, _, command = guest.named(line).partition("# ")
        try:
            if "NODE" not in target:  # there is none any more
                guest.told(line, ground.places[target].shell(f"exec bash -ec {shlex.quote(command)}"))
                if any(words in line for words in EMPTIED):
                    ground.places[target].shell(guest.deletes)
        except AssertionError as error:
            if STAYS in line:
                ground.places[target].shell(f"{guest.deletes}{command}")
                continue
            wrong.append(f"{shlex.quote(line)}: {error}")
    return [*ground.differences(), *(f"{NOTES[0]}: {each}" for each in wrong)]
