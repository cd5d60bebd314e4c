"""What a run has left behind, as its targets know it: their journals count, the one here is a copy."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from smbplan.drivers.errors import Absent, Asleep, ChannelError, Held, is_silent, seconds, who
from smbplan.drivers.fleet import Fleet
from smbplan.drivers.secrets import references
from smbplan.engine.encoding import step_from_json
from smbplan.engine.outcome import Entry
from smbplan.engine.resource import STRANGE, Live, Resource
from smbplan.engine.step import Move, Status, Step
from smbplan.errors import Refused, Trouble
from smbplan.kinds import expand, kinds
from smbplan.kinds.cluster import PREFIX
from smbplan.kinds.guest import CLUSTER
from smbplan.observe import peers
from smbplan.report import clusters, guests
from smbplan.spec.model import Site
from smbplan.store import files, runs

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
STRANDED, TAKEN_OVER = "stranded", "taken_over"
Lines = Sequence[Mapping[str, Any]]
Headers = Mapping[str, Sequence[Mapping[str, Any]]]  # the first lines of open runs, by target


@dataclass(frozen=True, slots=True)
class Left:
    """A run that somebody has to take back, by what the targets have written down."""

    run: str
    about: Mapping[str, Any]
    lines: Mapping[str, Lines]
    endpoints: Mapping[str, Any]
    keepers: Mapping[str, str]  # of targets, where it is written down what was done on them
    ended: bool  # it is stranded, and what went well stays

    def steps(self, site: Site) -> tuple[Step, ...]:
        """Those that were begun, each after what it stands on. Raises Refused.

        A target tells of changes to itself only, and of no other secrets than it gets by the definitions.
        """
        found: dict[str, Step] = {}
        try:
            for target, lines in self.lines.items():
                told = [line["words"] for line in lines if "words" in line]
                own = {name for name, keeper in self.keepers.items() if keeper == target}
                _must_be_known(target, told, [item for item in expand(site) if item.target in own])
                made = [step for step in map(step_from_json, told) if step.target in own]
                if not all(map(_may_be, made)):
                    raise ValueError
                twice = next((step.id for step in made if step.id in found), "")
                if twice:
                    words = f"{target} and {found[twice].target} both tell of {twice}: one of them lies"
                    raise Refused(Trouble(words, f"{LOOK}; --forget NAME leaves one out"))
                found |= {step.id: step for step in made}
            known = {
                name: replace(step, after=_of(step.after, found), behind=_of(step.behind, found))
                for name, step in sorted(found.items())
            }
            order = TopologicalSorter({name: [*step.after, *step.behind] for name, step in known.items()})
            return tuple(known[name] for name in order.static_order())
        except (*STRANGE, CycleError):
            raise Refused(Trouble(f"what the targets say of run {self.run} is damaged", LOOK)) from None

    @property
    def is_whole(self) -> bool:
        """It was begun with so many steps, and all of them are known."""
        return self.about.get("steps") == len({entry.step for entry in self.entries()})

    @property
    def targets(self) -> set[str]:
        """On which the run has left something, if only that it was begun."""
        return (_took_part(self.about) | self.lines.keys()) & self.endpoints.keys()

    def entries(self) -> list[Entry]:
        return [Entry(step, status) for target in self.lines for step, status in statuses(self.lines[target]).items()]


def _may_be(step: Step) -> bool:
    """Whether a target may tell of it: what only a cluster has is not its own; and all that is shown is one line."""
    types = {op.key.type for op in (step.do, step.undo) if isinstance(op, Move)}
    names = [op.key.name for op in (step.do, step.undo) if isinstance(op, Move)]
    if types & guests.RENDER.keys() and step.target != CLUSTER:
        return False
    if types & clusters.RENDER.keys() and not step.target.startswith(PREFIX):
        return False
    return not any(CONTROL.search(text) for text in (step.id, step.address, step.target, step.title, *names))


def _must_be_known(target: str, told: Any, mine: Sequence[Resource]) -> None:
    """Raises Refused for a reference that would be resolved here, and is not of this target's definitions."""
    known = list(references([[asdict(item), kinds()[item.kind].reads(item)] for item in mine]))
    if any(each not in known for each in references(told)):
        words = f"what {target} has written down names secrets that are not in its definitions"
        raise Refused(Trouble(words, f"{LOOK}; if the definitions have changed, use those that the run was of"))


LOOK = "look below /var/lib/smbplan/journal on the gateways"


def _of(names: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in known)


def statuses(lines: Lines) -> dict[str, Status]:
    """The last word on each step, in the order in which they were begun."""
    found: dict[str, Status] = {}
    for line in sorted((line for line in lines if "step" in line), key=_time):
        try:
            found[str(line["step"])] = Status(line["status"])
        except (KeyError, ValueError):
            continue
    return found


def _time(line: Mapping[str, Any]) -> float:
    return seconds(line.get("time"))


def going(site: str, headers: Headers, answered: Collection[str]) -> Mapping[str, Any] | None:
    """The run of the site that has begun something and has not ended, if there is one.

    It has ended where a target that took part from its beginning has forgotten it: all are told before any forgets.
    """
    for run, about in _runs(headers).items():
        knows = {target for target, rows in headers.items() if any(row.get("run") == run for row in rows)}
        if not any(row.get("begun") for target in knows for row in headers[target] if row.get("run") == run):
            continue
        known = (runs.outcome(site, run) or {}).get("outcome")
        if _took_part(about) & set(answered) <= knows and known in (None, TAKEN_OVER):
            return about
    return None


def _runs(headers: Headers) -> dict[str, Mapping[str, Any]]:
    """The newest first, each with who tells most of it: a guest tells of no other target."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in (row for rows in headers.values() for row in rows if runs.is_name(row.get("run"))):
        known = found.get(row["run"])
        if known is None or _told(row) > _told(known):
            found[row["run"]] = row
    return dict(sorted(found.items(), reverse=True))


def _told(about: Mapping[str, Any]) -> tuple[int, int]:
    """How much a header tells of its run."""
    steps = about.get("steps")
    return len(_took_part(about)), steps if isinstance(steps, int) else 0


def _took_part(about: Mapping[str, Any]) -> set[str]:
    told = about.get("targets")
    return {name for name in told if isinstance(name, str)} if isinstance(told, list) else set()


def written_down(
    fleet: Fleet, run: str, plan: Mapping[str, Any], unkept: Sequence[str] = ()
) -> tuple[runs.Run, runs.Journal]:
    """The run with its journal, before anything is changed. Raises Refused where that fails, with no lease kept."""
    try:
        made = runs.start(fleet.site, plan, run, fleet.owner, fleet.token, unkept)
        return made, runs.Journal(made, fleet.owner)
    except BaseException as error:
        fleet.release()
        if not isinstance(error, OSError):
            raise
        words = f"run {run} can't be written down in {files.home()}: {error.strerror or error}"
        raise Refused(Trouble(words, "make room there, or have it writable; nothing was changed")) from None


def must_be_over(fleet: Fleet, live: Mapping[str, Live]) -> None:
    """Raises Refused while a run of somebody else goes on, or has to be recovered."""
    kept = {target for target in live if target not in fleet.endpoints or fleet.keeper(target) == target}
    seen = {target: live[target].facts for target in live if target in kept - {CLUSTER}}
    headers = {target: _said(fleet, target, facts.get("unfinished")) for target, facts in seen.items()}
    answered = [target for target, facts in seen.items() if not (facts.get("absent") or facts.get("asleep"))]
    _refuse_going(fleet, headers, answered, _objects([facts.get("lease") for facts in seen.values()]))


def _trouble(site: str, about: Mapping[str, Any], leases: Iterable[Mapping[str, Any]]) -> Trouble:
    for lease in leases:
        if lease.get("run") == about["run"] and not is_silent(lease):
            held = Held(f"site {site}", lease)
            return Trouble(held.summary, held.hint)
    hint = "smbplan recover puts things back first, from any machine with the site's definitions"
    return Trouble(f"a run of site {site} was cut short: {who(about)}", hint)


def _said(fleet: Fleet, target: str, told: Any) -> list[Mapping[str, Any]]:
    """A guest has nothing to say of hosts."""
    rows = _objects(told)
    if target not in fleet.endpoints or not fleet.endpoints[target].guest:
        return rows
    return [{**row, "targets": [CLUSTER] if CLUSTER in _took_part(row) else [], "steps": 0} for row in rows]


def _is_made_up(fleet: Fleet, headers: Headers, run: str) -> bool:
    """Of a run that only guests tell of, the cluster has to know, too: or else it has ended, or has never been."""
    tell = [target for target, rows in headers.items() if any(row.get("run") == run for row in rows)]
    if CLUSTER not in fleet.endpoints or not all(fleet.endpoints[target].guest for target in tell):
        return False
    answer = _journals(fleet, [CLUSTER])[CLUSTER]
    if isinstance(answer, ChannelError) or answer["unsure"]:
        return False
    return all(row["run"] != run for row in answer["runs"])


def refuse_cut(fleet: Fleet, answers: Mapping[str, Any]) -> None:
    """The same by what targets say when they are locked. Raises Refused."""
    headers = {target: _said(fleet, target, answer) for target, answer in answers.items()}
    answered = [target for target, answer in answers.items() if isinstance(answer, list) and target != CLUSTER]
    _refuse_going(fleet, headers, answered, ())


def _refuse_going(
    fleet: Fleet, headers: Headers, answered: Collection[str], leases: Iterable[Mapping[str, Any]]
) -> None:
    about = going(fleet.site, headers, answered)
    if about is not None and not _is_made_up(fleet, headers, str(about["run"])):
        raise Refused(_trouble(fleet.site, about, leases))


def corrected(run: runs.Run, steps: Sequence[Step], fleet: Fleet) -> list[Entry]:
    """The journal here, with what the targets know better. What one has not written down, it has not begun.

    One that knows nothing of the run has forgotten it. What was in a guest that the run has made went with it. Of what
    a person was told to undo, a target that could not be reached knows no more than that it was done.
    """
    found, keepers = run.entries(), {step.target: fleet.keeper(step.target) for step in steps}
    last = {each.step: each.status for each in found}
    undone = {step.id for step in steps if step.undo and last.get(step.id) is Status.STRANDED}
    moves = [step.do for step in steps if isinstance(step.do, Move)]
    made = {move.key.name for move in moves if move.key.type in guests.WHOLE and move.before is None}
    for target, answer in _journals(fleet, sorted({*keepers.values()} - run.unkept())).items():
        mine = [step for step in steps if keepers[step.target] == target]
        if isinstance(answer, Absent) and target in made:
            begun = {entry.step for entry in found if entry.status is not Status.CANCELLED}
            found += [Entry(step.id, Status.UNDONE) for step in mine if step.bracket or step.id in begun]
        if isinstance(answer, ChannelError) or answer["unsure"]:
            continue
        lines = [row["lines"] for row in answer["runs"] if row["run"] == run.id]
        known = statuses([line for each in lines for line in each])
        told = [Entry(step.id, known.get(step.id, Status.CANCELLED)) for step in mine if lines]
        found += [each for each in told if each.status is not Status.DONE or each.step not in undone]
    return found


def _journals(fleet: Fleet, targets: Sequence[str]) -> dict[str, Any]:
    """{runs, lease, unsure} of each target, or the ChannelError."""
    answers = fleet.each(targets, lambda target: fleet.ask(target, "runs", site=fleet.site))
    found: dict[str, Any] = {}
    for target, answer in answers.items():
        try:
            rows = answer if isinstance(answer, ChannelError) else {"unsure": False, **answer}
            if not isinstance(rows, ChannelError):
                rows["runs"] = [{"run": str(row["run"]), "lines": _objects(row["lines"])} for row in rows["runs"]]
        except STRANGE:
            rows = ChannelError(f"what {target} has written down is damaged", "", LOOK)
        found[target] = rows
    return found


def _objects(told: Any) -> list[Mapping[str, Any]]:
    """Whatever a target tells."""
    return [each for each in told if isinstance(each, Mapping)] if isinstance(told, list) else []


def left(fleet: Fleet, site: Site, forget: Collection[str] = ()) -> Left | None:
    """The run of the site that was cut short, or the newest one if it is stranded. Raises Refused."""
    answers = fleet.each(list(fleet.endpoints), lambda target: fleet.ask(target, "known", site=site.site))
    there = {name: Live({}, {}, {}, _peers(answer)) for name, answer in answers.items() if isinstance(answer, Mapping)}
    known = peers(fleet, there, site.proxmox)
    fleet.endpoints.update({name: at for name, at in known.items() if name not in fleet.endpoints})
    found = _journals(fleet, [target for target in fleet.endpoints if target not in forget])
    heard = {target: answer for target, answer in found.items() if not isinstance(answer, ChannelError)}
    told = ((row["run"], target, row["lines"]) for target, answer in heard.items() for row in answer["runs"])
    lines: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run, target, rows in told:  # of a cluster, each node tells its own
        if runs.is_name(run):
            lines.setdefault((run, target), []).extend(_said(fleet, target, rows))
    run = _chosen(site.site, lines, [target for target, answer in heard.items() if not answer["unsure"]])
    if run is None:
        _must_answer(found, set())
        return None
    mine: dict[str, Lines] = {target: rows for (name, target), rows in lines.items() if name == run}
    unsure = {target for target, answer in heard.items() if answer["unsure"]}
    if unsure:
        raise Refused(Trouble("a node of the cluster can't be asked for what it has written down", UNSURE))
    about: Mapping[str, Any] = max((rows[0] for rows in mine.values() if rows), key=_told, default={})
    asleep = {name for name, answer in found.items() if isinstance(answer, Asleep) and fleet.keeper(name) == name}
    _must_answer(found, (_took_part(about) | asleep - _made(mine.get(CLUSTER, ()))) - set(forget))
    places = {name: fleet.endpoints[name].as_json() for name in fleet.endpoints}
    keepers = {name: fleet.keeper(name) for name in fleet.endpoints}
    return Left(run, about, mine, places, keepers, any("ended" in row for rows in mine.values() for row in rows))


def _made(lines: Lines) -> set[str]:
    """The gateways whose guests the run has made: what is in one goes with it."""
    ops = [line["words"]["do"] for line in lines if isinstance(line.get("words"), Mapping)]
    return {str(op["set"][1]) for op in ops if "set" in op and op["set"][0] in guests.WHOLE and op["before"] is None}


def _peers(answer: Mapping[str, Any]) -> dict[str, Any]:
    peers = answer.get("peers")
    return dict(peers) if isinstance(peers, Mapping) else {}


def _chosen(site: str, lines: Mapping[tuple[str, str], Lines], answered: Collection[str]) -> str | None:
    ends: dict[str, set[str]] = {}
    for (run, _), rows in lines.items():
        ends.setdefault(run, set()).update(str(row["ended"]) for row in rows if "ended" in row)
    headers: dict[str, list[Mapping[str, Any]]] = {}
    for (run, target), rows in lines.items():
        if rows and not ends[run]:
            headers.setdefault(target, []).append({**rows[0], "run": run, "begun": True})
    about = going(site, headers, answered)
    if about is not None:
        return str(about["run"])
    newest = max(ends, default="")
    knows = {target for run, target in lines if run == newest}
    took_part = set().union(*(_took_part(rows[0]) for (run, _), rows in lines.items() if run == newest and rows))
    # Once the whole site was applied, its targets have forgotten it.
    return newest if STRANDED in ends.get(newest, ()) and took_part & set(answered) <= knows else None


def _must_answer(found: Mapping[str, Any], wanted: Collection[str]) -> None:
    """Raises Refused where one that took part can't be asked; with nobody wanted, where nobody can."""
    wrong = {target: answer for target, answer in found.items() if isinstance(answer, ChannelError)}
    if not wanted and len(wrong) < len(found):
        return
    asked = {target: answer for target, answer in wrong.items() if target in wanted or not wanted}
    words = "{} took part in the run, and is not in the definitions"
    missing = [Trouble(words.format(target), KNOWN) for target in sorted(set(wanted) - found.keys())]
    troubles = [
        Trouble(answer.summary, f"{answer.hint or START}; or recover without it: --forget {target}", answer.detail)
        for target, answer in asked.items()
        if not isinstance(answer, Absent)
    ]
    if troubles or missing:
        raise Refused(*missing, *troubles)


UNSURE = "bring it back, or let smbplan in by SSH; or recover without the cluster: --forget @proxmox"
START = "start it: what was changed in it is known there"
KNOWN = "use the definitions that the run was of; or recover without it: --forget NAME"
