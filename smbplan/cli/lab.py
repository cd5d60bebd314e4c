"""`smbplan lab`: parse, call the lab, show what it says."""

import dataclasses
import json
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from smbplan.lab import Lab, LabError, LabStatus

app = typer.Typer(
    epilog="Example: smbplan lab up && ssh -F /run/smbplan/lab/default/ssh_config pve1",
    no_args_is_help=True,
    help="Throw-away Debian machines with sshd and Samba on this host, to try things on (root).",
)

CLUSTER = 3  # nodes that have a quorum: from so many on a lab is a cluster, unless told otherwise


class Format(StrEnum):
    """How a command answers on stdout."""

    text = "text"
    json = "json"


Name = Annotated[str, typer.Option("--name", help="Which lab; several can be up at once.")]
Output = Annotated[Format, typer.Option("--format", help="One document of this form on stdout.")]


def _lab(name: str) -> "Lab":
    from smbplan.lab import Lab

    return Lab(name)


@app.command(epilog="Example: smbplan lab up --nodes 3 --zfs")
def up(
    name: Name = "default",
    nodes: Annotated[int, typer.Option(min=1, max=32, help="How many: pve1, pve2, …")] = 2,
    samba: Annotated[bool, typer.Option(help="Have Samba installed (not configured).")] = True,
    btrfs: Annotated[bool, typer.Option(help="A btrfs with quotas at /mnt/btrfs.")] = True,
    zfs: Annotated[bool, typer.Option(help="A ZFS pool `tank` at /tank.")] = False,
    client: Annotated[bool, typer.Option(help="Add the machine `client` with smbclient.")] = True,
    pve: Annotated[
        bool | None,
        typer.Option("--pve/--no-pve", help="Nodes of a Proxmox VE cluster, running LXC containers; from 3 nodes on."),
    ] = None,
    vms: Annotated[
        bool | None,
        typer.Option("--vms/--no-vms", help="A template of virtual machines on every node; with a cluster."),
    ] = None,
    dialect: Annotated[str, typer.Option(help="The version that the cluster plays: 9.1 or 8.4.")] = "9.1",
    domain: Annotated[
        str, typer.Option(metavar="REALM", help="The machine dc1, the controller of this Active Directory domain.")
    ] = "",
    shared: Annotated[
        bool, typer.Option("--shared/--no-shared", help="A folder /mnt/shared that all nodes have.")
    ] = False,
    format: Output = Format.text,
) -> None:
    """Bring a lab up, or add what is missing to one that is.

    The first time, this builds the machines' root filesystem, which takes a minute or two, and the template of virtual
    machines, which takes some more.
    """
    cluster = nodes >= CLUSTER if pve is None else pve
    _show(
        format,
        lambda: _lab(name).up(
            nodes,
            samba=samba,
            btrfs=btrfs,
            zfs=zfs,
            client=client,
            pve=cluster,
            vms=cluster if vms is None else vms,
            dialect=dialect,
            domain=domain,
            shared=shared,
            progress=_progress,
        ),
    )


@app.command(epilog="Example: smbplan lab down --name default")
def down(name: Name = "default", format: Output = Format.text) -> None:
    """Remove a lab and everything that it left on this host, also after a crash."""

    def take_down() -> "LabStatus":
        from smbplan.lab import LabStatus

        _lab(name).down()
        return LabStatus(name, (), None)

    _show(format, take_down)


@app.command(epilog="Example: smbplan lab status --format json")
def status(name: Name = "default", format: Output = Format.text) -> None:
    """Show a lab's machines as they are now."""
    _show(format, lambda: _lab(name).status())


@app.command(epilog="Example: smbplan lab reset pve1")
def reset(
    nodes: Annotated[list[str] | None, typer.Argument(help="The machines; without any, all of them.")] = None,
    name: Name = "default",
    format: Output = Format.text,
) -> None:
    """Put machines back to the pristine filesystem; addresses and keys stay."""
    _show(format, lambda: _lab(name).reset(*(nodes or ()), progress=_progress))


@app.command(
    "exec",
    epilog="Example: smbplan lab exec pve1 -- systemctl status smbd",
    context_settings={"ignore_unknown_options": True},
)
def exec_(
    node: Annotated[str, typer.Argument(help="The machine.")],
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after `--`.")],
    name: Name = "default",
    format: Output = Format.text,
) -> None:
    """Run a command as root in a machine, without ssh; its exit code is ours."""
    from smbplan.lab import LabError

    try:
        if format is Format.text:
            code = _lab(name).attach(node, command)
        else:
            done = _lab(name).exec(node, command, None if sys.stdin.isatty() else sys.stdin.buffer.read())
            code = done.returncode
            _print_json(
                {
                    "node": node,
                    "exit_code": code,
                    "stdout": done.stdout.decode(errors="replace"),
                    "stderr": done.stderr.decode(errors="replace"),
                }
            )
    except LabError as error:
        _fail(format, error)
    raise typer.Exit(code if code >= 0 else 128 - code)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show(format: Format, call: "Callable[[], LabStatus]") -> None:
    from smbplan.lab import LabError

    try:
        status = call()
    except LabError as error:
        _fail(format, error)
    if format is Format.json:
        _print_json(dataclasses.asdict(status))
        return
    if not status.nodes:
        print(f"lab {status.name} is down")
        return
    for node in status.nodes:
        print(f"{node.name:<8} {node.address:<16} {node.state:<9} {node.pid or '-'}")
    print(f"ssh -F {status.ssh_config} {status.nodes[0].name}")


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2))


def _fail(format: Format, error: "LabError") -> NoReturn:
    if format is Format.json:
        _print_json({"errors": [{"summary": error.summary, "detail": "", "hint": error.hint}]})
    else:
        print(f"error: {error}", file=sys.stderr)
    raise typer.Exit(1)
