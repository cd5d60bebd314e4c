"""Settings of the property tests: the same examples on every machine, and no deadline on a busy one."""

import pytest
from hypothesis import HealthCheck, settings

from smbplan.drivers.agent import core

settings.register_profile(
    "smbplan",
    derandomize=True,
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("smbplan")


@pytest.fixture(autouse=True, scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Before-images of objects that tests set here are not this machine's."""
    core.IMAGES._folder = tmp_path_factory.mktemp("images")


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """What an agent remembers while it answers."""
    core.MEMORY.clear()
