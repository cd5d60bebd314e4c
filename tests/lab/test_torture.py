"""Kinds of steps of examples/quickstart × troubles: nothing is lost. `make torture` tries all, and guests."""

from pathlib import Path

import pytest
from torture.cases import LOST, representative, tried
from torture.grounds import GROUNDS, ground

from smbplan.lab import Lab

pytestmark = pytest.mark.lab
# Of all cases every twelfth, so that kinds of steps meet different troubles; of a small plan, more of them.
SHARES = {"made": (4, 12), "changed": (4, 12), "removed": (4, 12), "uniform": (1, 6)}
PARTS = [(f"quickstart, {name}", part, *share) for name, share in SHARES.items() for part in range(share[0])]


@pytest.mark.parametrize(("name", "part", "parts", "share"), PARTS)
def test_nothing_is_lost(machines: Lab, tmp_path: Path, name: str, part: int, parts: int, share: int) -> None:
    with ground(GROUNDS[name], machines, tmp_path) as here:
        chosen = representative(here)[::share][part::parts]
        verdicts = [tried(here, case, by_hand=bool(number % 2)) for number, case in enumerate(chosen)]
    assert len(verdicts) > 2
    assert [(each.case.name, each.detail) for each in verdicts if each.word == LOST] == []
