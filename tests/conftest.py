"""What every test shares."""

import logging
import os

import pytest

# A line for each request of a client that polls, or for each of a mail server's words, would bury what a failing test
# says.
for name in ("httpx", "mail.log"):
    logging.getLogger(name).setLevel(logging.WARNING)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse parallel test processes that would flush each other's broker database."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    if parallel and not config.pluginmanager.has_plugin("tests.isolation"):
        raise pytest.UsageError("parallel tests need `-p tests.isolation`: run `make test`")
