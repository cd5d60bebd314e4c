"""Lines for a terminal, and errors as it shows them. Whatever a target told is made harmless here."""

import re
import textwrap
from collections.abc import Sequence

from smbplan.errors import Trouble

CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
# What could disguise a line of a terminal or steer it: C0, C1, bidi, line separators, surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def safe(text: str) -> str:
    """One line without control characters; they show as escapes, such as \\x1b."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def paint(text: str, style: str, colour: bool) -> str:
    return f"\x1b[{CODES[style]}m{text}\x1b[0m" if colour and style in CODES else text


def indented(text: str, by: str) -> str:
    """Several lines of foreign text, harmless and indented."""
    return textwrap.indent("\n".join(safe(line) for line in text.splitlines()), by)


def columns(head: Sequence[str], table: Sequence[Sequence[str]]) -> list[str]:
    """Rows under their headings, aligned."""
    every = [list(head), *([safe(cell) for cell in row] for row in table)]
    widths = [max(len(row[number]) for row in every) for number in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}{'es' if word.endswith('sh') else 's'}"


def errors(troubles: Sequence[Trouble], colour: bool = False) -> str:
    """`Error: file:line:column: summary`, each with its hint and detail below."""
    return "\n".join(_error(item, colour) for item in troubles)


def _error(item: Trouble, colour: bool) -> str:
    if item.file:
        place = safe(item.file) + (f":{item.line}:{item.column}" if item.line else "") + ": "
        place = "" if item.summary.startswith(place) else place
    else:
        known = item.summary.startswith(item.address.rsplit(".", 1)[-1])
        place = "" if known or not item.address else f"{safe(item.address)}: "
    return explained(f"Error: {place}{item.summary}", item.hint, item.detail, colour)


def explained(head: str, hint: str, detail: str, colour: bool) -> str:
    """What is wrong, with the way out and the details below."""
    lines = [paint(safe(head), "red", colour)]
    if hint:
        lines += [f"  Hint: {safe(line)}" for line in hint.splitlines()]
    if detail and safe(detail) not in lines[0]:
        lines.append(paint(indented(detail, "    "), "dim", colour))
    return "\n".join(lines)
