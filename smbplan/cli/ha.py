"""`smbplan ha`: clusters with floating addresses."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smbplan.cli.options import Format, Output, SiteArgument
from smbplan.cli.output import coloured, emit, note

if TYPE_CHECKING:
    from smbplan.ha import Node, Status
    from smbplan.ha_trial import Trial
    from smbplan.spec.model import Site

HEAD = ("", "node", "number", "address", "state", "serves")
TRIED = ("", "address", "longest pause", "rounds", "reconnects", "lost", "wrong")

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Clusters with floating addresses: who serves what, maintenance, and trials.",
    epilog="Example: smbplan ha status office",
)
Which = Annotated[str, typer.Option("--cluster", help="Which one; needed where the site has several.")]


@app.callback()
def _top() -> None:
    """Clusters with floating addresses: who serves what, maintenance, and trials."""


@app.command(epilog="Example: smbplan ha status office --format json")
def status(site: SiteArgument = Path(), cluster: Which = "", format: Output = Format.text) -> None:
    """Show every node of every cluster, and who serves which address. Exits with 2 when something is not well."""
    from smbplan import ha

    loaded = _site(site)
    found = [ha.status(loaded, name) for name in ([cluster] if cluster else _clusters(loaded))]
    if format is Format.json:
        emit({"format_version": "1.0", "clusters": [{**asdict(each), "ok": each.good} for each in found]})
    else:
        show = _markdown if format is Format.markdown else _text
        emit("\n\n".join(show(each) for each in found))
    if not all(each.good for each in found):
        raise typer.Exit(2)


@app.command(epilog="Example: smbplan ha move 192.0.2.61 files2 office")
def move(
    address: Annotated[str, typer.Argument(help="A floating address, without its prefix.")],
    node: Annotated[str, typer.Argument(help="The node that is to serve it.")],
    site: SiteArgument = Path(),
    cluster: Which = "",
    format: Output = Format.text,
) -> None:
    """Have a node serve an address. Clients of that address are connected again."""
    from smbplan import ha

    loaded = _site(site)
    took = ha.move(loaded, _one(loaded, cluster), address, node)
    words = {"address": address, "node": node, "seconds": round(took, 2)}
    emit(
        {"format_version": "1.0", **words} if format is Format.json else f"{node} serves {address} after {took:.1f} s."
    )


@app.command(epilog="Example: smbplan ha drain files2 office")
def drain(
    node: Annotated[str, typer.Argument(help="The node to be looked after.")],
    site: SiteArgument = Path(),
    cluster: Which = "",
    format: Output = Format.text,
) -> None:
    """Before maintenance: the other nodes serve this one's addresses, until `smbplan ha back`."""
    from smbplan import ha

    ha.drain(loaded := _site(site), _one(loaded, cluster), node)
    _say(format, node, "disabled", f"{node} serves no address any more; smbplan ha back {node} ends that.")


@app.command(epilog="Example: smbplan ha back files2 office")
def back(
    node: Annotated[str, typer.Argument(help="The node that serves again.")],
    site: SiteArgument = Path(),
    cluster: Which = "",
    format: Output = Format.text,
) -> None:
    """After maintenance: a node that was drained, stopped or banned serves again."""
    from smbplan import ha

    ha.back(loaded := _site(site), _one(loaded, cluster), node)
    _say(format, node, "ok", f"{node} serves again.")


@app.command(epilog="Example: smbplan ha test office --stop files2")
def test(
    site: SiteArgument = Path(),
    address: Annotated[str, typer.Option("--move", metavar="ADDRESS", help="Move this address.")] = "",
    node: Annotated[str, typer.Option("--to", metavar="NODE", help="Where it moves to, and stays.")] = "",
    stop: Annotated[str, typer.Option("--stop", metavar="NODE", help="Stop this node and start it again.")] = "",
    cluster: Which = "",
    format: Output = Format.text,
) -> None:
    """Do something to a cluster while a client at each address reads and writes, and report what they met with.

    Without options, the first address moves to another node and back. Exits with 3 when the clients had no service for
    longer than the cluster's failover says, or when anything that was flushed is lost.
    """
    from smbplan import ha_trial

    loaded = _site(site)
    found = ha_trial.run(loaded, _one(loaded, cluster), note, address, node, stop)
    if format is Format.json:
        emit({"format_version": "1.0", "done": found.done, "ok": found.good, "clients": list(_rows(found))})
    else:
        rows = [_cells(found.fine(seen), row) for seen, row in zip(found.seen, _rows(found), strict=True)]
        emit(_table(TRIED, rows, format, f"{found.done}; at most {found.budget:.0f} s may be without service"))
    if not found.good:
        raise typer.Exit(3)


def _say(format: Format, node: str, state: str, words: str) -> None:
    emit({"format_version": "1.0", "node": node, "state": state} if format is Format.json else words)


def _rows(found: "Trial") -> "Sequence[dict[str, Any]]":
    return [
        {
            "address": seen.address,
            "seconds_without_service": round(seen.longest(found.since), 2),
            "rounds": len(seen.done),
            "reconnects": max(0, seen.connections - 1),
            "lost": seen.lost,
            "wrong": seen.wrong,
            "verified": seen.verified,
        }
        for seen in found.seen
    ]


def _cells(good: bool, row: dict[str, Any]) -> list[str]:
    pause = f"{row['seconds_without_service']:.2f} s"
    return ["✓" if good else "✗", row["address"], pause, *(str(row[key]) for key in list(row)[2:-1])]


def _site(path: Path) -> "Site":
    from smbplan import app as cases

    return cases.validate(path).site


def _clusters(site: "Site") -> list[str]:
    """Raises Refused."""
    from smbplan import ha
    from smbplan.errors import Refused, Trouble

    found = ha.clusters(site)
    if not found:
        raise Refused(Trouble(f"site {site.site} has no cluster", "docs/ha.md shows how one is written"))
    return found


def _one(site: "Site", name: str) -> str:
    """Raises Refused."""
    from smbplan.errors import Refused, Trouble

    found = _clusters(site)
    if not name and len(found) > 1:
        raise Refused(Trouble(f"site {site.site} has several clusters", f"write --cluster {' or '.join(found)}"))
    return name or found[0]


def _line(node: "Node") -> list[str]:
    state = f"{node.health}, leader" if node.leader else node.health
    number = "–" if node.number is None else str(node.number)
    return ["✓" if node.health == "ok" else "✗", node.name, number, node.address, state, " ".join(node.addresses)]


def _text(found: "Status") -> str:
    lines = [_table(HEAD, [_line(node) for node in found.nodes], Format.text, f"Cluster {found.cluster}")]
    for node in found.nodes:
        if node.health != "ok":
            lines += [f"{node.name} is {node.health}: {node.hint}", *(f"  {line}" for line in node.detail.splitlines())]
    lines += [f"Nobody serves {address}." for address in found.nobody]
    return "\n".join(lines)


def _markdown(found: "Status") -> str:
    return _table(HEAD, [_line(node) for node in found.nodes], Format.markdown, f"Cluster {found.cluster}")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], format: Format, title: str) -> str:
    from smbplan.report import markdown, terminal

    if format is Format.markdown:
        return f"{title}\n\n{markdown.table(head, rows)}"
    colour = coloured(sys.stdout)
    first, *lines = terminal.columns(head, rows)
    signs = {"✓": "green", "✗": "red"}
    painted = [terminal.paint(line[0], signs.get(line[0], "dim"), colour) + line[1:] for line in lines]
    return "\n".join([title, first, *painted])
