"""Settings that belong together. A share's own keys win over its preset, and the preset over `defaults:`."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain": {},
    "private": {"encryption": "required", "hidden": True, "audit": True},
    "public": {"guest": "read"},
    "archive": {"audit": True, "recycle": {"expire": "90d"}, "prevent_destroy": True},
    "media": {"comment": "Media", "encryption": "off"},
    "homes": {"homes": True, "comment": "Home folders"},
    "time-machine": {"time_machine": True, "comment": "Time Machine"},
}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`: mappings are merged, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def filled(data: dict[str, Any]) -> dict[str, Any]:
    """The definitions with `defaults:` and presets filled in. Wrong types are left for validation to name."""
    defaults = data.get("defaults")
    result = dict(data)
    for section, name in (("gateways", "gateway"), ("shares", "share")):
        base = defaults.get(name) if isinstance(defaults, dict) else None
        items = data.get(section)
        if isinstance(items, dict):
            result[section] = {key: _mounted(key, _one(base, value, section)) for key, value in items.items()}
    return result


def _mounted(key: Any, value: Any) -> Any:
    """A volume has a place of its own in its container."""
    storage = value.get("storage") if isinstance(value, dict) else None
    if not isinstance(storage, dict) or "volume" not in storage or "mount" in storage:
        return value
    return {**value, "storage": {**storage, "mount": f"/srv/{key}"}}


def _one(base: Any, value: Any, section: str) -> Any:
    if not isinstance(value, dict):
        return value
    base = base if isinstance(base, dict) else {}
    preset: dict[str, Any] = {}
    if section == "shares":
        name = value.get("preset", base.get("preset"))
        preset = PRESETS.get(name, {}) if isinstance(name, str) else {}
    return merged(merged(base, preset), value)
