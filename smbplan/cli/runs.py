"""`smbplan runs`: what has been applied from this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from smbplan.cli.options import Format, Output
from smbplan.cli.output import emit

if TYPE_CHECKING:
    from smbplan.store.runs import Run

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List the runs made from this machine, the newest first.",
    epilog="Example: smbplan runs --site quickstart",
)


@app.callback()
def _list(
    context: typer.Context,
    site: Annotated[str | None, typer.Option("--site", metavar="NAME", help="Only those of this site.")] = None,
    format: Output = Format.text,
) -> None:
    """List the runs made from this machine, the newest first."""
    if context.invoked_subcommand:
        return
    from smbplan.report import history, markdown
    from smbplan.store.codec import FORMAT
    from smbplan.store.runs import runs

    entries = [_safely(run) for run in runs(site)]
    if format is Format.json:
        emit({"format_version": FORMAT, "runs": entries})
    elif format is Format.markdown:
        emit(markdown.table(history.HEAD, history.rows(entries)))
    else:
        emit(history.text(entries))


@app.command(epilog="Example: smbplan runs show 20250131-120000-1a2b --format json")
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name, or how it begins.")],
    format: Output = Format.text,
) -> None:
    """Show one run: its steps, what failed and why."""
    from smbplan.errors import Refused, Trouble
    from smbplan.report import history, markdown
    from smbplan.store.codec import FORMAT, BadPlan

    try:
        one = history.details(_named(run))
        told = history.text_details(one)
    except BadPlan as error:
        raise Refused(Trouble(error.summary, error.hint)) from None
    if format is Format.json:
        emit({"format_version": FORMAT, **one})
        return
    emit(markdown.fenced(told) if format is Format.markdown else told)


@app.command(epilog="Example: smbplan runs verify --site quickstart")
def verify(
    site: Annotated[str | None, typer.Option("--site", metavar="NAME", help="Only those of this site.")] = None,
    format: Output = Format.text,
) -> None:
    """Tell whether anybody has altered what is written of the runs; exit code 1 if so."""
    from smbplan.report import history, markdown
    from smbplan.store import audit
    from smbplan.store.codec import FORMAT
    from smbplan.store.runs import sites, verify

    log = audit.log()
    found = [verify(name, log) for name in ([site] if site else sites(log))]
    warnings = [audit.UNASKED.format(log.wrong)] if log.wrong else []
    if format is Format.json:
        emit({"format_version": FORMAT, "sites": [history.verdict(one) for one in found], "warnings": warnings})
    else:
        told = "\n\n".join(history.text_verdict(one) for one in found) or history.text_none(warnings)
        emit(markdown.fenced(told) if format is Format.markdown else told)
    if any(one.flaws for one in found):
        raise typer.Exit(1)


def _named(name: str) -> "Run":
    """Raises Refused."""
    from smbplan.errors import Refused, Trouble
    from smbplan.store.runs import runs

    found = [run for run in runs() if run.id.startswith(name)]
    exact = [run for run in found if run.id == name] or found
    if len(exact) == 1:
        return exact[0]
    many = "several runs begin with" if found else "there is no run"
    raise Refused(Trouble(f"{many} {name}", "smbplan runs lists them"))


def _safely(run: "Run") -> dict[str, object]:
    """A damaged run is listed as such."""
    from smbplan.report import history
    from smbplan.store.codec import BadPlan

    try:
        return history.entry(run)
    except BadPlan:
        return {"id": run.id, "site": run.site, "time": "", "outcome": "damaged", "counts": {}}
