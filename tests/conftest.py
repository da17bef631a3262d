"""Fixtures for all tests."""

import pytest

pytest_plugins = ["tests.plugins.rgw"]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One file's tests run on one worker, so that its costly fixtures are made once; s3 tests share one server."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None and item.get_closest_marker("s3") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
