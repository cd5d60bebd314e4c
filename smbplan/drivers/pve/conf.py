"""A container's configuration file, as the API tells it. Pure; PVE::LXC::Config::parse_pct_config, pct.conf(5)"""

import hashlib
import re
from typing import Any
from urllib.parse import unquote

SECTION = re.compile(r"\[([a-z][a-z0-9_:-]+)\]\s*", re.IGNORECASE)
RAW = re.compile(r"(lxc\.[a-zA-Z0-9_.-]+)(?::|\s*=)\s*(.*?)\s*")
VALUE = re.compile(r"([a-z][a-z_-]*\d*):\s*(.*?)\s*")
PENDING = "pve:pending"  # what a running container gets when it starts again; other sections are snapshots


def told(text: str) -> dict[str, Any]:
    """With what is pending, as the API has it unless it is asked for what is current."""
    values: dict[str, Any] = {}
    pending: dict[str, str] = {}
    raw, lines, section = list[list[str]](), list[str](), ""
    for line in text.splitlines():
        if match := SECTION.fullmatch(line):
            section = match[1].lower()
        elif section not in ("", PENDING):
            continue
        elif line.startswith("#"):
            lines.append(f"{unquote(line[1:].rstrip())}\n")
        elif match := RAW.fullmatch(line):
            raw.append([match[1], match[2]])
        elif match := VALUE.fullmatch(line):
            (pending if section else values)[match[1]] = match[2]
    for name in pending.pop("delete", "").split(","):
        values.pop(name.removeprefix("!"), None)
    values |= pending
    values |= {"description": "".join(lines)} if lines else {}
    values |= {"lxc": raw} if raw else {}
    return {**values, "digest": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()}
