"""Parameters as tables, their verification, and property strings (`key=value,key=value`)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from smbplan.lab.pve import formats
from smbplan.lab.pve.errors import bad_params

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"


@dataclass(frozen=True)
class Param:
    """What a parameter may be. `props` names a table of a property string; `since`/`until` bound the versions.

    An `array` is a list of strings, each of which is looked at like a parameter `name[0]`, `name[1]`, ...
    """

    kind: Literal["string", "integer", "number", "boolean", "array"] = "string"
    optional: bool = True
    format: str = ""
    props: str = ""
    enum: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    shortest: int = 0
    longest: int = 0
    pattern: str = ""
    since: float = 0
    until: float = 99

    def known(self, dialect: float | None) -> bool:
        """Whether this version of PVE (None: any) has the parameter."""
        return dialect is None or self.since <= dialect <= self.until


STR = Param()
NEED = Param(optional=False)
BOOL = Param("boolean")
INT = Param("integer")
VMID = Param("integer", format="vmid")
Table = Mapping[str, Param]


@dataclass(frozen=True)
class Props:
    """A property string: its keys, and the one that may come without its name.

    `aliases` are other names of keys. `named` is a pair of keys that are written as one: the first one's value is
    the name of the second (`virtio=MAC` for `model=virtio,macaddr=MAC`).
    """

    keys: Table
    default: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    named: tuple[str, str] = ("", "")


MOUNT_OPTION = "(discard|lazytime|noatime|nodev|noexec|nosuid)"
_ROOTFS: dict[str, Param] = {
    "volume": NEED,
    "acl": BOOL,
    "mountoptions": Param(pattern=f"{MOUNT_OPTION}(;{MOUNT_OPTION})*"),
    "quota": BOOL,
    "replicate": BOOL,
    "ro": BOOL,
    "shared": BOOL,
    "size": Param(format="size"),
}
_COUNT = Param("integer", low=0)
PROPS: dict[str, Props] = {
    "rootfs": Props(_ROOTFS, "volume"),
    "mp": Props({**_ROOTFS, "mp": NEED, "backup": BOOL, "keepattrs": Param("boolean", since=9)}, "volume"),
    "net": Props(
        {
            "name": Param(optional=False, pattern=r"[-_.\w]+"),
            "bridge": Param(pattern=r"[-_.\w]+"),
            "firewall": BOOL,
            "gw": Param(format="ipv4"),
            "gw6": Param(format="ipv6"),
            "host-managed": Param("boolean", since=9),
            "hwaddr": Param(format="mac"),
            "ip": Param(format="ipv4-config"),
            "ip6": Param(format="ipv6-config"),
            "link_down": BOOL,
            "mtu": Param("integer", low=64, high=65535),
            "rate": Param("number"),
            "tag": Param("integer", low=1, high=4094),
            "trunks": Param(pattern=r"\d+(?:;\d+)*"),
            "type": Param(enum=("veth",)),
        }
    ),
    "features": Props(
        {
            "force_rw_sys": BOOL,
            "fuse": BOOL,
            "keyctl": BOOL,
            "mknod": BOOL,
            "mount": Param(pattern="[a-zA-Z0-9_; ]+"),
            "nesting": BOOL,
        }
    ),
    "dev": Props(
        {
            "path": STR,
            "deny-write": BOOL,
            "gid": _COUNT,
            "mode": Param(pattern="0[0-7]{3}"),
            "uid": _COUNT,
        },
        "path",
    ),
    "unused": Props({"volume": Param(optional=False, format="volume-id")}, "volume"),
    "prune-backups": Props(
        {
            "keep-all": BOOL,
            **{f"keep-{unit}": _COUNT for unit in ("last", "hourly", "daily", "weekly", "monthly", "yearly")},
        }
    ),
    "tag-style": Props(
        {
            "case-sensitive": BOOL,
            "color-map": STR,
            "ordering": Param(enum=("config", "alphabetical")),
            "shape": Param(enum=("full", "circle", "dense", "none")),
        }
    ),
    "user-tag-access": Props(
        {"user-allow": Param(enum=("none", "list", "existing", "free")), "user-allow-list": Param(format="tags")}
    ),
    "next-id": Props({"lower": Param("integer", low=100), "upper": Param("integer", low=100)}),
    "migration": Props({"type": Param(optional=False, enum=("secure", "insecure")), "network": STR}, "type"),
}


class PropertyError(ValueError):
    """A property string that is none; `errors` by the path of the key."""

    def __init__(self, errors: Mapping[str, str]):
        super().__init__("format error\n" + "".join(f"{key}: {text}\n" for key, text in errors.items()))
        self.errors = dict(errors)


def lookup(table: Table, name: str) -> Param | None:
    """The parameter's row; `mp7` is found as `mp[n]`."""
    return table.get(name) or table.get(re.sub(r"\d+$", "[n]", name))


def check_value(param: Param, name: str, value: str, dialect: float | None) -> str | None:
    """What is wrong with the value, in the server's words; None if nothing is."""
    problem = _check_kind(param, value)
    if problem:
        return problem
    try:
        if param.format:
            formats.check(param.format, value)
        if param.props:
            parse_props(param.props, value, name, dialect)
    except PropertyError as error:
        return f"invalid format - {error}"
    except ValueError as error:
        return f"invalid format - {error}\n"
    return _check_bounds(param, value)


def _check_kind(param: Param, value: str) -> str | None:
    good = {
        "boolean": r"[01]",
        "integer": r"[+-]?\d+",
        "number": r"[+-]?(\d+(\.\d*)?|\.\d+)",
        "string": r"(?s).*",
        "array": r"(?s).*",
    }[param.kind]
    return None if re.fullmatch(good, value) else f"type check ('{param.kind}') failed - got '{value}'"


def _check_bounds(param: Param, value: str) -> str | None:
    problem = None
    if param.enum and value not in param.enum:
        problem = f"value '{value}' does not have a value in the enumeration '{', '.join(param.enum)}'"
    elif param.pattern and not re.fullmatch(param.pattern, value):
        problem = "value does not match the regex pattern"
    elif param.low is not None and float(value) < param.low:
        problem = f"value must have a minimum value of {param.low:g}"
    elif param.high is not None and float(value) > param.high:
        problem = f"value must have a maximum value of {param.high:g}"
    elif len(value) < param.shortest:
        problem = f"value must be at least {param.shortest} characters long"
    elif param.longest and len(value) > param.longest:
        problem = f"value may only be {param.longest} characters long"
    return problem


def _typed(param: Param, value: str) -> Any:
    if param.kind in ("integer", "boolean"):
        return int(value)
    return float(value) if param.kind == "number" else value


def verify(values: Mapping[str, Any], table: Table, dialect: float) -> dict[str, Any]:
    """The parameters with their types, or a 400 that names everything wrong with them at once."""
    errors: dict[str, str] = {}
    good: dict[str, Any] = {}
    for name, raw in values.items():
        param = lookup(table, name)
        if param is None or not param.known(dialect):
            errors[name] = UNKNOWN
            continue
        if param.kind == "array":
            good[name] = [as_text(item) for item in (raw if isinstance(raw, list) else [raw])]
            problems = ((f"{name}[{n}]", item) for n, item in enumerate(good[name]))
            errors |= {place: text for place, item in problems if (text := check_value(param, place, item, dialect))}
            continue
        text = as_text(raw)
        problem = check_value(param, name, text, dialect)
        if problem:
            errors[name] = problem
        else:
            good[name] = _typed(param, text)
    for name, param in table.items():
        if not param.optional and name not in values:
            errors[name] = MISSING
    if errors:
        raise bad_params(errors)
    return good


def as_text(value: Any) -> str:
    """A value of a JSON body as the form would have it."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list):
        return ",".join(as_text(item) for item in value)
    return "" if value is None else str(value)


def parse_props(kind: str, text: str, name: str, dialect: float | None = None) -> dict[str, str]:
    """A property string as a dict, booleans as 0/1; PropertyError with paths below `name`."""
    props = PROPS[kind]
    values: dict[str, str] = {}
    errors: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = props.default, part
            if not key:
                raise ValueError("value without key, but schema does not define a default key")
        key = props.aliases.get(key, key)
        if props.named[0] and key in props.keys[props.named[0]].enum:
            values[props.named[0]], key = key, props.named[1]
        if key in values:
            raise ValueError(f"duplicate key in comma-separated list property: {key}")
        param = props.keys.get(key)
        if param is None or not param.known(dialect):
            errors[f"{name}.{key}"] = UNKNOWN
            continue
        if param.kind == "boolean":
            value = {"on": "1", "yes": "1", "true": "1", "off": "0", "no": "0", "false": "0"}.get(value.lower(), value)
        problem = check_value(param, f"{name}.{key}", value, dialect)
        if problem:
            errors[f"{name}.{key}"] = problem
        values[key] = value
    for key, param in props.keys.items():
        if not param.optional and key not in values:
            errors.setdefault(f"{name}.{key}", MISSING)
    if errors:
        raise PropertyError(errors)
    return values


def print_props(kind: str, values: Mapping[str, str]) -> str:
    """In the real server's order: the nameless key, those that must be there, the rest; each alphabetically."""
    props = PROPS[kind]

    def rank(key: str) -> tuple[int, str]:
        return (0 if key == props.default else 1 if not props.keys[key].optional else 2), key

    parts = [values[key] if key == props.default else f"{key}={values[key]}" for key in sorted(values, key=rank)]
    if all(key in values for key in props.named):
        name, value = props.named
        both = (values[name] if name == props.default else f"{name}={values[name]}", f"{value}={values[value]}")
        parts = [f"{values[name]}={values[value]}", *(part for part in parts if part not in both)]
    return ",".join(parts)
