"""What ends a command early; the command line turns it into a message and an exit code."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smbplan.engine.kind import Hazard


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong, for a person. Lines count from 1; 0 is unknown."""

    summary: str
    hint: str = ""
    detail: str = ""
    address: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    guardrail: str = ""


class Refused(Exception):
    """The command can't go on; nothing was changed."""

    code = 1  # of the process

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__("; ".join(trouble.summary for trouble in troubles))
        self.troubles = troubles


class CutShort(Refused):
    """A run could not be ended as runs end: `recover` does."""

    code = 4


class TakenOver(Refused):
    """Somebody else has the run, with what it has changed."""

    code = 4


def trouble(hazard: "Hazard") -> Trouble:
    place = hazard.origin
    return Trouble(
        hazard.summary,
        hazard.hint,
        hazard.detail,
        address=hazard.address,
        file=place.file if place else "",
        line=place.line if place else 0,
        column=place.column if place else 0,
        guardrail=hazard.guardrail,
    )
