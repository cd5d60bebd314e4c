"""A cluster that answers anything at all: it is understood, or refused in words."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.hostile import JUNK, altered
from unit.pve.gateways import Gateways, defined

from smbplan.drivers.errors import ChannelError
from smbplan.drivers.pve.client import Client

MANY = settings(max_examples=300, suppress_health_check=list(HealthCheck))


@pytest.fixture
def there(gateways: Gateways) -> Iterator[Gateways]:
    """With a container of ours."""
    gateways.apply(defined())
    yield gateways


@pytest.mark.parametrize("change", [{}, {"memory": "700MiB"}], ids=["plan", "apply"])
def test_any_answer_is_understood_or_refused(
    there: Gateways, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    real, refused = Client._request, 0

    @MANY
    @given(st.integers(0, 12), JUNK, st.integers())
    def hold(left: int, junk: Any, seed: int) -> None:
        nonlocal refused
        chance = Random(seed)

        def request(self: Client, method: str, path: str, params: dict[str, Any]) -> Any:
            nonlocal left
            answer = real(self, method, path, params)
            left -= 1
            return altered(answer, junk, chance) if left == -1 and method == "GET" else answer

        monkeypatch.setattr(Client, "_request", request)
        try:
            made = there.plan(defined(**change))
            if change and not made.refused:
                there.run(made.steps)
        except ChannelError:
            refused += 1
        finally:
            monkeypatch.setattr(Client, "_request", real)

    hold()
    assert refused > 10
