"""What every test shares."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Refuse parallel test processes that would flush each other's broker database."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    if parallel and not config.pluginmanager.has_plugin("tests.isolation"):
        raise pytest.UsageError("parallel tests need `-p tests.isolation`: run `make test`")
