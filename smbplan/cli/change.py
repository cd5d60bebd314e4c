"""Commands that compare and change: plan, drift, apply, destroy, recover."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from smbplan.cli.options import (
    GUARDRAILS,
    Adopt,
    Allow,
    Atomic,
    DeleteData,
    Detailed,
    Forget,
    Format,
    Output,
    Parallelism,
    Purge,
    SiteArgument,
    Target,
    Timings,
    WrongUsage,
    Yes,
    options,
)
from smbplan.cli.output import coloured, emit, merged, note

if TYPE_CHECKING:
    from smbplan.app import Applied, Planned
    from smbplan.drivers.channel import Counts
    from smbplan.engine.step import Step
    from smbplan.report.progress import Live, Plain
    from smbplan.report.text import View
    from smbplan.spec.source import Source

DIFFERENT = 2
ENDED = {"applied": 0, "partial": 3, "rolled_back": 3, "stranded": 4}


class Connects(TyperCommand):
    """It needs the hosts of the definitions that it is given."""

    def begin(self, args: Sequence[str]) -> None:
        """Connect to them before the words are checked: typer loads pydantic for that. Raises what wrong ones raise."""
        told, _, _ = self.make_parser(typer.Context(self)).parse_args(list(args))
        site = told.get("site")
        path = Path(site) if isinstance(site, str) else Path()
        if not (told.get("help") or _is_saved(path)):
            from smbplan import early

            early.begin(path)


def mount(app: typer.Typer) -> None:
    app.command(cls=Connects, epilog="Example: smbplan plan examples/quickstart --out quickstart.plan")(plan)
    app.command(cls=Connects, epilog="Example: smbplan apply quickstart.plan")(apply)
    app.command(cls=Connects, epilog="Example: smbplan drift --format json")(drift)
    app.command(cls=Connects, epilog="Example: smbplan destroy examples/quickstart --yes")(destroy)
    app.command(epilog="Example: smbplan recover --site quickstart")(recover)


def plan(
    site: SiteArgument = Path(),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the plan, so that apply does exactly this.")
    ] = None,
    destroying: Annotated[bool, typer.Option("--destroy", help="Plan what `destroy` would do.")] = False,
    target: Target = None,
    atomic: Atomic = False,
    detailed_exitcode: Detailed = False,
    purge: Purge = False,
    delete_data: DeleteData = False,
    adopt: Adopt = False,
    forget: Forget = None,
    allow: Allow = None,
    timings: Timings = False,
    format: Output = Format.text,
) -> None:
    """Show what would be changed, and change nothing."""
    definitions = _read(site)
    from smbplan import app

    wanted = options(
        destroy=destroying,
        target=target,
        atomic=atomic,
        purge=purge,
        delete_data=delete_data,
        adopt=adopt,
        forget=forget,
        allow=allow,
    )
    planned = app.plan(definitions, wanted)
    if out and not planned.plan.refused:
        _save(planned, out)
    emit(_plan(planned, format, "destroy" if destroying else "plan", timings))
    if planned.plan.refused:
        if out:
            note(f"{out} is not written: the plan is refused.")
        raise typer.Exit(1)
    raise typer.Exit(DIFFERENT if detailed_exitcode and planned.plan.differs else 0)


def drift(
    site: SiteArgument = Path(),
    target: Target = None,
    forget: Forget = None,
    timings: Timings = False,
    format: Output = Format.text,
) -> None:
    """Show where the live state differs. Exits with 2 when it does."""
    definitions = _read(site)
    from smbplan import app

    # Nothing is going to be changed, so no guardrail is in the way of an answer.
    planned = app.plan(definitions, options(target=target, forget=forget, adopt=True, allow=list(GUARDRAILS)))
    emit(_plan(planned, format, "drift", timings))
    if planned.plan.refused:
        raise typer.Exit(1)
    raise typer.Exit(DIFFERENT if planned.plan.differs else 0)


def apply(
    site: Annotated[Path, typer.Argument(metavar="SITE|PLAN", help="Definitions, or a saved plan.")] = Path(),
    target: Target = None,
    parallelism: Parallelism = 10,
    yes: Yes = False,
    atomic: Atomic = False,
    purge: Purge = False,
    delete_data: DeleteData = False,
    adopt: Adopt = False,
    forget: Forget = None,
    allow: Allow = None,
    timings: Timings = False,
    format: Output = Format.text,
) -> None:
    """Make the live state as defined, or carry out a saved plan. What fails is rolled back."""
    choices = {
        "target": target,
        "atomic": atomic,
        "purge": purge,
        "delete_data": delete_data,
        "adopt": adopt,
        "forget": forget,
        "allow": allow,
    }
    if _is_saved(site):
        _apply_saved(site, choices, parallelism, timings, format)
    _change(site, choices, parallelism, yes, timings, format, "plan")


def destroy(
    site: SiteArgument = Path(),
    target: Target = None,
    parallelism: Parallelism = 10,
    yes: Yes = False,
    atomic: Atomic = False,
    purge: Purge = False,
    delete_data: DeleteData = False,
    forget: Forget = None,
    allow: Allow = None,
    timings: Timings = False,
    format: Output = Format.text,
) -> None:
    """Remove what smbplan made for the site. Data stays, unless the definitions and --delete-data say otherwise."""
    choices: dict[str, Any] = {
        "destroy": True,
        "target": target,
        "atomic": atomic,
        "purge": purge,
        "delete_data": delete_data,
        "forget": forget,
        "allow": allow,
    }
    _change(site, choices, parallelism, yes, timings, format, "destroy")


def recover(
    site: SiteArgument = Path(),
    name: Annotated[
        str | None, typer.Option("--site", metavar="NAME", help="The site's name, where its definitions are gone.")
    ] = None,
    forget: Forget = None,
    timings: Timings = False,
    format: Output = Format.text,
) -> None:
    """Undo what a run that was cut short has done, unless it had done all; or what a stranded one has left.

    A run of another machine is found by the site's definitions.
    """
    from smbplan import app

    definitions = None if name else app.validate(site).site
    name = definitions.site if definitions else name or ""
    with _progress((), format) as progress:
        applied = app.recover(name, progress.watch, definitions=definitions, forget=forget or ())
    if applied is None:
        nothing: dict[str, Any] = {
            "format_version": "1.0",
            "outcome": None,
            "run": None,
            "steps": [],
            "errors": [],
            "manual": [],
        }
        words = f"Nothing to recover: no run of site {name} was cut short, and its last one is not stranded."
        emit(nothing if format is Format.json else words)
        return
    emit(_applied(applied, format, applied.counts if timings else None))
    raise typer.Exit(ENDED["stranded"] if applied.outcome.name == "stranded" else 0)


def _read(site: Path) -> "Path | Source":
    """Before anything else is loaded: its hosts are connected to meanwhile."""
    from smbplan import early

    return early.definitions(site)


def _change(
    site: Path, choices: Mapping[str, Any], parallelism: int, yes: bool, timings: bool, form: Format, view: "View"
) -> None:
    """Plan, ask, apply. Ends with the exit code of the outcome."""
    asks = not yes
    if asks and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise WrongUsage("without a terminal nothing can be asked", "use --yes, or apply a saved plan")
    definitions = _read(site)
    from smbplan import app

    with app.plan(definitions, options(**choices), keep=True) as planned:
        if planned.plan.steps:
            if form is Format.text:
                emit(_plan(planned, form, view, False))
            if asks:
                _ask(planned, form, view)
        with _progress(planned.plan.steps, form) as progress:
            applied = app.apply(planned, parallelism, progress.watch)
    if form is Format.text and not applied.steps:
        emit(_plan(planned, form, view, False))
        raise typer.Exit
    emit(_applied(applied, form, merged(planned.counts, applied.counts) if timings else None))
    raise typer.Exit(ENDED[applied.outcome.name])


def _apply_saved(path: Path, choices: Mapping[str, Any], parallelism: int, timings: bool, form: Format) -> None:
    wrong = [f"--{name.replace('_', '-')}" for name, value in choices.items() if value]
    if wrong:
        raise WrongUsage(f"a saved plan is applied as it is, without {', '.join(wrong)}", "make a new plan with it")
    from smbplan import app

    saved = app.load_saved(path)
    with _progress(saved.steps, form) as progress:
        applied = app.apply_saved(saved, parallelism, progress.watch)
    emit(_applied(applied, form, applied.counts if timings else None))
    raise typer.Exit(ENDED[applied.outcome.name])


def _is_saved(path: Path) -> bool:
    """A file that isn't YAML by its name, or is JSON by its content."""
    if not path.is_file():
        return False
    if path.suffix not in {".yaml", ".yml"}:
        return True
    import json

    try:
        with path.open("rb") as file:
            if not file.read(200).lstrip().startswith(b"{"):  # nor is it read as a whole
                return False
        return "format_version" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _ask(planned: "Planned", form: Format, view: "View") -> None:
    """Raises Refused unless the answer is yes."""
    from smbplan.errors import Refused, Trouble

    if form is not Format.text:
        note(_as_text(planned, view, coloured(sys.stderr)))
    print("\nApply these changes? Only 'yes' is accepted: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise Refused(Trouble("not confirmed, so nothing was changed"))


def _as_text(planned: "Planned", view: "View", colour: bool) -> str:
    from smbplan.kinds import kinds
    from smbplan.report import text

    return text.plan(planned.plan, kinds(), colour, view)


def _plan(planned: "Planned", form: Format, view: "View", timings: bool) -> str | dict[str, Any]:
    from smbplan.kinds import kinds
    from smbplan.report import document, markdown

    cost = document.timings(planned.counts) if timings else {}
    if form is Format.json:
        return _plan_data(planned, {"timings": cost} if timings else {}, view)
    if form is Format.markdown:
        return markdown.plan(planned.plan, kinds(), view) + _cost(cost, form)
    return _as_text(planned, view, coloured(sys.stdout)) + _cost(cost, form)


def _plan_data(planned: "Planned", more: dict[str, Any], view: "View") -> dict[str, Any]:
    from smbplan.errors import trouble
    from smbplan.kinds import kinds
    from smbplan.report import document

    data = document.plan(planned.plan, kinds(), planned.endpoints)
    if view == "drift":
        more = {**more, "drift": not planned.plan.empty}
    if planned.plan.refused:
        more["errors"] = document.errors([trouble(item) for item in planned.plan.refused])["errors"]
    return {**data, **more}


def _applied(applied: "Applied", form: Format, counts: "Mapping[str, Counts] | None") -> str | dict[str, Any]:
    from smbplan.report import document, markdown, text

    cost = document.timings(counts) if counts is not None else {}
    if form is Format.json:
        data = document.applied(applied.run, applied.steps, applied.outcome)
        return {**data, "timings": cost} if counts is not None else data
    if form is Format.markdown:
        return markdown.applied(applied.run, applied.steps, applied.outcome) + _cost(cost, form)
    told = text.applied(applied.run, applied.steps, applied.outcome, coloured(sys.stdout))
    return told + _cost(cost, form)


def _cost(cost: Mapping[str, Mapping[str, Any]], form: Format) -> str:
    from smbplan.report import markdown, text

    if not cost:
        return ""
    told = text.timings(cost)
    return f"\n\n{markdown.fenced(told) if form is Format.markdown else told}"


def _progress(steps: "tuple[Step, ...]", form: Format) -> "Plain | Live":
    from smbplan.report.progress import progress

    return progress(sys.stderr, steps, coloured(sys.stderr))


def _save(planned: "Planned", path: Path) -> None:
    """Readable by the owner only: a plan tells how the gateways are reached. Raises OSError and Refused."""
    import json
    import os

    from smbplan.errors import Refused, Trouble
    from smbplan.kinds import kinds
    from smbplan.report import document
    from smbplan.store import seal

    try:
        sealed = seal.sealed(document.plan(planned.plan, kinds(), planned.endpoints))
    except seal.BadKey as error:
        raise Refused(Trouble(str(error))) from None
    text = json.dumps(sealed, indent=1, default=list)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        if path.is_file():
            os.fchmod(file.fileno(), 0o600)
        file.write(text + "\n")
