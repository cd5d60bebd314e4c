"""The JSON Schema: up to date, valid draft-07, and of one mind with the models."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from smbplan.spec import schema
from smbplan.spec.source import parse

ROOT = Path(__file__).parents[2]
STORED = ROOT / "schemas" / "smbplan.schema.json"
EXAMPLES = sorted(path for path in (ROOT / "examples").rglob("*.y*ml") if not path.name.startswith("."))
SITE = """
version: 1
site: office
gateways:
  files: {host: 192.0.2.1}
shares:
  projects:
    gateway: files
    storage: {zfs: tank/projects, quota: 500GiB}
"""


@pytest.fixture(scope="module")
def generated() -> dict[str, Any]:
    return schema.generate()


def errors(generated: dict[str, Any], text: str) -> list[str]:
    return [error.message for error in Draft7Validator(generated).iter_errors(parse(text, "a.yaml").data)]


def keywords(part: Any) -> set[str]:
    if isinstance(part, list):
        return set().union(*map(keywords, part))
    return set(part).union(*map(keywords, part.values())) if isinstance(part, dict) else set()


def test_stored_schema_is_fresh(generated: dict[str, Any]) -> None:
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    assert stored == generated, "schemas/smbplan.schema.json is stale: run `make schemas`"


def test_is_draft_07(generated: dict[str, Any]) -> None:
    Draft7Validator.check_schema(generated)
    assert generated["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert generated["$id"]
    assert generated["description"]
    assert not keywords(generated) & {"$defs", "prefixItems", "discriminator", "unevaluatedProperties"}
    assert "#/$defs/" not in json.dumps(generated)


def test_nothing_beside_references(generated: dict[str, Any]) -> None:
    def check(part: Any) -> None:
        if isinstance(part, dict):
            assert "$ref" not in part or len(part) == 1
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            check(inner)

    check(generated)


def test_prints_itself(generated: dict[str, Any]) -> None:
    run = subprocess.run([sys.executable, "-m", "smbplan.spec.schema"], capture_output=True, text=True, check=True)
    assert run.stdout == json.dumps(generated, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples(generated: dict[str, Any], path: Path) -> None:
    assert errors(generated, path.read_text()) == []


def test_a_site_and_a_part_of_one(generated: dict[str, Any]) -> None:
    assert errors(generated, SITE) == []
    assert errors(generated, SITE.replace("version: 1\nsite: office\n", "")) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("site: office", "site: [office]"),
        ("shares:", "share:"),
        ("  projects:", "  bad name!:"),
        ("gateway: files", "gatway: files"),
        ("gateway: files", "gateway: 7"),
        ("zfs: tank/projects", "zfz: tank/projects"),
        ("gateway: files", "gateway: files\n    preset: defalt"),
        ("gateway: files\n", ""),
    ],
)
def test_bad_sites(generated: dict[str, Any], old: str, new: str) -> None:
    text = SITE.replace(f"    {old}" if new == "" else old, new)
    assert text != SITE
    assert errors(generated, text)


def test_conversion() -> None:
    modern = {
        "title": "X",
        "$defs": {"title": {"type": "integer", "title": "T"}},
        "type": "object",
        "properties": {
            "title": {"$ref": "#/$defs/title", "description": "d", "default": None},
            "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"$ref": "#/$defs/title"}]},
            "size": {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}], "default": None},
            "word": {"anyOf": [{"const": "a", "type": "string"}, {"type": "null"}], "default": "a"},
            "union": {"oneOf": [{"type": "string"}], "discriminator": {"propertyName": "x"}},
        },
        "patternProperties": {"^x": {"title": "Y", "type": "null"}},
    }
    assert schema._convert(modern) == {
        "definitions": {"title": {"type": "integer"}},
        "type": "object",
        "properties": {
            "title": {"allOf": [{"$ref": "#/definitions/title"}], "description": "d"},
            "pair": {
                "type": "array",
                "items": [{"type": "string"}, {"$ref": "#/definitions/title"}],
                "additionalItems": True,
            },
            "size": {"type": ["string", "null"], "minLength": 1},
            "word": {"type": ["string", "null"], "enum": ["a", None], "default": "a"},
            "union": {"oneOf": [{"type": "string"}]},
        },
        "patternProperties": {"^x": {"type": "null"}},
        "additionalProperties": False,
    }
