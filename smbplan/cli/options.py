"""The options that commands share, and what may stand in them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smbplan.engine.kind import Options

GUARDRAILS = (
    "acl-widening",
    "id-map",
    "many-deletes",
    "many-updates",
    "path-move",
    "prevent-destroy",
    "unmapped-ids",
    "lost-disk",
    "orphan-account",
)


class WrongUsage(Exception):
    """The command line asks for what can't be; exits as any other wrong usage does."""

    def __init__(self, summary: str, hint: str) -> None:
        super().__init__(summary)
        self.summary, self.hint = summary, hint


class Format(StrEnum):
    """How a command answers on stdout."""

    text = "text"
    json = "json"
    markdown = "markdown"


def _guardrails(names: list[str]) -> list[str]:
    """Raises BadParameter for a name that no guardrail has."""
    from difflib import get_close_matches

    for name in names:
        if name not in GUARDRAILS:
            near = get_close_matches(name, GUARDRAILS, 1)
            known = f"did you mean {near[0]}?" if near else f"they are {', '.join(GUARDRAILS)}"
            raise typer.BadParameter(f"no guardrail is called {name!r}; {known}")
    return names


def _completed(incomplete: str) -> list[str]:
    return [name for name in GUARDRAILS if name.startswith(incomplete)]


SiteArgument = Annotated[Path, typer.Argument(metavar="SITE", help="A file or folder with definitions.")]
Output = Annotated[Format, typer.Option("--format", help="One document of this form on stdout.")]
Target = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="ADDRESS", help="Only this and what it stands on. Repeatable."),
]
Parallelism = Annotated[int, typer.Option("--parallelism", min=1, help="Gateways that are worked on at a time.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]
Atomic = Annotated[bool, typer.Option("--atomic", help="If anything fails, roll back everything.")]
Detailed = Annotated[bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there are differences.")]
Purge = Annotated[bool, typer.Option("--purge", help="Remove also what was parked.")]
DeleteData = Annotated[
    bool, typer.Option("--delete-data", help="Delete data too, where a definition says on_destroy: delete.")
]
Adopt = Annotated[bool, typer.Option("--adopt", help="Take over what exists and isn't managed yet.")]
Forget = Annotated[
    list[str] | None,
    typer.Option("--forget", metavar="GATEWAY", help="Drop a lost gateway from the site. Repeatable."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="GUARDRAIL",
        callback=lambda value: _guardrails(value or []),
        autocompletion=_completed,
        help=f"Lift one guardrail ({', '.join(GUARDRAILS)}). Repeatable.",
    ),
]
Timings = Annotated[bool, typer.Option("--timings", help="Tell round trips, commands, API calls, bytes and seconds.")]


def options(
    *,
    destroy: bool = False,
    target: list[str] | None = None,
    atomic: bool = False,
    purge: bool = False,
    delete_data: bool = False,
    adopt: bool = False,
    forget: list[str] | None = None,
    allow: list[str] | None = None,
) -> "Options":
    """What the engine is told of the command line."""
    from smbplan.engine.kind import Options

    return Options(
        destroy=destroy,
        purge=purge,
        delete_data=delete_data,
        adopt=adopt,
        atomic=atomic,
        allow=frozenset(allow or ()),
        targets=tuple(target or ()),
        forget=frozenset(forget or ()),
    )
