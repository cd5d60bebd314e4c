"""Settings of the property tests: the same examples on every machine, and no deadline on a busy one."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "smbplan",
    derandomize=True,
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("smbplan")
