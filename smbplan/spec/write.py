"""Definitions as the YAML that a person would write."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

SHORT = 100  # columns; what fits stands in one line


def text(data: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
    """`data` in the order given, after the comments. Reading it again gives `data`."""
    yaml = YAML()
    yaml.width = 1 << 20  # folded lines are hard to compare
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_blank_lines(_node(data, 0)), stream)
    return "".join(f"# {_printable(line)}".rstrip() + "\n" for line in comments) + stream.getvalue()


def _node(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        mapping = CommentedMap({_quoted(key): _node(item, depth + 1) for key, item in value.items()})
        if depth > 2 and len(value) == 1 and not isinstance(next(iter(value.values())), Mapping):
            mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq(map(_quoted, value))
        if len(str(value)) < SHORT:
            sequence.fa.set_flow_style()
        return sequence
    return _quoted(value)


def _quoted(value: Any) -> Any:
    """A colon without quotes is read in more than one way."""
    return SingleQuotedScalarString(value) if isinstance(value, str) and ":" in value else value


def _blank_lines(top: CommentedMap) -> CommentedMap:
    for key, value in top.items():
        if isinstance(value, CommentedMap):
            top.yaml_set_comment_before_after_key(key, before="\n")
    return top


def _printable(line: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in line)
