"""Folders of nodes under a name that virtual machines can use: mapping/directory.cfg."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smbplan.lab.pve import files, formats, schema
from smbplan.lab.pve.errors import ApiError, denied, fail
from smbplan.lab.pve.routing import Call, Need, route
from smbplan.lab.pve.schema import STR, Param, Props

_USERS = ("Mapping.Modify", "Mapping.Use", "Mapping.Audit")
_MODIFY = Need("/mapping/dir", ("Mapping.Modify",))
_MAP = Param("array", props="dir-map")
_TEXT = Param(longest=4096)
PLACE = "mapping/directory.cfg"
schema.PROPS["dir-map"] = Props(
    {"node": Param(optional=False, format="node"), "path": Param(optional=False, format="shared-path")}
)


class Mappings:
    """All of them: `map` lists by name, and descriptions."""

    def __init__(self, root: Path) -> None:
        text = files.read(root / PLACE)
        self.digest = files.digest(text)
        self.maps: dict[str, list[str]] = {}
        self.descriptions: dict[str, str] = {}
        name = ""
        for line in text.splitlines():
            if line.strip() and line[0] not in "\t ":
                name = line.strip()
                self.maps[name] = []
                continue
            key, _, value = line.strip().partition(" ")
            if key == "map":
                self.maps[name].append(value)
            elif key == "description":
                self.descriptions[name] = value

    def store(self, root: Path) -> None:
        """Write them, sections in the order of their names."""
        text = ""
        for name in sorted(self.maps):
            lines = [f"\tmap {entry}" for entry in self.maps[name]]
            lines += [f"\tdescription {self.descriptions[name]}"] if name in self.descriptions else []
            text += "\n".join([name, *lines]) + "\n\n"
        files.write(root / PLACE, text)

    def paths(self, name: str, node: str) -> list[str]:
        """What the name stands for on the node."""
        entries = [schema.parse_props("dir-map", entry, "map") for entry in self.maps[name]]
        return [entry["path"] for entry in entries if entry["node"] == node]

    def shown(self, name: str) -> dict[str, Any]:
        """One of them as the API shows it."""
        entry = {"type": "dir", "map": self.maps[name], "digest": self.digest}
        return entry | ({"description": self.descriptions[name]} if name in self.descriptions else {})


def path_of(root: Path, node: str, name: str) -> Path:
    """The folder that a machine on the node gets by this name; 500 in the words of a start that fails."""
    mappings = Mappings(root)
    if name not in mappings.maps:
        raise fail(f"Directory ID {name} does not exist.")
    paths = mappings.paths(name, node)
    if not paths:
        raise fail(f"No directory mapping for node {node}.")
    problem = check_path(paths[0])
    if problem:
        raise fail(f"directory mapping invalid: {problem}")
    return Path(paths[0])


def check_path(path: str) -> str:
    """What keeps the path of this node from being shared; '' if nothing does."""
    if not Path(path).exists():
        return f"Path {path} does not exist"
    return "" if Path(path).is_dir() else f"Path {path} exists, but is not a directory"


def _check_maps(maps: list[str], here: str) -> None:
    """Paths of other nodes are not looked at."""
    entries = [schema.parse_props("dir-map", entry, "map") for entry in maps]
    for entry in entries:
        problem = check_path(entry["path"]) if entry["node"] == here else ""
        if problem:
            raise fail(problem)
    nodes = [entry["node"] for entry in entries]
    for node in dict.fromkeys(nodes):
        if nodes.count(node) > 1:
            raise fail(f"Node '{node}' is specified {nodes.count(node)} times.")


@contextmanager
def _changing(root: Path, action: str) -> Iterator[Mappings]:
    try:
        with files.cluster_lock(root, "file-mapping_directory_cfg"):
            mappings = Mappings(root)
            yield mappings
            mappings.store(root)
    except ApiError as error:
        raise fail(f"{action} failed: {error.message}") from None


def _may_see(call: Call) -> None:
    if not call.rights.has(f"/mapping/dir/{call.params['id']}", _USERS, any_of=True):
        raise denied()


@route("GET", "/cluster/mapping")
def kinds(call: Call) -> list[dict[str, str]]:
    """Only folders in the lab."""
    return [{"name": "dir"}]


@route("GET", "/cluster/mapping/dir", {"check-node": Param(format="node")}, at="check-node")
def index(call: Call) -> list[dict[str, Any]]:
    """All that the user may see; with what is wrong with them on a node."""
    mappings, node, found = Mappings(call.site.root), call.params.get("check-node"), []
    for name in mappings.maps:
        if not call.rights.has(f"/mapping/dir/{name}", _USERS, any_of=True):
            continue
        entry = {"id": name, **mappings.shown(name)}
        if node is not None:
            paths = mappings.paths(name, str(node))
            problems = [f"Invalid configuration: {text}\n" for text in map(check_path, paths) if text]
            entry["checks"] = [{"severity": "error", "message": text} for text in problems]
            if not paths:
                entry["checks"] = [{"severity": "warning", "message": f"No mapping for node {node}."}]
        found.append(entry)
    return found


@route("GET", "/cluster/mapping/dir/{id}", None, _may_see)
def read(call: Call) -> dict[str, Any]:
    """One of them."""
    mappings = Mappings(call.site.root)
    if call.params["id"] not in mappings.maps:
        raise fail(f"mapping '{call.params['id']}' not found")
    return mappings.shown(call.params["id"])


@route(
    "POST",
    "/cluster/mapping/dir",
    {
        "id": Param(optional=False, format="config-id"),
        "map": Param("array", optional=False, props="dir-map"),
        "description": _TEXT,
    },
    _MODIFY,
)
def create(call: Call) -> None:
    """Of its paths, those of the node that answers must exist."""
    name = call.params["id"]
    _check_maps(call.params["map"], call.site.node)
    with _changing(call.site.root, "create directory mapping") as mappings:
        if name in mappings.maps:
            raise fail(f"dir ID '{name}' already defined")
        _set(mappings, call)


def _set(mappings: Mappings, call: Call) -> None:
    name = call.params["id"]
    mappings.maps[name] = call.params["map"]
    if "description" in call.params:
        mappings.descriptions[name] = call.params["description"]


@route(
    "PUT",
    "/cluster/mapping/dir/{id}",
    {"map": _MAP, "description": _TEXT, "delete": STR, "digest": Param(longest=64)},
    Need("/mapping/dir/{id}", ("Mapping.Modify",)),
)
def update(call: Call) -> None:
    """`map` has to be given each time, though the schema has it optional."""
    name, params = call.params["id"], call.params
    with _changing(call.site.root, "update directory mapping") as mappings:
        if params.get("digest", mappings.digest) != mappings.digest:
            raise fail("detected modified configuration - file changed by other user? Try again.")
        if name not in mappings.maps:
            raise fail(f"dir ID '{name}' does not exist")
        if "map" not in params:
            raise fail("missing value for required option 'map'")
        _check_maps(params["map"], call.site.node)
        for key in formats.split_list(params.get("delete", "")):
            if key != "description":
                raise fail(f"unable to delete required option '{key}'" if key == "map" else f"no such option '{key}'")
            mappings.descriptions.pop(name, None)
        _set(mappings, call)


@route("DELETE", "/cluster/mapping/dir/{id}", None, _MODIFY)
def delete(call: Call) -> None:
    """Also one that machines use, or that isn't there."""
    with _changing(call.site.root, "delete dir mapping") as mappings:
        mappings.maps.pop(call.params["id"], None)
        mappings.descriptions.pop(call.params["id"], None)
