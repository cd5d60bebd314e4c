"""`smbplan domain`: Active Directory domains and the gateways in them."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smbplan.cli.options import Format, Output, SiteArgument
from smbplan.cli.output import coloured, emit

if TYPE_CHECKING:
    from smbplan.domains import Row

HEAD = ("", "gateway", "check", "found")
SIGNS = {True: ("✓", "green"), False: ("✗", "red"), None: ("–", "dim")}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Active Directory domains, and the gateways in them.",
    epilog="Example: smbplan domain check corp office",
)


@app.callback()
def _top() -> None:
    """Active Directory domains, and the gateways in them."""


@app.command(epilog="Example: smbplan domain check corp office --format json")
def check(
    name: Annotated[str, typer.Argument(help="The domain, as the definitions call it.")],
    site: SiteArgument = Path(),
    format: Output = Format.text,
) -> None:
    """Find out on every gateway what may keep it from joining. Exits with 1 when something does."""
    from smbplan import app as cases
    from smbplan import domains

    rows = domains.check(cases.validate(site).site, name)
    good = all(row.ok is not False for row in rows)
    if format is Format.json:
        emit({"format_version": "1.0", "domain": name, "ok": good, "checks": [asdict(row) for row in rows]})
    else:
        emit(_markdown(rows) if format is Format.markdown else _text(rows))
    if not good:
        raise typer.Exit(1)


def _text(rows: "Sequence[Row]") -> str:
    from smbplan.report import terminal

    colour = coloured(sys.stdout)
    head, *lines = terminal.columns(HEAD, [[SIGNS[row.ok][0], row.gateway, row.check, row.found] for row in rows])
    found = [head]
    for row, line in zip(rows, lines, strict=True):
        found.append(terminal.paint(line[0], SIGNS[row.ok][1], colour) + line[1:])
        found += [f"     tried: {terminal.safe(row.tried)}"] if row.ok is False and row.tried else []
        found += [f"     hint:  {terminal.safe(row.hint)}"] if row.ok is False and row.hint else []
    return "\n".join(found)


def _markdown(rows: "Sequence[Row]") -> str:
    from smbplan.report import markdown

    table = [[SIGNS[row.ok][0], row.gateway, row.check, row.found, row.tried, row.hint] for row in rows]
    return markdown.table((*HEAD, "tried", "what to do"), table)
