"""Order. Errors name the whole cycle, so that a person can see where to cut it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx


class CycleError(Exception):
    """Nodes that wait for each other."""

    def __init__(self, nodes: list[str]) -> None:
        super().__init__("these wait for each other: " + " → ".join([*nodes, nodes[0]]))
        self.nodes = nodes


def check(edges: Mapping[str, Iterable[str]]) -> None:
    """Raises CycleError. What nobody walks needs no library for graphs, which takes a tenth of a second to load.

    Kahn's algorithm: who waits for nobody goes, until none is left, or those that wait for each other.
    """
    users: dict[str, list[str]] = {}
    waits = dict.fromkeys(edges, 0)
    for node, befores in edges.items():
        for before in befores:
            if before in edges:
                users.setdefault(before, []).append(node)
                waits[node] += 1
    gone = [node for node, count in waits.items() if not count]
    for node in gone:  # grows meanwhile
        for user in users.get(node, ()):
            waits[user] -= 1
            if not waits[user]:
                gone.append(user)
    if len(gone) < len(waits):
        build(edges)


def build(edges: Mapping[str, Iterable[str]]) -> "nx.DiGraph[str]":
    """A graph from `node: what it waits for`; edges point from the earlier to the later. Raises CycleError."""
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(edges)
    graph.add_edges_from((before, node) for node, befores in edges.items() for before in befores if before in edges)
    if not nx.is_directed_acyclic_graph(graph):
        raise CycleError([edge[0] for edge in nx.find_cycle(graph)])
    return graph


def order(graph: "nx.DiGraph[str]") -> list[str]:
    """Topological, and stable: by name where the graph leaves a choice."""
    import networkx as nx

    return list(nx.lexicographical_topological_sort(graph))


def earlier_first(graph: "nx.DiGraph[str]") -> Iterator[str]:
    import networkx as nx

    return iter(nx.topological_sort(graph))


def units(graph: "nx.DiGraph[str]", own: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The units of each node: its own and those of everything that needs it, or else itself."""
    found: dict[str, frozenset[str]] = {}
    for node in reversed(list(earlier_first(graph))):
        users = frozenset().union(*(found[user] for user in graph.successors(node)))
        mine = frozenset({own[node]}) if own.get(node) else frozenset()
        found[node] = users | mine or frozenset({node})
    return {node: tuple(sorted(names)) for node, names in found.items()}
