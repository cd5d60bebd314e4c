"""Where documents go: exactly one on stdout, and everything else on stderr."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from smbplan.drivers.channel import Counts
    from smbplan.errors import Trouble


def coloured(stream: TextIO) -> bool:
    """See no-color.org."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def emit(document: str | Mapping[str, Any]) -> None:
    """Print on stdout: text as it is, data as JSON. A reader that has gone is no reason to fail."""
    text = document if isinstance(document, str) else json.dumps(document, indent=2, default=list)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Print on stderr. A terminal that was closed is no reason to fail, either."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def fail(troubles: "Sequence[Trouble]", form: str) -> None:
    """Tell what is wrong: in JSON on stdout, else on stderr."""
    if form == "json":
        from smbplan.report.document import errors

        emit(errors(troubles))
    else:
        from smbplan.report import terminal

        note(terminal.errors(troubles, coloured(sys.stderr)))


def merged(*every: "Mapping[str, Counts]") -> "dict[str, Counts]":
    """The counts of several conversations with the same targets, added up."""
    from smbplan.drivers.channel import Counts

    found: dict[str, Counts] = {}
    for counts in every:
        for target, one in counts.items():
            total = found.setdefault(target, Counts())
            for name in Counts.__dataclass_fields__:
                setattr(total, name, getattr(total, name) + getattr(one, name))
    return found
