"""ID.conf of a guest: text to values and back, as the real files are written.

The description is `#` lines with percent-encoding; raw `lxc.*` keys may repeat; `[pve:pending]` (of a virtual
machine `[PENDING]`) holds what waits for a restart; other sections are snapshots.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from smbplan.lab.pve import files

Kind = Literal["lxc", "qemu"]
PENDING: dict[Kind, str] = {"lxc": "pve:pending", "qemu": "PENDING"}
INTEGERS = {
    "memory",
    "swap",
    "cores",
    "cpuunits",
    "onboot",
    "unprivileged",
    "protection",
    "template",
    "tty",
    "console",
    "debug",
}


@dataclass
class GuestConfig:
    """One guest's configuration. `pending` may have a `delete` key: a list of keys, comma-separated.

    A key of a volume that is to be deleted, not only taken out, has a `!` before it there.
    """

    values: dict[str, str] = field(default_factory=dict)
    raw: list[tuple[str, str]] = field(default_factory=list)
    pending: dict[str, str] = field(default_factory=dict)
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)
    digest: str = ""
    kind: Kind = "lxc"

    @property
    def doomed(self) -> list[str]:
        """Keys whose deletion is pending."""
        return [key.removeprefix("!") for key in self.pending.get("delete", "").split(",") if key]

    @property
    def forced(self) -> set[str]:
        """Those of them whose volume goes, too."""
        return {key[1:] for key in self.pending.get("delete", "").split(",") if key.startswith("!")}

    def set_doomed(self, keys: list[str], forced: Collection[str] = ()) -> None:
        """Replace them."""
        self.pending.pop("delete", None)
        if keys:
            self.pending["delete"] = ",".join(f"!{key}" if key in forced else key for key in keys)

    def future(self) -> dict[str, str]:
        """The values as they are once nothing is pending any more."""
        doomed = self.doomed
        values = {key: value for key, value in self.values.items() if key not in doomed}
        return values | {key: value for key, value in self.pending.items() if key != "delete"}

    def keep_unused(self, volume: str) -> None:
        """A volume that nothing uses any more becomes `unusedN`."""
        number = 0
        while f"unused{number}" in self.values:
            number += 1
        self.values[f"unused{number}"] = volume


def sort_of(key: str) -> str:
    """`mp7` is a `mp`."""
    return re.sub(r"\d+$", "", key)


def encode(text: str) -> str:
    """One line of a description: control characters, high bits, `:` and `%` as %XX."""
    safe = set(range(0x20, 0x7F)) - {0x25, 0x3A}
    return "".join(chr(byte) if byte in safe else f"%{byte:02X}" for byte in text.encode())


def parse(text: str, kind: Kind = "lxc") -> GuestConfig:
    """The file's content. A container's description gets a newline after each line, the last one too."""
    config = GuestConfig(digest=files.digest(text), kind=kind)
    section: dict[str, str] = config.values
    description: list[str] = []
    for line in text.splitlines():
        header = re.fullmatch(r"\[([a-z][a-z0-9_:\-]+)\]\s*", line, re.IGNORECASE)
        if header:
            _describe(section, description, kind)
            pending = header[1].lower() == PENDING[kind].lower()
            section = config.pending if pending else config.snapshots.setdefault(header[1], {})
        elif line.startswith("#"):
            description.append(unquote(line[1:].rstrip()))
        elif match := re.fullmatch(r"(lxc\.[a-zA-Z0-9_.\-]+)(?::|\s*=)\s*(.*?)\s*", line):
            if section is config.values:
                config.raw.append((match[1], match[2]))
        elif match := re.fullmatch(r"([a-z][a-z_\-]*\d*):\s*(.*?)\s*", line):
            # qemu-server's pattern asks for a character: of an empty value, it finds the blank before it.
            section[match[1]] = match[2] or (" " if kind == "qemu" else "")
    _describe(section, description, kind)
    return config


def _describe(section: dict[str, str], lines: list[str], kind: Kind) -> None:
    if lines:
        text = "".join(f"{line}\n" for line in lines)
        section["description"] = text if kind == "lxc" else text.rstrip()
        lines.clear()


def _section(values: dict[str, str], raw: list[tuple[str, str]]) -> str:
    lines = [f"#{encode(line)}" for line in values.get("description", "").splitlines()]
    for key in sorted(values):
        if key != "description":
            if "\n" in values[key]:
                raise ValueError(f"detected invalid newline inside property '{key}'")
            lines.append(f"{key}: {values[key]}")
    lines += [f"{key}: {value}" for key, value in raw]
    return "".join(f"{line}\n" for line in lines)


def render(config: GuestConfig) -> str:
    """The inverse of `parse`."""
    text = _section(config.values, config.raw)
    sections = {PENDING[config.kind]: config.pending} if config.pending else {}
    for name, values in {**sections, **config.snapshots}.items():
        text += f"\n[{name}]\n{_section(values, [])}"
    return text


def typed(key: str, value: str) -> Any:
    """The value as the API shows it."""
    if key in INTEGERS and re.fullmatch(r"-?\d+", value):
        return int(value)
    if key == "cpulimit":
        return float(value)
    return value
