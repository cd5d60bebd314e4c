"""Words of commands for a person to type. Targets told what is in them, and one of them may lie: it stays a word."""

import re
import shlex
from collections.abc import Iterable

from smbplan.drivers.agent.core import image_file

IMAGES = "/var/lib/smbplan/runs/"
PLAIN = {"\n": "\\n", "\t": "\\t"}


def word(value: object) -> str:
    """One word of a command, on one line. bash(1)"""
    text = str(value)
    return shlex.quote(text) if text.isprintable() else f"$'{''.join(map(_escaped, text))}'"


def _escaped(char: str) -> str:
    if char.isprintable():
        return f"\\{char}" if char in "\\'" else char
    if char in PLAIN:
        return PLAIN[char]
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))


def image(name: str) -> str:
    """Where a run keeps a before-image on the host, see drivers.agent.core.Images."""
    return f"{IMAGES}*/*/{image_file(name)}"


def words(values: Iterable[object]) -> str:
    return " ".join(map(word, values))


def literal(text: str) -> str:
    """For a regular expression, basic or extended, which it matches as it is."""
    return re.sub(r"[\\^]", r"\\\g<0>", re.sub(r"[.*[$+?(){}|]", r"[\g<0>]", text))
