"""Kinds of steps of examples/quickstart × troubles: nothing is lost. `make torture` tries all, and guests."""

from pathlib import Path

import pytest
from torture.cases import LOST, representative, tried
from torture.grounds import GROUNDS, ground

from smbplan.lab import Lab

pytestmark = pytest.mark.lab
PARTS, SHARE = 4, 12  # of all cases every twelfth, so that kinds of steps meet different troubles
NAMES = [name for name in GROUNDS if name.startswith("quickstart")]


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost(machines: Lab, tmp_path: Path, name: str, part: int) -> None:
    with ground(GROUNDS[name], machines, tmp_path) as here:
        chosen = representative(here)[::SHARE][part::PARTS]
        verdicts = [tried(here, case, by_hand=bool(number % 2)) for number, case in enumerate(chosen)]
    assert len(verdicts) > 2
    assert [(each.case.name, each.detail) for each in verdicts if each.word == LOST] == []
