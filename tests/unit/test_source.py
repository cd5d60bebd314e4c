"""YAML to plain data and places: what is read, and what is refused with which words."""

import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.events import ScalarEvent

from smbplan.spec import source
from smbplan.spec.problems import SpecError
from smbplan.spec.source import parse, read

NO_TAG = "tags such as '!name' aren't used here (leave it out, or quote a text that begins with '!')"
ONE_LINE = "a line break in a text (every text is one line; '>-' folds a long one)"
UNFIT = "the line doesn't fit the ones above (check the indentation, quotes and brackets here and in the line above)"
COLON = (
    "a ':' that can't stand here (quote a text that holds ': '; "
    "check the indentation, quotes and brackets here and in the line above)"
)
NO_KEYS = "a file holds keys with values (begin with a line such as 'version: 1')"
BAD_KEY = "a key must be a text (a text that begins with '{', '[' or '*' needs quotes)"
ESCAPE = r"an unknown escape in double quotes (write '\\' for a backslash, or use single quotes)"
TOO_DEEP = "nested deeper than 50 levels"


def problems(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, "a.yaml")
    return [str(problem).removeprefix("a.yaml") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [": nothing is defined here (`smbplan init` writes a first site)"]),
        ("# only a comment\n---\n", [": nothing is defined here (`smbplan init` writes a first site)"]),
        ("- a", [":1:1: " + NO_KEYS]),
        ("text", [":1:1: " + NO_KEYS]),
        ("a:1\nb:2", [":1:1: " + NO_KEYS]),
        ("a:\n\tb: 1", [":2:1: a tab in the indentation (indent with spaces)"]),
        ("a: |\n\tb", [":2:1: a tab in the indentation (indent with spaces)"]),
        ("a: @staff", [":1:4: a text can't begin with '@' (put it in quotes)"]),
        ("a: %U", [":1:4: a text can't begin with '%' (put it in quotes)"]),
        ("a: 'x\nb: y", [":1:4: the quote opened here isn't closed"]),
        ("a: [1\nb: 2", [":1:4: the '[' opened here isn't closed (look for a missing ',' or ']')"]),
        ("a: {b\nc: d", [":1:4: the '{' opened here isn't closed (look for a missing ',' or '}')"]),
        ("a: b: c", [":1:5: " + COLON]),
        ("a:\n    b: 1\n  c: 2", [":3:3: " + UNFIT]),
        ('a: "x" y', [":1:8: " + UNFIT]),
        ("a: 1\nb", [":2:1: a line without a key (write 'key: value', with a space behind the colon)"]),
        ("a:\n  - b\n  c: 1", [":3:3: a list entry was expected (begin it with '- ', or check the indentation)"]),
        ("a: - b", [":1:4: a '-' that can't stand here (begin a list on a line of its own)"]),
        ("a: }", [":1:4: a value was expected (quote a text that begins with ',', ']' or '}')"]),
        (r'a: "CORP\staff"', [":1:9: " + ESCAPE]),
        ('a: "\\ud800"', [":1:7: " + ESCAPE]),
        ("a: 1\n---\nb: 1", [":2:1: a second document begins here (keep one document in a file)"]),
        ("a: 1\n...\nb: 1", [":3:1: text behind the end of the document (keep one document in a file)"]),
        ("a: !foo z", [":1:4: " + NO_TAG]),
        ("a: !!python/object/apply:os.system [id]", [":1:4: " + NO_TAG]),
        ("a: !x!y z", [":1:4: " + NO_TAG]),
        ("a: *b", [":1:4: no anchor '&b' stands above this alias"]),
        ("a: &b [*b]", [":1:8: the alias '*b' lies within its own anchor: it has no end"]),
        ("a: &b\n  c: *b", [":2:6: the alias '*b' lies within its own anchor: it has no end"]),
        ("a: 1\nb: 2\na: 3", [":3:1: 'a' is defined twice (first at a.yaml:1:1)"]),
        ("a:\r\n  b: 1\r\n  b: 1\r\n", [":3:3: 'b' is defined twice (first at a.yaml:2:3)"]),
        ("[a]: 1", [":1:1: " + BAD_KEY]),
        ("{a: 1}: 2", [":1:1: " + BAD_KEY]),
        (
            "2024: x\ntrue: y\n~: z\n1.5: q",
            [
                ":1:1: the key '2024' is read as a number (write it in quotes: \"2024\")",
                ":2:1: the key 'true' is read as true (write it in quotes: \"true\")",
                ":3:1: the key '~' is read as nothing (write it in quotes: \"~\")",
                ":4:1: the key '1.5' is read as a number (write it in quotes: \"1.5\")",
            ],
        ),
        ("a: {<<: 1}", [":1:9: '<<' merges mappings only (write '<<: *name' of an anchored mapping)"]),
        ("a: |\n  x\n", [":1:4: " + ONE_LINE]),
        ('a: "x\\ny"', [":1:4: " + ONE_LINE]),
        ('a: "x\\ry"', [":1:4: " + ONE_LINE]),
        ('a: "x\\u2028y"', [":1:4: " + ONE_LINE]),
        ('"a\\nb": 1', [":1:1: " + ONE_LINE]),
        ('a: ["\\x07"]', [":1:5: the character U+0007 in a text (leave control characters out)"]),
        ("a: x\ty", [":1:4: the character U+0009 in a text (leave control characters out)"]),
        ("a: x\u202ey", [":1:4: the character U+202E in a text (leave control characters out)"]),
        ("a: b\nc: \x00", [":2:4: the character U+0000 (leave control characters out)"]),
        ("a: b\x7f", [":1:5: the character U+007F (leave control characters out)"]),
        ("a: \ud800", [":1:4: half of a surrogate pair, which is no character"]),
        ("a: !x 1\nb: *c\nb: 2", [f":1:4: {NO_TAG}", ":2:4: no anchor '&c' stands above this alias",
                                  ":3:1: 'b' is defined twice (first at a.yaml:2:1)"]),
        ("a: !x 1\nb: c: d", [f":1:4: {NO_TAG}", f":2:5: {COLON}"]),
    ],
)  # fmt: skip
def test_bad_text(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True), ("False", False), ("yes", "yes"), ("on", "on"), ("NO", "NO"), ("'true'", "true"),
        ("", None), ("~", None), ("null", None), ("'null'", "null"), ("''", ""),
        ("0", 0), ("-7", -7), ("+7", 7), ("0770", "0770"), ("-07", "-07"), ("0o770", 0o770), ("0x1F", 31),
        ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2024-01-31", "2024-01-31"), ("192.0.2.1", "192.0.2.1"),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("-1.5E-2", -0.015), ("1e", "1e"), (".", "."),
        (".inf", math.inf), ("-.INF", -math.inf), ("'7'", "7"), ('"é"', "é"), ("9" * 5000, "9" * 5000),
        (">-\n  one\n  two", "one two"), ("one\n  two", "one two"), ("{zfs}", {"zfs": None}), ("[a, [1]]", ["a", [1]]),
    ],
)  # fmt: skip
def test_scalars(written: str, value: Any) -> None:
    data = parse(f"a: {written}\n", "a.yaml").data["a"]
    assert (data, type(data)) == (value, type(value))
    assert math.isnan(parse("a: .nan", "a.yaml").data["a"])


def test_byte_order_mark() -> None:
    assert parse("\ufeffa: 1", "a.yaml").where(["a"], key=True) == ("a.yaml", 1, 1)


def test_merge_keys() -> None:
    text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 3}\nz:\n  <<: [*x, *y]\n  c: 4\nw: {<<: *x, a: 0}\nq: {'<<': 1}\n"
    parsed = parse(text, "a.yaml")
    assert parsed.data["z"] == {"a": 1, "b": 2, "c": 4}
    assert parsed.data["w"] == {"a": 0, "b": 2}
    assert parsed.data["q"] == {"<<": 1}
    assert parsed.where(["z", "b"]) == ("a.yaml", 1, 17)
    assert parsed.where(["z", "c"]) == ("a.yaml", 5, 6)


def test_aliases_are_shared() -> None:
    parsed = parse("a: &a {b: [1, 2]}\nc: *a\nd: &s word\ne: [*s]\n", "a.yaml")
    assert parsed.data["c"] is parsed.data["a"]
    assert parsed.data["e"] == ["word"]
    assert parsed.where(["c"]) == ("a.yaml", 2, 4)
    assert parsed.where(["c", "b", 1]) == ("a.yaml", 1, 15)


def test_where() -> None:
    parsed = parse("version: 1\nshares:\n  one:\n    read: [a, b]\n    storage: {zfs: t}\n", "a.yaml")
    assert parsed.where([]) == ("a.yaml", 1, 1)
    assert parsed.where(["shares", "one"], key=True) == ("a.yaml", 3, 3)
    assert parsed.where(["shares", "one"]) == ("a.yaml", 4, 5)
    assert parsed.where(["shares", "one", "read", 1]) == ("a.yaml", 4, 15)
    assert parsed.where(["shares", "one", "storage", "zfs"]) == ("a.yaml", 5, 20)
    for absent in (["shares", "one", "path"], ["shares", "one", "path", 3, "x"], ["shares", "one", 0]):
        assert parsed.where(absent) == ("a.yaml", 3, 3)
    assert parsed.where(["shares", "one", "read", 9]) == ("a.yaml", 4, 5)
    assert parsed.where(["gateways", "x"]) == ("a.yaml", 1, 1)


BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)
)
LADDER = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 99))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, ":7:10: more than 1,000,000 values, aliases counted as written out (split the site)"),
        (LADDER, f":50:12: {TOO_DEEP}"),
        ("[" * 10_000_000, f":1:51: {TOO_DEEP}"),
        ("{a: " * 2_500_000, f":1:201: {TOO_DEEP}"),
        ("- " * 5_000_000, f":1:101: {TOO_DEEP}"),
        ("? " * 5_000_000, f":1:101: {TOO_DEEP}"),
        ("\n".join(" " * i + "a:" for i in range(4000)), f":51:51: {TOO_DEEP}"),
    ],
    ids=["bomb", "ladder", "brackets", "braces", "lists", "keys", "block"],
)
def test_explosives(text: str, expected: str) -> None:
    began = time.process_time()
    assert problems(text) == [expected]
    assert time.process_time() - began < 1


def test_deep_enough() -> None:
    assert parse("a: " + "[" * 49 + "]" * 49, "a.yaml").data


def test_too_many_problems_stop_the_file() -> None:
    assert len(problems("a: 1\n" * 5000)) == source.MAX_PROBLEMS


def site(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_folder_is_merged(tmp_path: Path) -> None:
    site(tmp_path, a="version: 1\nshares:\n  one: {x: 1}\n", b="version: 1\nshares:\n  two: {x: [2]}\n", c="shares:\n")
    (tmp_path / "d.yml").write_text("users: {u: {}}\nshares: {three: {}}\n")
    (tmp_path / ".hidden.yaml").write_text("- broken")
    (tmp_path / "notes.txt").write_text("- broken")
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    (tmp_path / "folder.yaml").mkdir()
    merged = read(tmp_path)
    shares = {"one": {"x": 1}, "two": {"x": [2]}, "three": {}}
    assert merged.data == {"version": 1, "shares": shares, "users": {"u": {}}}
    assert merged.where(["shares", "one", "x"]) == (str(tmp_path / "a.yaml"), 3, 12)
    assert merged.where(["shares", "two", "x", 0]) == (str(tmp_path / "b.yaml"), 3, 13)
    assert merged.where(["shares", "three"], key=True) == (str(tmp_path / "d.yml"), 2, 10)


def read_problems(path: Path) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(path)
    return [str(problem).replace(f"{path}/", "").replace(str(path), "SITE") for problem in caught.value.problems]


def test_names_are_defined_once(tmp_path: Path) -> None:
    site(
        tmp_path,
        a="version: 1\nsite: x\nshares:\n  one: {}\n",
        b="version: 2\nsite: x\nshares:\n  two: {}\n  one: {}\nusers: {}\nlist: [1]\n",
        c="shares:\n  two: {}\nusers: text\nlist: [1]\n",
    )
    assert read_problems(tmp_path) == [
        "b.yaml:1:1: 'version' is defined twice (first at a.yaml:1:1)",
        "b.yaml:5:3: 'one' is defined twice (first at a.yaml:4:3)",
        "c.yaml:2:3: 'two' is defined twice (first at b.yaml:4:3)",
        "c.yaml:3:1: 'users' is defined twice (first at b.yaml:6:1)",
        "c.yaml:4:1: 'list' is defined twice (first at b.yaml:7:1)",
    ]


def test_all_files_are_checked(tmp_path: Path) -> None:
    site(tmp_path, a="a: b: c", b="b: 1\nb: 2\n", c="c: 1\ns: {x: 1}\n", d="c: 2\ns: {x: 1}\n")
    assert read_problems(tmp_path) == [
        f"a.yaml:1:5: {COLON}",
        "b.yaml:2:1: 'b' is defined twice (first at b.yaml:1:1)",
        "d.yaml:1:1: 'c' is defined twice (first at c.yaml:1:1)",
        "d.yaml:2:5: 'x' is defined twice (first at c.yaml:2:5)",
    ]


def test_unreadable_paths(tmp_path: Path) -> None:
    init = "(`smbplan init` writes a first site)"
    assert read_problems(tmp_path) == [f"SITE: no *.yaml file is in this folder {init}"]
    assert read_problems(tmp_path / "absent") == [f"SITE: no such file or folder {init}"]
    assert read_problems(Path("a\0b")) == [
        "SITE: can't be read: embedded null byte (check the path and its permissions)"
    ]
    (tmp_path / "broken.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    assert read_problems(tmp_path) == [
        "broken.yaml: can't be read: No such file or directory (check the path and its permissions)",
        "latin.yaml:2:7: not UTF-8 text (save the file as UTF-8)",
        "pipe.yaml: not a file (name a YAML file or a folder of them)",
    ]


def test_file_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 2**20)
    site(tmp_path, a="a: 1\n" + "#" * 2**20)
    assert read_problems(tmp_path) == ["a.yaml: larger than 1 MiB (split the site over several files)"]


def test_without_the_c_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_ruamel_yaml", None)
    parsed = parse("a: &a [1, 'x']\nb: {c: *a}\n", "a.yaml")
    assert parsed.data == {"a": [1, "x"], "b": {"c": [1, "x"]}}
    assert parsed.where(["b", "c"]) == ("a.yaml", 2, 8)
    assert problems("a:\n\tb: 1") == [":2:1: a tab in the indentation (indent with spaces)"]
    assert problems("a: !x 1\na: 2") == [f":1:4: {NO_TAG}", ":2:1: 'a' is defined twice (first at a.yaml:1:1)"]
    assert problems("a: \x00") == [":1:4: the character U+0000 (leave control characters out)"]


YAMLISH = st.text(st.sampled_from("ab01 \n\t:-?[]{},&*!|>'\"#%@`\\<~.\x00\u2028\ufeffé") | st.characters(), max_size=60)


@settings(max_examples=400, deadline=None)
@given(YAMLISH)
def test_any_text_is_read_or_refused(text: str) -> None:
    for given_text in (text, f"a: {text}", f"a: &a\n  b: [{text}]\n"):
        try:
            parsed = parse(given_text, "a.yaml")
        except SpecError as error:
            assert error.problems
        else:
            assert isinstance(parsed.data, dict)


@settings(max_examples=100, deadline=None)
@given(YAMLISH)
def test_any_text_without_the_c_parser(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "_ruamel_yaml", None)
        try:
            parse(f"a: {text}", "a.yaml")
        except SpecError as error:
            assert error.problems


WORDS = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=12)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=20
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(WORDS, VALUES, min_size=1, max_size=5), st.booleans())
def test_round_trip_and_places(data: dict[str, Any], as_json: bool) -> None:
    text = json.dumps(data, ensure_ascii=False) if as_json else dumped(data)
    parsed = parse(text, "a.yaml")
    assert parsed.data == data
    lines = text.split("\n")
    for key in data:
        _, line, column = parsed.where([key], key=True)
        rest = lines[line - 1][column - 1 :]
        written = next(parser_scalars(rest))
        assert written == key


def dumped(data: dict[str, Any]) -> str:
    stream = io.StringIO()
    dumper = YAML(typ="safe", pure=True)
    dumper.default_flow_style = False
    dumper.width = 10_000
    dumper.dump(data, stream)
    return stream.getvalue()


def parser_scalars(text: str) -> Iterator[str]:
    """The scalars of YAML text, by ruamel's own parser."""
    return (event.value for event in YAML(typ="safe", pure=True).parse(text) if isinstance(event, ScalarEvent))


def test_ten_thousand_shares_are_quick() -> None:
    share = (
        "    gateway: files\n    storage:\n      zfs: tank/x\n      quota: 5GiB\n    access:\n      write: ['@staff']\n"
    )
    text = "shares:\n" + "".join(f"  s{i}:\n{share}    comment: number {i}\n" for i in range(10_000))
    began = time.process_time()
    parsed = parse(text, "a.yaml")
    assert len(parsed.data["shares"]) == 10_000
    assert time.process_time() - began < 3  # about 0.4 s; the rest is room for slow machines
    assert parsed.where(["shares", "s9999", "comment"]) == ("a.yaml", 80_001, 14)
