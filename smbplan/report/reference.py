"""The reference pages of docs/, from the models and kinds themselves. `python -m smbplan.report.reference FOLDER`"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smbplan.kinds import kinds
from smbplan.spec import base, model, proxmox
from smbplan.spec.presets import PRESETS
from smbplan.spec.schema import generate

SECTIONS = (
    ("proxmox", proxmox.Proxmox),
    ("proxmox.token", proxmox.Token),
    ("gateways", model.Gateway),
    ("gateways.NAME.ssh", base.Ssh),
    ("gateways.NAME.network", proxmox.Network),
    ("shares", model.Share),
    ("shares.NAME.storage", model.Storage),
    ("shares.NAME.access", model.Access),
    ("shares.NAME.permissions", model.Permissions),
    ("shares.NAME.hosts", model.Hosts),
    ("shares.NAME.recycle", model.Recycle),
    ("shares.NAME.previous_versions", model.PreviousVersions),
    ("users", model.User),
    ("groups", model.Group),
    ("secrets (password: …)", base.Secret),
)
WORDS = {"object": "mapping", "integer": "number", "boolean": "true or false"}
NOTE = "<!-- written by `make docs`; a test fails when it is stale -->\n"


def kinds_page() -> str:
    """One row for each kind."""
    lines = [
        NOTE,
        "# Kinds of resources\n",
        "| Kind | Is | Mark | Used if it was there before | Undo |",
        "|---|---|---|---|---|",
    ]
    for name, kind in sorted(kinds().by_name.items()):
        mark = "its own" if kind.marked else "inventory"
        undo = f"{kind.nature}: {kind.why}" if kind.why else str(kind.nature)
        lines.append(f"| `{name}` | {kind.title} | {mark} | {'yes' if kind.uses else 'by --adopt'} | {undo} |")
    return "\n".join(lines) + "\n"


def keys_page() -> str:
    """Every key of the definitions with its type, default and meaning, and the presets."""
    definitions = generate()["definitions"]
    lines = [NOTE, "# Keys of the definitions\n"]
    for title, definition in SECTIONS:
        lines += [
            f"## {title}\n",
            *filter(None, [_first_line(definition)]),
            "| Key | Type | Default | Meaning |",
            "|---|---|---|---|",
        ]
        properties = definitions[definition.__name__]["properties"]
        for key, field in definition.model_fields.items():
            default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
            lines.append(f"| `{key}` | {_type(properties[key])} | {default} | {field.description or ''} |")
        lines.append("")
    lines += ["## Presets\n", "| Preset | Sets |", "|---|---|"]
    lines += [f"| `{name}` | {', '.join(_pairs(values)) or 'nothing'} |" for name, values in PRESETS.items()]
    return "\n".join(lines) + "\n"


def _first_line(definition: type[base.Definition]) -> str:
    return f"{(definition.__doc__ or '').splitlines()[0]}\n" if definition.__doc__ else ""


def _default(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, base.Definition):
        return "as below"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{', '.join(map(str, value)) if isinstance(value, list) else value}`"


def _type(schema: dict[str, Any]) -> str:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    parts = schema.get("anyOf") or schema.get("allOf") or []
    if choices:
        said = " \\| ".join(f"`{word}`" for word in choices)
    elif parts:
        said = " or ".join(dict.fromkeys(_type(part) for part in parts if part.get("type") != "null"))
    elif "$ref" in schema:
        said = f"[{schema['$ref'].rsplit('/', 1)[1]}]"
    elif schema.get("type") == "array":
        said = f"list of {_type(schema.get('items', {}))}"
    elif schema.get("examples"):
        said = f"such as `{schema['examples'][0]}`"
    else:
        said = WORDS.get(str(schema.get("type")), "text")
    return said


def _pairs(values: dict[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        said = str(value).lower() if isinstance(value, bool) else value
        if isinstance(value, dict):
            said = "{" + ", ".join(f"{name}: {part}" for name, part in value.items()) + "}"
        yield f"`{key}: {said}`"


PAGES = {"kinds.md": kinds_page, "keys.md": keys_page}


def main(folder: Path) -> None:
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
