"""The command line: mounts the commands, and turns whatever ends them into a message and an exit code."""

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import typer

from smbplan.cli import change, domain, ha, image, lab, runs, site
from smbplan.cli.options import WrongUsage
from smbplan.cli.output import emit, fail, note
from smbplan.errors import Refused, Trouble

USAGE = 64  # sysexits.h: EX_USAGE
INTERRUPTED = 130

app = typer.Typer(
    name="smbplan",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would make up half of the start
    pretty_exceptions_enable=False,
    help="Plan and apply SMB shares, from YAML, with rollback.",
    epilog="Example: smbplan init, then smbplan plan, then smbplan apply",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        emit(f"smbplan {version('smbplan')}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Plan and apply SMB shares, from YAML, with rollback."""


site.mount(app)
change.mount(app)
app.add_typer(runs.app, name="runs")
app.add_typer(image.app, name="image")
app.add_typer(domain.app, name="domain")
app.add_typer(ha.app, name="ha")
app.add_typer(lab.app, name="lab")


def run() -> NoReturn:
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look through all that is installed
    gc.set_threshold(500_000)  # what a command reads, it keeps: looking for garbage in it is a tenth of the time
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no ✓ still gets the text
    code = main(sys.argv[1:])
    gc.freeze()  # all of it goes with the process: Python would look through it once more for garbage
    sys.exit(code)


def main(argv: Sequence[str]) -> int:
    """The exit code; see DESIGN.md for what each one means."""
    form = _format(argv)
    try:
        commands = typer.main.get_command(app)
        _begin(commands, argv)
        code = commands.main(args=list(argv), prog_name="smbplan", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Refused as refused:
        fail(refused.troubles, form)
        return refused.code
    except (typer.Abort, KeyboardInterrupt):
        note("Interrupted.")
        return INTERRUPTED
    except WrongUsage as error:
        fail([Trouble(error.summary, error.hint)], form)
        return USAGE
    except Exception as error:
        return _unexpected(error, form)


def _begin(commands: Any, argv: Sequence[str]) -> None:
    found = commands.commands.get(argv[0]) if argv else None
    if isinstance(found, change.Connects):
        with suppress(Exception):  # whatever is wrong, it is told when the command line is checked
            found.begin(argv[1:])


def _unexpected(error: Exception, form: str) -> int:
    if hasattr(error, "format_message"):  # a usage error; its class moved when typer took click in
        _tell_usage(error, error.format_message().replace("Value error, ", ""), form)
        return USAGE
    if isinstance(error, OSError) and error.filename:
        fail([Trouble(f"{error.filename}: {error.strerror}")], form)
        return 1
    if os.environ.get("SMBPLAN_DEBUG") == "1":
        import traceback

        note("".join(traceback.format_exception(error)))
    words, hint = f"this is a bug in smbplan: {type(error).__name__}: {error}", "SMBPLAN_DEBUG=1 shows where"
    if form == "json":  # written here, since what document.errors stands on may be what is broken
        emit({"format_version": "1.0", "errors": [{"summary": words, "hint": hint}]})
    else:
        fail([Trouble(words, hint)], form)
    return 1


def _tell_usage(error: Exception, words: str, form: str) -> None:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        note(words)  # the help
    else:
        fail([Trouble(words, f"{context.command_path if context else 'smbplan'} --help shows how it is used")], form)


def _format(argv: Sequence[str]) -> str:
    """What `--format` says, also where the rest of the command line can't be parsed."""
    words = list(argv[: argv.index("--")] if "--" in argv else argv)
    found = [word.partition("=")[2] for word in words if word.startswith("--format=")]
    found += [after for word, after in pairwise(words) if word == "--format"]
    return found[-1] if found else "text"
