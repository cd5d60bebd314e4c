"""YAML 1.2 as plain data, with the place of every key and value.

Built from the parser's events: ten thousand shares (110k lines) take half a second of CPU or little more.
"""

import gc
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from smbplan.spec.problems import (
    INIT,
    NO_TAGS,
    Problem,
    SpecError,
    behind,
    from_syntax,
    got,
    unreadable,
    unsafe_part,
)

_SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 32 * 2**20
MAX_NODES = 1_000_000
MAX_DEPTH = 50
MAX_PROBLEMS = 100

_COLUMN_BITS, _LINE_BITS = 26, 26  # MAX_BYTES needs 25 of each
_OPEN = (None, 0, -1)  # an anchor whose node isn't complete
_Places = dict[int, list[int]]
_Built = tuple[dict[str, Any], _Places]
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


class Source:
    """Definitions as they were written. `data` is shared where YAML aliases are: read it, never change it."""

    def __init__(self, data: dict[str, Any], files: Sequence[str], places: _Places) -> None:
        """`places` holds, by id of a container, packed places: of each key and value, or of each item."""
        self.data = data
        self._files = files
        self._places = places
        self._positions: dict[int, dict[str, int]] = {}

    def where(self, path: Sequence[str | int], key: bool = False) -> tuple[str, int, int]:
        """File, line and column (from 1) of the value at the path, or of its key.

        Of a path that isn't there: where its nearest parent's key stands (the file's begin for the top).
        """
        node: Any = self.data
        place = parent = 0
        for part in path:
            index = self._index(node, part)
            if index is None:
                return _located(parent, self._files)
            places = self._places[id(node)]
            if isinstance(node, dict):
                parent, place = places[2 * index : 2 * index + 2]
            else:
                parent = place = places[index]
            node = node[part]
        return _located(parent if key else place, self._files)

    def _index(self, node: Any, part: str | int) -> int | None:
        if isinstance(node, dict) and isinstance(part, str):
            if id(node) not in self._positions:
                self._positions[id(node)] = {name: index for index, name in enumerate(node)}
            return self._positions[id(node)].get(part)
        return part if isinstance(node, list) and isinstance(part, int) and 0 <= part < len(node) else None


def _located(place: int, files: Sequence[str]) -> tuple[str, int, int]:
    """File, line and column (from 1) of a packed place: number of the file, line and column (from 0)."""
    number, line = divmod(place >> _COLUMN_BITS, 1 << _LINE_BITS)
    return files[number], line + 1, place % (1 << _COLUMN_BITS) + 1


class _Words(dict[str, Any]):
    """Plain scalars and what they mean; each distinct text is looked at, and kept, once."""

    def __missing__(self, text: str) -> Any:
        value: Any = text
        # Digits without end stay a text: int() would refuse them. So does 0770, for file modes are octal.
        if text[0] in "-+.0123456789" and len(text) < 400:
            if _INTEGER.fullmatch(text):
                value = int(text, 0)
            elif _FLOAT.fullmatch(text):
                value = float(text)
        self[text] = value
        return value


class _Stopped(Exception):
    """The rest of the file isn't worth reading, or is dangerous."""


class _Builder:
    """Builds one document from parser events, and notes everything that is wrong with it."""

    def __init__(self, text: str, file: str, number: int, problems: list[Problem]) -> None:
        """`number` is the file's place in the source's list; what is wrong is added to `problems`."""
        from ruamel.yaml import events  # here, since it costs 20 ms that `smbplan --help` needn't pay

        self.kinds = events
        self.scalar_kind = events.ScalarEvent
        self.next = _events(text)
        self.file = file
        self.base = number << _COLUMN_BITS + _LINE_BITS
        self.problems = problems
        self.places: _Places = {}
        self.anchors: dict[str, tuple[Any, int, int]] = {}  # node, number of nodes, height
        self.words = _Words(_WORDS)
        self.count = 0  # nodes so far, those behind aliases included
        self.reach = 0  # greatest depth so far of the innermost anchored node

    def document(self) -> dict[str, Any]:
        """The document's mapping, empty if there is none. Raises _Stopped, and what the parser raises."""
        self.next()
        if type(self.next()) is self.kinds.StreamEndEvent:
            return {}
        event = self.next()
        root = self.node(event, 0)
        self.next()
        end = self.next()
        if type(end) is not self.kinds.StreamEndEvent:
            self.note(end.start_mark, "a second document begins here", "keep one document in a file")
        if root is not None and not isinstance(root, dict):
            self.note(event.start_mark, "a file holds keys with values", "begin with a line such as 'version: 1'")
        return root if isinstance(root, dict) else {}

    def node(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is self.scalar_kind:
            return self.scalar(event)
        if kind is self.kinds.AliasEvent:
            return self.alias(event, depth)
        if event.ctag is not None:
            self.note(event.start_mark, *NO_TAGS)
        self.grow(event.start_mark, 1, depth + 1)
        build = self.mapping if kind is self.kinds.MappingStartEvent else self.sequence
        if event.anchor is None:
            return build(depth + 1)
        self.anchors[event.anchor] = _OPEN
        before, reach = self.count, self.reach
        self.reach = depth + 1
        node = build(depth + 1)
        self.anchors[event.anchor] = (node, self.count - before + 1, self.reach - depth)
        self.reach = max(self.reach, reach)
        return node

    def scalar(self, event: Any) -> Any:
        text = event.value
        self.count += 1
        if self.count > MAX_NODES:
            self.grow(event.start_mark, 0, 0)
        value = text if event.style else self.words[text]
        if event.ctag is not None:
            self.note(event.start_mark, *NO_TAGS)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1, 0)
        if not text.isprintable() and (found := unsafe_part(text)):
            self.note(event.start_mark, *found)
        return value

    def mapping(self, depth: int) -> dict[str, Any]:
        following, end, base = self.next, self.kinds.MappingEndEvent, self.base
        data: dict[str, Any] = {}
        places: list[int] = []
        merged: list[tuple[Any, Any]] = []
        scalar_kind, scalar = self.scalar_kind, self.scalar
        while type(event := following()) is not end:
            mark = event.start_mark
            name = scalar(event) if type(event) is scalar_kind else None
            if type(name) is not str:
                self.refuse_key(event, depth)
                name = None
            merges = name == "<<" and not event.style
            event = following()
            value = scalar(event) if type(event) is scalar_kind else self.node(event, depth)
            if merges:
                merged.append((value, event.start_mark))
            elif name in data:
                _, line, column = _located(places[2 * list(data).index(name)] - base, [self.file])
                self.note(mark, f"{name!r} is defined twice", f"first at {self.file}:{line}:{column}")
            elif name is not None:
                data[name] = value
                at = event.start_mark
                places.append(base | mark.line << _COLUMN_BITS | mark.column)
                places.append(base | at.line << _COLUMN_BITS | at.column)
        for value, mark in merged:
            self.merge(data, places, value, mark)
        self.places[id(data)] = places
        return data

    def refuse_key(self, event: Any, depth: int) -> None:
        """Notes what is wrong with a key that is no text, and skips it."""
        summary, hint = "a key must be a text", "a text that begins with '{', '[' or '*' needs quotes"
        if type(event) is self.scalar_kind:
            summary = f"the key {event.value!r} is read as {got(self.words[event.value])}"
            hint = f'write it in quotes: "{event.value}"'
        else:
            self.node(event, depth)
        self.note(event.start_mark, summary, hint)

    def merge(self, data: dict[str, Any], places: list[int], value: Any, mark: Any) -> None:
        """`<<: *base`, `<<: [*first, *second]`: adds the keys that aren't there yet."""
        for base in value if isinstance(value, list) else [value]:
            if not isinstance(base, dict):
                self.note(mark, "'<<' merges mappings only", "write '<<: *name' of an anchored mapping")
                return
            known = self.places[id(base)]
            for index, (name, inherited) in enumerate(base.items()):
                if name not in data:
                    data[name] = inherited
                    places += known[2 * index : 2 * index + 2]

    def sequence(self, depth: int) -> list[Any]:
        following, end, base = self.next, self.kinds.SequenceEndEvent, self.base
        data: list[Any] = []
        places: list[int] = []
        while type(event := following()) is not end:
            data.append(self.node(event, depth))
            places.append(base | event.start_mark.line << _COLUMN_BITS | event.start_mark.column)
        self.places[id(data)] = places
        return data

    def alias(self, event: Any, depth: int) -> Any:
        anchor = self.anchors.get(event.anchor)
        if anchor is None:
            self.note(event.start_mark, f"no anchor '&{event.anchor}' stands above this alias")
            return None
        node, size, height = anchor
        if height < 0:
            self.note(event.start_mark, f"the alias '*{event.anchor}' lies within its own anchor: it has no end")
            return None
        self.grow(event.start_mark, size, depth + height)
        return node

    def grow(self, mark: Any, nodes: int, depth: int) -> None:
        """Counts nodes down to a depth, aliases as if written out. Raises _Stopped beyond the limits."""
        self.count += nodes
        self.reach = max(self.reach, depth)
        if self.count > MAX_NODES:
            self.note(mark, f"more than {MAX_NODES:,} values, aliases counted as written out", "split the site")
        elif depth > MAX_DEPTH:
            self.note(mark, f"nested deeper than {MAX_DEPTH} levels")
        else:
            return
        raise _Stopped

    def note(self, mark: Any, summary: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, summary, hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stopped


def _events(text: str) -> Callable[[], Any]:
    """Gives the next event of libyaml, or of ruamel's own parser (much slower) where there is no libyaml."""
    try:
        from _ruamel_yaml import CParser  # type: ignore[import-not-found]
    except ImportError:
        from ruamel.yaml import YAML

        return YAML(typ="safe", pure=True).parse(text).__next__  # type: ignore[no-any-return]
    return CParser(text).get_event  # type: ignore[no-any-return]


def _build(text: str, file: str, number: int = 0) -> _Built:
    """One file's data and places. Raises SpecError."""
    from ruamel.yaml.error import YAMLError

    text = text.removeprefix("\ufeff")
    problems: list[Problem] = []
    collecting = gc.isenabled()
    gc.disable()  # nothing here is garbage, and looking for it takes as long as the parser
    try:
        builder = _Builder(text, file, number, problems)
        data = builder.document()
        if not problems:
            return data, builder.places
    except _Stopped:  # having noted why
        pass
    except UnicodeEncodeError as error:
        problems.append(behind(text[: error.start], file, "half of a surrogate pair, which is no character"))
    except YAMLError as error:
        problems.append(from_syntax(error, text, file))
    finally:
        if collecting:
            gc.enable()
    raise SpecError(problems)


def parse(text: str, file: str) -> Source:
    """The definitions in one text; `file` is only its name. Raises SpecError with all problems."""
    return _merged([_build(text, file)], [file], file, [])


def read(path: Path) -> Source:
    """The definitions in a file, or in all *.yaml and *.yml files of a folder, merged.

    Hidden files and folders within the folder are left out. Raises SpecError with all problems of all files.
    """
    files = _files(path)
    built: list[_Built] = []
    problems: list[Problem] = []
    for number, file in enumerate(files):
        try:
            built.append(_build(_text(file), str(file), number))
        except SpecError as error:
            problems += error.problems
    return _merged(built, [str(file) for file in files], str(path), problems)


def _files(path: Path) -> list[Path]:
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
        entries = sorted(path.iterdir())
    except FileNotFoundError:
        raise SpecError([Problem(str(path), 0, 0, "no such file or folder", INIT)]) from None
    except (OSError, ValueError) as error:
        raise SpecError([unreadable(path, error)]) from None
    files = [file for file in entries if file.suffix in _SUFFIXES and file.name[0] != "." and not file.is_dir()]
    if not files:
        raise SpecError([Problem(str(path), 0, 0, "no *.yaml file is in this folder", INIT)])
    return files


def _text(file: Path) -> str:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise SpecError([Problem(str(file), 0, 0, "not a file", "name a YAML file or a folder of them")])
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SpecError([unreadable(file, error)]) from None
    if len(raw) > MAX_BYTES:
        summary = f"larger than {MAX_BYTES >> 20} MiB"
        raise SpecError([Problem(str(file), 0, 0, summary, "split the site over several files")])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode()
        raise SpecError([behind(before, str(file), "not UTF-8 text", "save the file as UTF-8")]) from None


def _merged(built: list[_Built], files: list[str], name: str, problems: list[Problem]) -> Source:
    data: dict[str, Any] = {}
    places: _Places = {id(data): []}
    for part, known in built:
        places |= known
        data = _join(data, part, places, files, problems)
    if not data and not problems:
        problems.append(Problem(name, 0, 0, "nothing is defined here", INIT))
    if problems:
        raise SpecError(problems)
    return Source(data, files, places)


def _join(
    first: dict[str, Any],
    second: dict[str, Any],
    places: _Places,
    files: list[str],
    problems: list[Problem],
    top: bool = True,
) -> dict[str, Any]:
    """Both mappings in a new one, whose places are added.

    At the top sections are joined too, and a plain value may be repeated; else a key in both is a problem.
    """
    data, own = dict(first), list(places[id(first)])
    for index, (key, value) in enumerate(second.items()):
        place = places[id(second)][2 * index : 2 * index + 2]
        old = data.get(key)
        if key not in data:
            data[key] = value
            own += place
        elif top and isinstance(old, dict) and isinstance(value, dict):
            data[key] = _join(old, value, places, files, problems, top=False)
        elif top and (old is None or value is None or (old == value and not isinstance(value, dict | list))):
            data[key] = value if old is None else old
        else:
            before = ":".join(map(str, _located(own[2 * list(data).index(key)], files)))
            problems.append(Problem(*_located(place[0], files), f"{key!r} is defined twice", f"first at {before}"))
    places[id(data)] = own
    return data
