"""Commands about definitions and hosts that change nothing there: init, validate, schema, graph, import, doctor."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smbplan.cli.options import Format, Output, SiteArgument
from smbplan.cli.output import coloured, emit, note

if TYPE_CHECKING:
    from smbplan.doctor import Finding

ON_NODE = "In a shell of any node of the cluster, as root:"
CHECKED = ("", "place", "check", "finding", "what to do")


class Drawing(StrEnum):
    """How a graph is written."""

    dot = "dot"
    mermaid = "mermaid"
    json = "json"


class SchemaForm(StrEnum):
    """How a schema is written."""

    json = "json"


def mount(app: typer.Typer) -> None:
    app.command(epilog="Example: smbplan init office")(init)
    app.command(epilog="Example: smbplan validate examples/quickstart --format json")(validate)
    app.command(epilog="Example: smbplan schema > smbplan.schema.json")(schema)
    app.command(epilog="Example: smbplan graph examples/quickstart | dot -Tsvg > graph.svg")(graph)
    app.command("import", epilog="Example: smbplan import files --host files.example --out office.yaml")(import_)
    app.command(epilog="Example: smbplan doctor examples/quickstart")(doctor)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; made if need be.")] = Path(),
    format: Output = Format.text,
) -> None:
    """Write a first site.yaml with comments, and overwrite nothing."""
    from importlib.resources import files

    path = folder / "site.yaml"
    text = files("smbplan.cli").joinpath("site.yaml").read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    _write_new(path, text)
    if format is Format.json:
        emit({"format_version": "1.0", "written": [str(path)]})
    else:
        emit(f"Wrote {path}. Next: edit it, then smbplan validate {folder}")


def validate(site: SiteArgument = Path(), format: Output = Format.text) -> None:
    """Check definitions, without asking any host."""
    from smbplan import app
    from smbplan.report.terminal import plural

    found = app.validate(site).site
    counts = {name: len(getattr(found, f"{name}s")) for name in ("gateway", "share", "user", "group")}
    counts["gateway"] -= sum(len(gateway.nodes) for gateway in found.gateways.values())  # they stand beside it
    if format is Format.json:
        emit({"format_version": "1.0", "valid": True, "site": found.site, "counts": counts})
    else:
        emit(f"Site {found.site} is valid: {', '.join(plural(count, name) for name, count in counts.items())}.")


def schema(
    format: Annotated[SchemaForm, typer.Option("--format", help="How the schema is written.")] = SchemaForm.json,
) -> None:
    """Print the JSON Schema of the definitions, for editors."""
    from smbplan.spec.schema import generate

    emit(generate())


def graph(
    site: SiteArgument = Path(),
    steps: Annotated[bool, typer.Option("--steps", help="The steps that apply would take (asks the hosts).")] = False,
    format: Annotated[Drawing, typer.Option("--format", help="How the graph is written.")] = Drawing.dot,
) -> None:
    """Print what stands on what. Resources, or the steps of a plan, by gateway."""
    from smbplan import app
    from smbplan.engine.kind import Options
    from smbplan.errors import Refused, trouble
    from smbplan.kinds import expand, kinds
    from smbplan.report import graph as drawing

    if steps:
        made = app.plan(site, Options()).plan
        if made.refused:
            raise Refused(*map(trouble, made.refused))
        name, nodes = made.site, drawing.of_steps(made.steps)
    else:
        loaded = app.validate(site).site
        name, nodes = loaded.site, drawing.of_resources(expand(loaded), kinds())
    if format is Drawing.json:
        emit(drawing.document(name, nodes))
    else:
        emit(drawing.dot(name, nodes) if format is Drawing.dot else drawing.mermaid(nodes))


def import_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the gateway is to be called.")],
    host: Annotated[str | None, typer.Option("--host", help="Name or address; NAME when absent.")] = None,
    user: Annotated[str, typer.Option("--user", help="SSH user.")] = "root",
    port: Annotated[int | None, typer.Option("--port", min=1, max=65535, help="SSH port.")] = None,
    ssh_config: Annotated[str | None, typer.Option("--ssh-config", metavar="FILE", help="ssh_config to use.")] = None,
    identity: Annotated[str | None, typer.Option("--identity", metavar="FILE", help="Private key.")] = None,
    local: Annotated[bool, typer.Option("--local", help="This very machine, without SSH.")] = False,
    sudo: Annotated[bool, typer.Option("--sudo", help="Become root by sudo.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here; never overwrites.")] = None,
    format: Output = Format.text,
) -> None:
    """Write definitions of the shares that a host serves now."""
    from smbplan import importer
    from smbplan.drivers.endpoint import Endpoint

    endpoint = Endpoint(
        name, local=local, host=host or name, user=user, port=port, identity=identity, config=ssh_config, sudo=sudo
    )
    text = importer.read(endpoint, name)
    if out:
        _write_new(out, text)
        note(f"Wrote {out}. Next: smbplan validate {out}")
    if format is Format.json:
        emit({"format_version": "1.0", "gateway": name, "written": str(out) if out else None, "definitions": text})
    elif not out:
        emit(text.rstrip("\n"))


def doctor(site: SiteArgument = Path(), format: Output = Format.text) -> None:
    """Look whether hosts, tools and secrets are there. Exits with 1 when not."""
    from smbplan import app
    from smbplan.doctor import State, examine
    from smbplan.observe import endpoints

    loaded = app.validate(site).site
    found = examine(loaded, endpoints(loaded))
    missing = sum(item.state is State.MISSING for item in found)
    if format is Format.json:
        emit({"format_version": "1.0", "ok": not missing, "checks": [_as_data(item) for item in found]})
    else:
        emit(_findings(found, missing, format))
    raise typer.Exit(1 if missing else 0)


def _findings(found: "list[Finding]", missing: int, form: Format) -> str:
    from smbplan.report import markdown, terminal

    signs = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "missing": ("✗", "red")}
    table = [[signs[item.state][0], item.place, item.check, item.summary, item.fix] for item in found]
    ended = f"{terminal.plural(missing, 'thing')} missing." if missing else "Nothing is missing."
    commands = [line for item in found for line in item.commands]
    if form is Format.markdown:
        block = "\n".join(["", "", ON_NODE, "", "```", *commands, "```"]) if commands else ""
        return f"{markdown.table(CHECKED, table)}{block}\n\n**{ended}**"
    head, *lines = terminal.columns(CHECKED, table)
    colour = coloured(sys.stdout)
    lines = [
        terminal.paint(line[0], signs[item.state][1], colour) + line[1:]
        for line, item in zip(lines, found, strict=True)
    ]
    lines += ["", ON_NODE, *(f"  {line}" for line in commands)] if commands else []
    return "\n".join([head, *lines, "", ended])


def _as_data(item: "Finding") -> dict[str, Any]:
    return {
        "place": item.place,
        "check": item.check,
        "state": str(item.state),
        "summary": item.summary,
        "fix": item.fix,
        "commands": list(item.commands),
    }


def _write_new(path: Path, text: str) -> None:
    """Raises Refused for a file that exists, and OSError."""
    from smbplan.errors import Refused, Trouble

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Refused(
            Trouble("exists already, and is not overwritten", "choose another place", file=str(path))
        ) from None
