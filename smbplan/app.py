"""The use cases, and the only place where layers are wired together."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from smbplan import preflight, recovery, stale
from smbplan.alone import alone, must_be_recovered, signalled
from smbplan.drivers.channel import Channel, Counts
from smbplan.drivers.endpoint import Endpoint
from smbplan.drivers.errors import Absent, Asleep, ChannelError, Held
from smbplan.drivers.fleet import LOCK_WAIT, Fleet
from smbplan.drivers.targets import Connect
from smbplan.engine import plan as planning
from smbplan.engine.encoding import step_to_json
from smbplan.engine.execute import Execution
from smbplan.engine.graph import CycleError
from smbplan.engine.kind import Options
from smbplan.engine.outcome import Outcome, Warned, completed, resumed
from smbplan.engine.plan import Plan
from smbplan.engine.resource import Resource
from smbplan.engine.solve import UnknownTarget
from smbplan.engine.step import Status, Step
from smbplan.errors import CutShort, Refused, TakenOver, Trouble, trouble
from smbplan.kinds import cluster, expand, fallback, kinds, member
from smbplan.kinds.guest import CLUSTER
from smbplan.observe import abandoned, check, endpoints, located, observe, orphaned, pending
from smbplan.report import document
from smbplan.spec.load import Loaded, load, load_source
from smbplan.spec.model import Site
from smbplan.spec.problems import SpecError
from smbplan.spec.source import Source
from smbplan.store import codec, runs
from smbplan.writing import ROOM, Careful

SECTIONS = {"posix.user": "users", "samba.user": "users", "posix.group": "groups"}  # where else a kind is defined
ENDINGS = ("applied", "partial", "rolled_back")  # after which nothing is left to do
THOUGHT = 60.0  # seconds, after which a line may be dead, and Samba's databases others than an agent has open
PART = "begun"  # in the plan of a run of which only those steps are known
Watch = Callable[[Step, Status], None]


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with all that applying it needs. A context manager, for the connections that are kept."""

    plan: Plan
    endpoints: Mapping[str, Endpoint]
    spec: Loaded | None = None
    counts: Mapping[str, Counts] = field(default_factory=dict)
    kept: Mapping[str, Channel] = field(default_factory=dict)  # connections, for who applies it
    made: float = field(default_factory=partial(time.clock_gettime, time.CLOCK_BOOTTIME))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Whoever asks over one of the connections then makes it anew."""
        for channel in self.kept.values():
            channel.close()


@dataclass(frozen=True, slots=True)
class Applied:
    """How a run ended."""

    run: str
    site: str
    steps: tuple[Step, ...]
    outcome: Outcome
    counts: Mapping[str, Counts] = field(default_factory=dict)


def validate(definitions: Path | Source) -> Loaded:
    """The definitions, checked without any target. Raises Refused."""
    try:
        return load(definitions) if isinstance(definitions, Path) else load_source(definitions)
    except SpecError as error:
        raise Refused(
            *(
                Trouble(problem.summary, problem.hint, file=problem.file, line=problem.line, column=problem.column)
                for problem in error.problems
            )
        ) from None


def plan(definitions: Path | Source, options: Options, connect: Connect = Channel, keep: bool = False) -> Planned:
    """What would be done. Raises Refused when that can't be said; guardrails are in the plan.

    With `keep`, the connections stay for an apply, until what is planned is left.
    """
    loaded = validate(definitions)
    site = loaded.site
    with Fleet(site.site, endpoints(site), connect) as fleet:
        fleet.expect()
        loaded = replace(loaded, site=located(fleet, site))
        made = _plan(fleet, loaded, options)
        return Planned(made, fleet.endpoints, loaded, fleet.counts, fleet.keep() if keep else {})


def _plan(fleet: Fleet, loaded: Loaded, options: Options) -> Plan:
    site = loaded.site
    wanted = [_placed(item, loaded) for item in expand(site)]
    must_be_recovered(site.site)
    live, hazards = observe(fleet, wanted, options, site.proxmox)
    recovery.must_be_over(fleet, live)
    waiting = [] if options.destroy else abandoned(fleet, site, live)
    if waiting:
        notes = list(fallback.waiting(site, waiting))
        site = fallback.standing(site, waiting)
        loaded = replace(loaded, site=site)
        wanted = [_placed(item, loaded) for item in [*expand(site), *notes]]
        live, hazards = observe(fleet, wanted, options, site.proxmox)
    asleep = {name for name, seen in live.items() if seen.facts.get("asleep")}
    hidden = {name: item.target for item in wanted if item.target in asleep for name in (item.address, item.unit)}
    wanted = [item for item in wanted if item.target not in asleep]
    try:
        made = planning.build(site.site, wanted, live, kinds(), replace(options, joins=member.joins(site)))
    except UnknownTarget as error:
        raise Refused(_unknown(error.args[0], hidden)) from None
    except CycleError as error:
        raise Refused(Trouble(str(error))) from None
    hazards += orphaned(site, asleep, options)
    hazards += [] if made.refused else [*check(fleet, site, made, live), *preflight.check(fleet, site, made)]
    misplaced = tuple(cluster.crowded(site))
    made = replace(made, warnings=(*made.warnings, *pending(site, live), *misplaced), misplaced=misplaced)
    if waiting:
        made = replace(made, warnings=(*made.warnings, *(f"gateway.{name}: {fallback.WORDS}" for name in waiting)))
    if asleep:
        hint = "its guest does not run; apply again when it does, for what is in it"
        words = (f"gateway.{name}: {hint}" for name in asleep if name in loaded.site.gateways)
        made = replace(made, warnings=(*made.warnings, *sorted(words)))
    if not hazards:
        return made
    return replace(made, steps=(), refused=(*made.refused, *hazards))


def _unknown(name: str, hidden: Mapping[str, str]) -> Trouble:
    if name not in hidden:
        return Trouble(f"--target {name} names nothing", "smbplan graph shows all addresses")
    guest = hidden[name]
    words = f"--target {name} is in {guest}, whose guest does not run"
    return Trouble(words, f"start it with --target guest.power.{guest}; apply again when it runs")


def _placed(item: Resource, loaded: Loaded) -> Resource:
    """The resource with the place of its definition."""
    from smbplan.engine.resource import Location

    section, _, name = item.unit.partition(".")
    gateway = item.key.name.partition(":")[0] if item.target == CLUSTER else item.target
    where = ("shares", name) if section == "share" else ("gateways", gateway)
    where = (SECTIONS[item.kind], item.key.name) if item.kind in SECTIONS else where
    return replace(item, origin=Location(*loaded.source.where(where, key=True)))


def apply(
    planned: Planned, parallelism: int = 10, watch: Watch = lambda step, status: None, connect: Connect = Channel
) -> Applied:
    """Carry the plan out. Raises Refused when it may not be, with nothing changed."""
    made = planned.plan
    if made.refused:
        raise Refused(*map(trouble, made.refused))
    if time.clock_gettime(time.CLOCK_BOOTTIME) - planned.made > THOUGHT:
        planned.close()
    text = document.plan(made, kinds(), planned.endpoints)
    return _run(made.site, made.steps, planned.endpoints, text, parallelism, watch, connect, planned.kept)


def apply_saved(saved: codec.Saved, parallelism: int, watch: Watch, connect: Connect = Channel) -> Applied:
    """Exactly the plan that was saved. Raises Refused for one that is stale."""
    must_be_recovered(saved.site)
    found = {name: Endpoint(**data) for name, data in saved.endpoints.items()}
    stale.refuse(saved.site, saved.steps, found, connect)
    return _run(saved.site, saved.steps, found, saved.document, parallelism, watch, connect)


def load_saved(path: Path) -> codec.Saved:
    """Raises Refused for a plan that was altered, was made elsewhere, or is unreadable."""
    try:
        return codec.read(path)
    except codec.BadPlan as error:
        raise Refused(Trouble(error.summary, error.hint, file=str(path))) from None


def _run(
    site: str,
    steps: tuple[Step, ...],
    found: Mapping[str, Endpoint],
    text: Mapping[str, Any],
    parallelism: int,
    watch: Watch,
    connect: Connect,
    kept: Mapping[str, Channel] | None = None,
) -> Applied:
    with alone(site), Fleet(site, found, connect, kept) as fleet:
        if not steps:
            _remember(fleet, site, found)
            return Applied("", site, steps, Outcome({}), fleet.counts)
        name = runs.named()
        fleet.begin(name, sorted({step.target for step in steps}), steps=len(steps))
        _lock_targets(fleet, steps)
        run, journal = recovery.written_down(fleet, name, text, fleet.unkept())
        whole = not text.get("targets")
        return _walked(fleet, run, journal, steps, whole, parallelism=parallelism, watch=watch)


def _walked(
    fleet: Fleet, run: runs.Run, journal: runs.Journal, steps: tuple[Step, ...], whole: bool, **how: Any
) -> Applied:
    """`how` is for engine.execute. Raises CutShort where it can't be written down how it ended."""
    careful = Careful(fleet, journal)
    execution = Execution(steps, careful, careful, **how)
    careful.stop = execution.stop
    with signalled(lambda *_: execution.stop()):  # a run is turned back, not cut short
        outcome = execution.run()
    try:
        if careful.error is None:
            return _finish(fleet, run, steps, outcome, whole)
    except OSError as error:
        careful.error = error
    fleet.release()
    raise CutShort(Trouble(f"run {run.id} was cut short: {careful.words}", ROOM, str(careful.error.filename or "")))


def _lock_targets(fleet: Fleet, steps: Sequence[Step]) -> None:
    """Raises Refused when somebody else changes one, has left a run that has to be recovered, or has just done this."""
    try:
        answers = fleet.lock()
        absent = Absent | Asleep  # a container that the run makes, or starts, is locked then
        bad = [each for each in answers.values() if isinstance(each, ChannelError) and not isinstance(each, absent)]
        if bad:
            raise Refused(*dict.fromkeys(Trouble(error.summary, error.hint, error.detail) for error in bad))
        recovery.refuse_cut(fleet, answers)
        stale.refuse_made(fleet, steps)
    except BaseException:
        fleet.release()
        raise


def _finish(fleet: Fleet, run: runs.Run, steps: tuple[Step, ...], outcome: Outcome, whole: bool) -> Applied:
    """What earlier runs that stranded have kept goes when the whole site was applied."""
    outcome.homes = {name: at.home for name, at in fleet.endpoints.items() if at.of}
    applied = Applied(run.id, run.site, steps, outcome, fleet.counts)
    if not fleet.taken_over:
        journal = runs.Journal(run, fleet.owner)
        journal.note(ended=outcome.name)
        journal.close()
    untold = fleet.ended(outcome.name)
    if fleet.taken_over:
        trouble = Trouble(fleet.taken_over.summary, fleet.taken_over.hint)
        ended = {"outcome": recovery.TAKEN_OVER, "steps": [], "errors": document.errors([trouble])["errors"]}
        run.finish(ended, fleet.owner)
        fleet.release()
        raise TakenOver(trouble)
    if outcome.name in ("applied", "partial"):
        words = "it could not be told that the run has ended: `smbplan recover` from another machine would take it back"
        outcome.warnings += [Warned(f"gateway.{target}", words) for target in untold]
    forgotten, everything = list[str](), whole and outcome.name == "applied"
    if outcome.name == "stranded":
        fleet.release()
    else:
        if outcome.name != "rolled_back":
            _remember(fleet, run.site, fleet.endpoints)
        forgotten = fleet.finish(everything)
    told = document.applied(applied.run, applied.steps, outcome)
    run.finish(told, fleet.owner, forgotten=forgotten, everything=everything)
    return applied


def _remember(fleet: Fleet, site: str, found: Mapping[str, Endpoint]) -> None:
    """Tell every target which gateways the site has, so that a dropped one is found from any other."""
    live = fleet.ask_all({target: {"verb": "known", "site": site} for target in found})
    managed = {name for name, answer in live.items() if isinstance(answer, Mapping) and answer.get("managed")}
    runs.remember_peers(site, {name: at.as_json() for name, at in found.items() if name in managed})
    known = {name: found[name].peer() for name in managed if not found[name].api}
    for target, answer in live.items():
        # A guest is isolated: it is told nothing, and not asked. Of a cluster, its nodes are told.
        told = target in managed and not (found[target].guest or found[target].of)
        wanted = {name: data for name, data in known.items() if name != target} if told else {}
        if isinstance(answer, Mapping) and answer.get("peers") != wanted:
            held = {"token": fleet.token} if target in fleet.locked else {}
            fleet.each([target], partial(fleet.ask, verb="peers", site=site, peers=wanted, **held))


def recover(
    name: str, watch: Watch, connect: Connect = Channel, definitions: Site | None = None, forget: Sequence[str] = ()
) -> Applied | None:
    """Undo what a run that was cut short has done, unless it was all; or what one that stranded has left.

    One of another machine is found on the targets of the definitions; what `forget` names is left out of it.
    None: there is no such run. Raises Refused.
    """
    run = runs.interrupted(name) or runs.stranded(name)
    try:
        with alone(name):
            if run is not None:
                if forget:
                    words = f"run {run.id} is of this machine: what can't be reached is left out by itself"
                    raise Refused(Trouble(words, "smbplan recover, without --forget"))
                return _recover(run, watch, connect)
            return _recover_other(definitions, watch, connect, forget) if definitions else None
    except codec.BadPlan as error:
        raise Refused(Trouble(error.summary, error.hint)) from None


def _recover(run: runs.Run, watch: Watch, connect: Connect) -> Applied:
    """One that was begun here. Raises BadPlan."""
    run.must_be_whole()
    steps = run.steps()
    found = {name: Endpoint(**data) for name, data in run.plan()["endpoints"].items()}
    with Fleet(run.site, found, connect) as fleet:
        _take_over(fleet, run.id, steps, run.tokens())
        return _taken_back(fleet, run, steps, watch)


def _recover_other(site: Site, watch: Watch, connect: Connect, forget: Sequence[str]) -> Applied | None:
    """One of which the targets tell."""
    with Fleet(site.site, endpoints(site), connect) as fleet:
        site = located(fleet, site)
        left = recovery.left(fleet, site, forget)
        if left is None:
            return None
        if (own := runs.known(site.site, left.run)) is not None:
            return _recover(own, watch, connect)  # it was taken over, and given up there
        steps = left.steps(site)
        _take_over(fleet, left.run, steps, (), left.targets - set(forget))
        text = {"steps": [step_to_json(step) for step in steps], "endpoints": left.endpoints, "site": site.site}
        more = {PART: not left.is_whole, "ended": left.ended}
        run, journal = recovery.written_down(fleet, left.run, {**text, **more})
        journal.write(left.entries())
        journal.close()
        return _taken_back(fleet, run, steps, watch)


def _take_over(
    fleet: Fleet, run: str, steps: Sequence[Step], former: Sequence[str], more: Collection[str] = ()
) -> None:
    """Raises Refused where a target is being changed by somebody else; those that are away do not matter yet."""
    fleet.begin(run, sorted({*more, *(step.target for step in steps)}), former, takes_over=True)
    held = [answer for answer in fleet.lock(LOCK_WAIT if former else 0.0).values() if isinstance(answer, Held)]
    if held:
        fleet.release()
        raise Refused(*(Trouble(error.summary, error.hint) for error in held))


def _taken_back(fleet: Fleet, run: runs.Run, steps: tuple[Step, ...], watch: Watch) -> Applied:
    entries, plan = recovery.corrected(run, steps, fleet), run.plan()
    told = run.ending()
    if told in ENDINGS or (not plan.get(PART) and completed(entries, steps)):
        brackets = frozenset(step.id for step in steps if step.bracket)
        cut_back = told in ENDINGS and told != "applied"
        outcome = Outcome(resumed(run.entries(), steps), interrupted=cut_back, brackets=brackets)
        return _finish(fleet, run, steps, outcome, whole=False)
    start, ended = resumed(entries, steps), bool(run.outcome() or plan.get("ended") or told)
    journal = runs.Journal(run, fleet.owner, fleet.token)
    return _walked(fleet, run, journal, steps, whole=False, watch=watch, start=start, ended=ended)
