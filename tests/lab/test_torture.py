"""Kinds of steps that make examples/quickstart × troubles: nothing is lost. `make torture` tries all, and others."""

from pathlib import Path

import pytest
from torture.cases import LOST, representative, tried
from torture.grounds import ground

from smbplan.lab import Lab

pytestmark = pytest.mark.lab
PARTS, SHARE = 4, 8  # of all cases every eighth, so that kinds of steps meet different troubles


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost(machines: Lab, tmp_path: Path, part: int) -> None:
    with ground("quickstart, made", machines, tmp_path) as here:
        chosen = representative(here.planned.plan.steps)[::SHARE][part::PARTS]
        verdicts = [tried(here, case, by_hand=bool(number % 2)) for number, case in enumerate(chosen)]
    assert len(verdicts) > 4
    assert [(each.case.name, each.detail) for each in verdicts if each.word == LOST] == []
