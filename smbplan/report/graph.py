"""The graph of resources, or of a plan's steps, as DOT (graphviz.org), Mermaid (mermaid.js.org) and JSON.

An arrow leads from what comes first to what waits for it. Nodes stand in their gateway's box, in a stable order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from smbplan.engine.kind import Kinds
from smbplan.engine.resource import Resource
from smbplan.engine.step import Step
from smbplan.report.terminal import safe
from smbplan.store.codec import FORMAT


@dataclass(frozen=True, slots=True)
class Node:
    id: str
    title: str  # what it is
    name: str
    gateway: str
    unit: str
    after: tuple[str, ...]


def of_resources(resources: Iterable[Resource], kinds: Kinds) -> list[Node]:
    return _sorted(
        Node(
            item.address,
            kinds[item.kind].title,
            item.address.removeprefix(f"{item.kind}."),
            item.target,
            item.unit,
            tuple(sorted(item.after)),
        )
        for item in resources
    )


def of_steps(steps: Iterable[Step]) -> list[Node]:
    return _sorted(
        Node(step.id, str(step.nature), step.title, step.target, ", ".join(step.units), tuple(sorted(step.after)))
        for step in steps
    )


def dot(site: str, nodes: Sequence[Node]) -> str:
    lines = [f"digraph {_quoted(site)} {{", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for gateway, members in groupby(nodes, key=lambda node: node.gateway):
        lines += [f"  subgraph {_quoted(f'cluster_{gateway}')} {{", f"    label={_quoted(f'gateway {gateway}')};"]
        lines += [f"    {_quoted(node.id)} [label={_quoted(node.title, node.name)}];" for node in members]
        lines.append("  }")
    lines += [f"  {_quoted(first)} -> {_quoted(then)};" for first, then in edges(nodes)]
    return "\n".join([*lines, "}"])


def mermaid(nodes: Sequence[Node]) -> str:
    short = {node.id: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    for number, (gateway, members) in enumerate(groupby(nodes, key=lambda node: node.gateway)):
        lines.append(f'  subgraph g{number}["gateway {_entities(gateway)}"]')
        lines += [f'    {short[node.id]}["{_entities(node.title)}<br/>{_entities(node.name)}"]' for node in members]
        lines.append("  end")
    lines += [f"  {short[first]} --> {short[then]}" for first, then in edges(nodes)]
    return "\n".join(lines)


def document(site: str, nodes: Sequence[Node]) -> dict[str, Any]:
    """For programs."""
    return {
        "format_version": FORMAT,
        "site": site,
        "nodes": [
            {"id": node.id, "title": node.title, "name": node.name, "gateway": node.gateway, "unit": node.unit}
            for node in nodes
        ],
        "edges": [{"from": first, "to": then} for first, then in edges(nodes)],
    }


def edges(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """(first, then), as far as both are in the graph."""
    known = {node.id for node in nodes}
    return [(first, node.id) for node in nodes for first in node.after if first in known]


def _sorted(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: (node.gateway, node.id))


def _quoted(*lines: str) -> str:
    """A DOT string; several parts stand below each other."""
    parts = (safe(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(parts) + '"'


def _entities(text: str) -> str:
    """Mermaid reads #NUMBER; as a character, and markup and quotes as themselves."""
    return "".join(f"#{ord(letter)};" if letter in '#"<>&;`' else letter for letter in safe(text))
