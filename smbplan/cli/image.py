"""`smbplan image`: templates of containers and virtual machines with Samba in them."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smbplan.cli.options import Format, Output, SiteArgument, WrongUsage
from smbplan.cli.output import emit, note
from smbplan.debian import MIRROR

if TYPE_CHECKING:
    from smbplan.image import Built

HEAD = ("template", "node", "MB", "Samba", "gateways")

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Templates of containers and VMs with Samba in them.",
    epilog="Example: smbplan image build lxc office",
)


class Sort(StrEnum):
    """What an image is for."""

    lxc = "lxc"
    vm = "vm"


@app.command(epilog="Example: smbplan image build lxc office --storage local --node pve1")
def build(
    sort: Annotated[Sort, typer.Argument(metavar="lxc|vm", help="A template for containers, or for VMs.")],
    site: SiteArgument = Path(),
    storage: Annotated[str | None, typer.Option("--storage", help="Where to; the first that takes them.")] = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Whose storage; where gateways are created. Repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Only build, into this file; never overwrites.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Upload this one, and build nothing.")
    ] = None,
    mirror: Annotated[
        str, typer.Option("--mirror", metavar="URL", help="What has debian and debian-security, for updates.")
    ] = MIRROR,
    format: Output = Format.text,
) -> None:
    """Build a small Debian with Samba, and make a template of it on the site's cluster."""
    if output and (file or storage or node):
        raise WrongUsage("--output builds and uploads nothing", "leave --file, --storage and --node out")
    from smbplan import app as cases
    from smbplan import image

    only, provide = (image.build, image.provide) if sort is Sort.lxc else (image.build_machine, image.provide_machine)
    if output:
        made = only(output, mirror, note)
    else:
        made = provide(cases.validate(site).site, file, storage, node or (), mirror, note)
    if format is Format.json:
        emit(image.document(made))
    else:
        emit(_told(made, sort, format))


@app.command("list", epilog="Example: smbplan image list office --format json")
def list_(site: SiteArgument = Path(), format: Output = Format.text) -> None:
    """List the templates on the cluster's storages, and the gateways that use them."""
    from smbplan import app as cases
    from smbplan import image
    from smbplan.report import markdown, terminal

    found = image.listing(cases.validate(site).site)
    if format is Format.json:
        emit({"format_version": "1.0", "templates": found})
    elif not found:
        emit("No templates yet. Next: smbplan image build lxc, or vm")
    elif format is Format.markdown:
        emit(markdown.table(HEAD, _rows(found)))
    else:
        emit("\n".join(terminal.columns(HEAD, _rows(found))))


def _rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    return [
        [
            one["template"],
            one["node"] or "all",
            f"{one['size'] / 1e6:.0f}",
            "yes" if one["samba"] else "no",
            ", ".join(one["gateways"]),
        ]
        for one in found
    ]


def _told(made: "Built", sort: Sort, form: Format) -> str:
    from smbplan.report.markdown import code

    def name(text: str) -> str:
        return code(text) if form is Format.markdown else text

    samba = f" with Samba {made.samba}" if made.samba else ""
    if made.file:
        words = f"Next: smbplan image build {sort} --file {made.file}"
        return f"Built {name(str(made.file))}{samba} ({made.size / 1e6:.0f} MB). {words}"
    if made.machines:
        told = [f"Template {one.vmid} {name(one.name)}{samba} is on {one.node}." for one in made.machines]
        return "\n".join([*told, "Next: smbplan apply; gateways with mode: vm are cloned from the newest template."])
    lines = [f"Uploaded {name(one.volume)}{samba} to {one.place.node}." for one in made.uploaded]
    return "\n".join([*lines, f"Next: write template: {made.uploaded[0].volume} at the gateways."])
