"""The JSON Schema of the definitions, for editors: draft-07, which their YAML servers know best.

`python -m smbplan.spec.schema` prints it; `make schemas` keeps it in schemas/.
"""

import json
import sys
from typing import Any

from smbplan.spec.model import Site

DRAFT = "http://json-schema.org/draft-07/schema#"
IDENTIFIER = "urn:smbplan:schema:1"

_NULL = {"type": "null"}
_RENAMED = {"$defs": "definitions", "prefixItems": "items", "dependentRequired": "dependencies"}
# Keywords whose value maps names of the user's (not keywords) to schemas.
_NAMED = {"properties", "patternProperties", "$defs"}
_DROPPED = {"discriminator", "title"}  # OpenAPI's own; and what only repeats the names
_VERBATIM = {"const", "default", "enum", "examples", "required", "dependentRequired"}


def generate() -> dict[str, Any]:
    """The schema of one file. Nothing is required at the top, since a site may be split over files."""
    schema: dict[str, Any] = _convert(Site.model_json_schema())
    schema.pop("required", None)
    return {**schema, "$schema": DRAFT, "$id": IDENTIFIER, "title": "smbplan site"}


def _convert(schema: Any) -> Any:
    """One schema as pydantic emits it (2020-12) in the words of draft-07."""
    if not isinstance(schema, dict):
        return schema
    converted: dict[Any, Any] = {
        _RENAMED.get(keyword, keyword): _value(keyword, value)
        for keyword, value in schema.items()
        if keyword not in _DROPPED and (keyword, value) != ("default", None)
    }
    if "prefixItems" in schema:
        converted["additionalItems"] = _convert(schema.get("items", True))
    if "patternProperties" in converted:
        converted.setdefault("additionalProperties", False)
    return _reference(_nullable(converted))


def _value(keyword: str, value: Any) -> Any:
    if keyword == "$ref":
        return value.replace("#/$defs/", "#/definitions/")
    if keyword in _VERBATIM:
        return value
    if keyword in _NAMED:
        return {name: _convert(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_convert(part) for part in value]
    return _convert(value)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """`anyOf` of a plain type and null as that type or null."""
    members = schema.get("anyOf", [])
    others = [member for member in members if member != _NULL]
    if len(others) != 1 or len(others) == len(members) or not isinstance(others[0].get("type"), str | list):
        return schema
    other = others[0]
    types = other["type"] if isinstance(other["type"], list) else [other["type"]]
    rest = {keyword: value for keyword, value in schema.items() if keyword != "anyOf"}
    if "const" in other:
        other = {**other, "enum": [other["const"]]}
        del other["const"]
    if "enum" in other:
        other = {**other, "enum": [*other["enum"], None]}
    return {**other, **rest, "type": [*types, "null"]}


def _reference(schema: dict[str, Any]) -> dict[str, Any]:
    """Draft-07 ignores what stands beside `$ref`, so that goes into `allOf`."""
    if "$ref" not in schema or len(schema) == 1:
        return schema
    rest = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
    return {**rest, "allOf": [{"$ref": schema["$ref"]}]}


def main() -> None:
    """Prints the schema, always in the same order."""
    json.dump(generate(), sys.stdout, indent=2, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
