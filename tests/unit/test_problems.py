"""What pydantic finds, in words for the person who wrote the YAML."""

from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag, ValidationError, model_validator

from smbplan.spec.problems import Problem, SpecError, from_validation
from smbplan.spec.source import parse


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Secret(Part):
    env: str | None = None
    file: str | None = None


class Zfs(Part):
    kind: Literal["zfs"]
    dataset: str


class Folder(Part):
    kind: Literal["folder"]
    path: str


class Recycle(Part):
    days: int = Field(ge=1, le=90)


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Names(RootModel[list[str]]):
    pass


class Share(Part):
    path: str = Field(max_length=9)
    comment: str = ""
    read_only: bool = Field(False, alias="read-only")
    storage: Annotated[Zfs | Folder, Field(discriminator="kind")] | None = None
    recycle: Recycle | bool = False
    keep: Recycle | Literal["keep"] = "keep"
    colour: Colour = Colour.RED
    names: Names = Names([])
    limit: int | str = 0
    ratio: float = 1.0
    ports: tuple[int, ...] = ()
    address: IPv4Address | None = None
    shape: (
        Annotated[
            Annotated[Recycle, Tag("r")] | Annotated[Secret, Tag("s")],
            Discriminator(lambda v: "r" if "days" in v else "s"),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _comment_is_polite(self) -> Self:
        if self.comment == "bah":
            raise ValueError("the comment is rude — say please")
        return self


class User(Part):
    password: Secret
    pin: Literal["none"] | Secret = "none"


class Site(Part):
    version: Literal[1] = 1
    shares: dict[Annotated[str, Field(pattern="^[a-z]+$")], Share] = {}
    users: dict[str, User] = {}


def problems(text: str) -> list[str]:
    source = parse(text, "a.yaml")
    with pytest.raises(ValidationError) as caught:
        Site.model_validate(source.data)
    found = SpecError(from_validation(caught.value, source, Site))
    return [str(problem).removeprefix("a.yaml:") for problem in found.problems]


def share(line: str) -> list[str]:
    return problems(f"shares:\n  one:\n    path: /a\n    {line}\n")


KEYS = "path, comment, read-only, storage, recycle, keep, colour, names, limit, ratio, ports, address, shape"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("comand: x", "4:5: unknown key 'comand' (did you mean 'comment'?)"),
        ("readonly: true", "4:5: unknown key 'readonly' (did you mean 'read-only'?)"),
        ("zzz: true", f"4:5: unknown key 'zzz' (valid keys: {KEYS})"),
        ("comment: 5", "4:14: expected a text, got a number (write it in quotes)"),
        ("comment: true", "4:14: expected a text, got true (write it in quotes)"),
        ("comment: [a]", "4:5: expected a text, got a list"),
        ("comment:", "4:13: expected a text, got nothing"),
        ("read-only: 7", "4:16: expected true or false, got a number"),
        ("ratio: x", "4:12: expected a number, got a text"),
        ("ratio: .inf", None),
        ("recycle: {days: x}", "4:21: expected a whole number, got a text"),
        ("recycle: {days: 0}", "4:21: must be at least 1"),
        ("recycle: {days: 91}", "4:21: must be at most 90"),
        ("recycle: {}", "4:5: missing key 'days'"),
        ("recycle: {dayz: 1}", "4:5: missing key 'days'|4:15: unknown key 'dayz' (did you mean 'days'?)"),
        ("recycle: sometimes", "4:14: expected keys with values or true or false, got a text"),
        ("keep: kep", "4:11: unknown value 'kep' (did you mean 'keep'?)"),
        ("keep: {days: x}", "4:18: expected a whole number, got a text"),
        ("keep: [1]", "4:5: expected keys with values or one of keep, got a list"),
        ("limit: [1]", "4:5: expected a whole number or a text, got a list"),
        ("colour: rad", "4:13: unknown value 'rad' (did you mean 'red'?)"),
        ("colour: blue", "4:13: unknown value 'blue' (valid values: red, green)"),
        ("names: [a, 1]", "4:16: expected a text, got a number (write it in quotes)"),
        ("ports: [1, {a: 1}]", "4:16: expected a whole number, got keys with values"),
        ("storage: {kind: zsf}", "4:21: unknown value 'zsf' (did you mean 'zfs'?)"),
        ("storage: {dataset: tank}", "4:5: missing key 'kind'"),
        ("storage: {kind: zfs}", "4:5: missing key 'dataset'"),
        ("storage: {kind: zfs, dataset: x, pth: y}", "4:38: unknown key 'pth' (valid keys: kind, dataset)"),
        ("shape: {days: 1, dais: 2}", "4:22: unknown key 'dais' (did you mean 'days'?)"),
        ("address: 300.1.1.1", "4:14: not a valid IPv4 address"),
        ("comment: bah", "2:3: the comment is rude (say please)"),
    ],
)
def test_share(line: str, expected: str | None) -> None:
    if expected is None:
        Site.model_validate(parse(f"shares: {{one: {{path: /a, {line}}}}}", "a.yaml").data)
    else:
        assert share(line) == expected.split("|")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 2", ["1:10: unknown value 2 (valid values: 1)"]),
        ("version: '1'", ["1:10: unknown value '1' (leave the quotes out)"]),
        ("share: {}", ["1:1: unknown key 'share' (did you mean 'shares'?)"]),
        ("shares: [a]", ["1:1: expected keys with values, got a list"]),
        ("shares:\n  one: {}", ["2:3: missing key 'path'"]),
        ("shares:\n  one: {path: 0123456789}", ["2:15: must have at most 9 characters"]),
        ("shares:\n  one: text", ["2:8: expected keys with values, got a text"]),
        ("shares:\n  One: {path: /a}", ["2:3: 'One' can't stand here (it must match ^[a-z]+$)"]),
        ("x: &x {comand: 1}\nshares:\n  one: *x", [
            "1:1: unknown key 'x' (valid keys: version, shares, users)",
            "1:8: unknown key 'comand' (did you mean 'comment'?)",
            "3:3: missing key 'path'",
        ]),
    ],
)  # fmt: skip
def test_site(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_all_at_once() -> None:
    text = "version: 3\nshares:\n  one: {comand: x, path: 1}\n  two: {path: /a, recycle: {days: 0}}\nusers: 1\n"
    assert problems(text) == [
        "1:10: unknown value 3 (valid values: 1)",
        "3:9: unknown key 'comand' (did you mean 'comment'?)",
        "3:26: expected a text, got a number (write it in quotes)",
        "4:35: must be at least 1",
        "5:8: expected keys with values, got a number",
    ]


@pytest.mark.parametrize(
    "password", ["hunter2", "[hunter2]", "{env: [hunter2]}", "{env: {hunter: hunter2}}", "{hunter2}"]
)
def test_secrets_and_jargon_stay_inside(password: str) -> None:
    lines = problems(f"users:\n  u: {{password: {password}, pin: hunter2}}\n")
    assert lines
    for word in ("hunter2", "Input", "type=", "http", "Secret", "pydantic"):
        assert word not in "\n".join(lines)


def test_spec_error_is_sorted_and_unique() -> None:
    last, first, whole = Problem("b", 1, 1, "x"), Problem("a", 2, 9, "y", "do z"), Problem("a", 0, 0, "w")
    error = SpecError([last, first, whole, last])
    assert error.problems == (whole, first, last)
    assert str(error) == "a: w\na:2:9: y (do z)\nb:1:1: x"
