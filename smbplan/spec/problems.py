"""What can be wrong with definitions, in words for the person who wrote them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from smbplan.spec.source import Source

INIT = "`smbplan init` writes a first site"
NO_TAGS = ("tags such as '!name' aren't used here", "leave it out, or quote a text that begins with '!'")

# What could end or disguise a line of smb.conf, a shell or a terminal: C0, C1, line ends, bidi, surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SECRET = re.compile(r"passw|secret|token|credential|private|command", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to correct. Lines and columns count from 1; 0 is unknown."""

    file: str
    line: int
    column: int
    summary: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.summary}" + (f" ({self.hint})" if self.hint else "")


class SpecError(Exception):
    """The definitions can't be used: all that is wrong with them, by file and line, each once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def behind(text: str, file: str, summary: str, hint: str = "") -> Problem:
    """A problem right behind the given text."""
    return Problem(file, text.count("\n") + 1, len(text) - text.rfind("\n"), summary, hint)


def unreadable(path: Path, error: OSError | ValueError) -> Problem:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return Problem(str(path), 0, 0, f"can't be read: {reason}", "check the path and its permissions")


def unsafe_part(text: str) -> tuple[str, str] | None:
    """Summary and hint, if the text isn't one line of visible characters."""
    match = _UNSAFE.search(text)
    if not match:
        return None
    if match[0] in "\r\n\x85\u2028\u2029":
        return "a line break in a text", "every text is one line; '>-' folds a long one"
    return f"the character U+{ord(match[0]):04X} in a text", "leave control characters out"


# What the parsers say → what it means, and what to do. The first whose words are found counts.
_INDENT = "check the indentation, quotes and brackets here and in the line above"
_SYNTAX = (
    ("mapping values are not allowed", "a ':' that can't stand here", f"quote a text that holds ': '; {_INDENT}"),
    ("could not find expected ':'", "a line without a key", "write 'key: value', with a space behind the colon"),
    ("',' or ']'", "the '[' opened here isn't closed", "look for a missing ',' or ']'"),
    ("',' or '}'", "the '{' opened here isn't closed", "look for a missing ',' or '}'"),
    ("unexpected end of stream", "the quote opened here isn't closed", ""),
    ("unexpected document", "the quote opened here isn't closed", ""),
    ("'-' indicator", "a list entry was expected", "begin it with '- ', or check the indentation"),
    ("sequence entries are not allowed", "a '-' that can't stand here", "begin a list on a line of its own"),
    ("expected key", "the line doesn't fit the ones above", _INDENT),
    ("block end", "the line doesn't fit the ones above", _INDENT),
    ("node content", "a value was expected", "quote a text that begins with ',', ']' or '}'"),
    ("escape", "an unknown escape in double quotes", "write '\\\\' for a backslash, or use single quotes"),
    ("tab character", "a tab in the indentation", "indent with spaces"),
    ("document start", "text behind the end of the document", "keep one document in a file"),
    ("tag", *NO_TAGS),
    ("alphabetic or numeric", "a name of letters and digits was expected behind '&' or '*'", "quote such a text"),
    ("simple key", "a key is longer than 1024 characters", ""),
)
_OPENERS = ("while scanning a quoted", "while scanning a simple key", "while parsing a flow")


def from_syntax(error: Any, text: str, file: str) -> Problem:
    """What a YAML parser found (ruamel's YAMLError), at the place to look at."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        match = re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]", text)
        character = f"the character U+{ord(match[0]):04X}" if match else "a character that isn't text"
        return behind(text[: match.start()] if match else "", file, character, "leave control characters out")
    words = str(error.problem)
    if "cannot start any token" in words:
        summary, hint = _bad_start(text, mark)
    else:
        default = (f"broken YAML: {words}", "")
        summary, hint = next(((said, do) for found, said, do in _SYNTAX if found in words), default)
        if error.context_mark is not None and str(error.context).startswith(_OPENERS):
            mark = error.context_mark
    return Problem(file, mark.line + 1, mark.column + 1, summary, hint)


def _bad_start(text: str, mark: Any) -> tuple[str, str]:
    lines = text.splitlines()
    character = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
    if character == "\t":
        return "a tab in the indentation", "indent with spaces"
    return f"a text can't begin with {character!r}", "put it in quotes"


# Types that pydantic's errors expect → in words.
_EXPECTED = {
    **dict.fromkeys(("string_type", "string_sub_type"), "a text"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type"), "keys with values"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), "a list"),
    **dict.fromkeys(("path_type",), "a path"),
    **dict.fromkeys(("none_required",), "nothing"),
}
_LIMITS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}


@dataclass(slots=True)
class _Finding:
    """One of pydantic's errors, with its path in the data."""

    error: Mapping[str, Any]
    path: tuple[str | int, ...] = ()
    is_key: bool = False
    is_secret: bool = False
    owner: Any = None  # type of what holds the last key of the path
    forks: tuple[tuple[tuple[str | int, ...], str], ...] = ()  # unions on the way: path and member

    @property
    def type(self) -> str:
        return str(self.error["type"])

    @property
    def expected(self) -> str | None:
        """The type that was expected, if the value has another."""
        if self.type in ("literal_error", "enum") and isinstance(self.error["input"], dict | list):
            return f"one of {', '.join(self.valid)}"
        return _EXPECTED.get(self.type)

    @property
    def valid(self) -> list[str]:
        """The words that may stand here."""
        if self.type == "extra_forbidden":
            fields = getattr(self.owner, "model_fields", {})
            return [field.alias or name for name, field in fields.items()]
        context = self.error.get("ctx", {})
        listed = str(context.get("expected") or context.get("expected_tags") or "")
        return [word.strip("'") for word in re.split(", | or ", listed)]

    @property
    def shown(self) -> str:
        """The value, where it may be shown."""
        value = self.error["input"]
        if not self.is_key and (self.is_secret or any(_SECRET.search(str(part)) for part in self.path)):
            return "text" if isinstance(value, str) else got(value)
        if isinstance(value, str):
            return repr(value) if len(value) <= 80 else "this text"
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else got(value)


def from_validation(error: "ValidationError", source: "Source", model: "type[BaseModel]") -> list[Problem]:
    """Every error in plain words where it stands in the YAML; one for each place.

    A validator's own message is kept; behind " — " it says what to do. Values are shown only where they
    can't be secrets.
    """
    findings = [_follow(item, model) for item in error.errors(include_url=False)]
    places: dict[tuple[tuple[str | int, ...], bool], list[_Finding]] = {}
    for finding in _likeliest(findings):
        places.setdefault((finding.path, finding.is_key), []).append(finding)
    return [_problem(group, source) for group in places.values()]


def _follow(error: Mapping[str, Any], model: Any) -> _Finding:
    """Goes down the types with the error's loc, which names union members and '[key]' besides the data."""
    finding = _Finding(error)
    kind = model
    for part in error["loc"]:
        members = _members(kind)
        if part == "[key]":
            finding.is_key = True
        elif len(members) > 1:
            finding.forks += ((finding.path, str(part)),)
            finding.is_secret |= any(_SECRET.search(label) for member in members for label in _labels(member))
            kind = next((member for member in members if str(part) in _labels(member)), None)
        else:
            finding.path += (part,)
            finding.owner = members[0]
            kind = _child(members[0], part)
    return finding


def _plain(kind: Any) -> Any:
    """The type within Annotated, aliases and root models."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif hasattr(kind, "__value__"):
            kind = kind.__value__
        elif getattr(kind, "__pydantic_root_model__", False):
            kind = kind.model_fields["root"].annotation
        else:
            return kind


def _members(kind: Any) -> list[Any]:
    """The members of a union, without None (which pydantic's locs don't name); else the type itself."""
    kind = _plain(kind)
    if get_origin(kind) in (Union, UnionType):
        members = [member for member in get_args(kind) if member is not type(None)]
        return members if len(members) > 1 else _members(members[0])
    return [kind]


def _labels(member: Any) -> Iterator[str]:
    """What pydantic may call a union's member: its class, its tag or its discriminator's values."""
    if get_origin(member) is Annotated:
        yield from (note.tag for note in get_args(member)[1:] if hasattr(note, "tag"))
    member = _plain(member)
    yield getattr(member, "__name__", str(member))
    for field in getattr(member, "model_fields", {}).values():
        yield from (value for value in get_args(field.annotation) if isinstance(value, str))


def _child(kind: Any, part: str | int) -> Any:
    if hasattr(kind, "model_fields"):
        fields = kind.model_fields.items()
        return next((field.annotation for name, field in fields if part in (name, field.alias)), None)
    arguments = [argument for argument in get_args(kind) if argument is not ...]
    return arguments[-1] if arguments else None


def _likeliest(findings: Sequence[_Finding]) -> list[_Finding]:
    """Of each union only the errors of the members that the value was most likely meant to be."""
    kept = list(findings)
    for path in dict.fromkeys(path for finding in findings for path, _ in finding.forks):
        members: dict[str, list[_Finding]] = {}
        for finding in kept:
            for member in (member for fork, member in finding.forks if fork == path):
                members.setdefault(member, []).append(finding)
        # A member of another shape fails as a whole; one that was meant fails within.
        meant = {
            member: group for member, group in members.items() if any(f.path != path or not f.expected for f in group)
        }
        if meant:
            fewest = min(map(len, meant.values()))
            chosen = {member for member, group in meant.items() if len(group) == fewest}
            dropped = [f for member, group in members.items() if member not in chosen for f in group]
            kept = [finding for finding in kept if not any(finding is other for other in dropped)]
    return kept


def _problem(group: Sequence[_Finding], source: "Source") -> Problem:
    finding = group[0]
    value = finding.error["input"]
    expected = dict.fromkeys(other.expected for other in group if other.expected)
    if finding.expected:
        summary = f"expected {' or '.join(expected)}, got {got(value)}"
        quotable = "a text" in expected and isinstance(value, int | float)
        hint = "write it in quotes" if quotable else ""
    else:
        summary, hint = _words(finding)
    absent = finding.type in ("missing", "union_tag_not_found")
    path = finding.path[:-1] if finding.type == "missing" else finding.path
    at_key = absent or finding.is_key or finding.type == "extra_forbidden" or isinstance(value, dict | list)
    if finding.type == "union_tag_invalid":
        path, at_key = (*path, finding.error["ctx"]["discriminator"].strip("'")), False
    return Problem(*source.where(path, key=at_key), summary, hint)


def _words(finding: _Finding) -> tuple[str, str]:
    """Summary and hint for what isn't just a wrong type."""
    context = finding.error.get("ctx", {})
    last = finding.path[-1] if finding.path else ""
    hint = ""
    match finding.type:
        case "extra_forbidden":
            within_secret = any(_SECRET.search(str(part)) for part in finding.path[:-1])
            summary = "unknown key" if within_secret else f"unknown key {last!r}"  # a password may look like {one}
            hint = _nearest(last, finding.valid, "keys")
        case "missing":
            summary = f"missing key {last!r}"
        case "literal_error" | "enum":
            summary = f"unknown value {finding.shown}"
            hint = _nearest(finding.error["input"], finding.valid, "values")
        case "union_tag_invalid":
            summary = f"unknown value {context['tag']!r}"
            hint = _nearest(context["tag"], finding.valid, "values")
        case "union_tag_not_found":
            summary = f"missing key {context['discriminator']}"
        case "string_pattern_mismatch":
            from smbplan.spec.types import RULES

            pattern = context["pattern"]
            summary, hint = f"{finding.shown} can't stand here", RULES.get(pattern, f"it must match {pattern}")
        case known if known in _LIMITS:
            summary = _LIMITS[known].format(**context)
        case _:
            message = re.sub("^(Value error|Assertion failed), ", "", finding.error["msg"])
            summary, _, hint = message.partition(" — ")
            summary = re.sub("^(Input|Value|String) (is |(?=should ))", "", summary)
    return summary, hint


def _nearest(word: Any, valid: Sequence[str], noun: str) -> str:
    if str(word) in valid:
        return "leave the quotes out" if isinstance(word, str) else "write it in quotes"
    close = get_close_matches(str(word), valid, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid {noun}: {', '.join(valid)}" if valid else ""


def got(value: Any) -> str:
    """What a value of the YAML is, in words; never the value of a text."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
    return "keys with values"


def nearest(word: str, known: Iterator[str] | list[str]) -> str:
    """A hint with the nearest known word, or with all of them."""
    known = sorted(known)
    close = get_close_matches(word, known, 1, 0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known[:12])}" if known else "none is defined"
