"""Fixtures and settings for all tests."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.plugins.rgw", "tests.plugins.postgres", "tests.plugins.tiny_disk", "tests.plugins.requirement"]

# A property is about values, not about how fast a busy machine finds them.
settings.register_profile("mgoe", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("ci"), deadline=None, suppress_health_check=[HealthCheck.too_slow])
# What decides whether a change goes in gives the same answer twice; `make test-all` explores further.
settings.register_profile("same", settings.get_profile("mgoe"), derandomize=True, database=None)
settings.load_profile("ci" if settings.get_current_profile_name() == "ci" else "mgoe")
