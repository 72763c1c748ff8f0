"""What every test shares."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is; what must end soon says so itself, in time of the processor.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A line for each request of a client that polls, or for each of a mail server's words, would bury what a failing test
# says.
for name in ("httpx", "mail.log"):
    logging.getLogger(name).setLevel(logging.WARNING)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse parallel test processes that would flush each other's broker database."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    if parallel and not config.pluginmanager.has_plugin("tests.isolation"):
        raise pytest.UsageError("parallel tests need `-p tests.isolation`: run `make test`")


@pytest.fixture(scope="session", autouse=True)
def _a_busy_machine_may_take_its_time() -> Iterator[None]:
    """Let nobody do without Redis after 0.1 s, and no drain leave the rest to the next bell after 5 s."""
    from automation.services import dispatch
    from core import breaker
    from core.api import ratelimit
    from files.services import extraction
    from workflows.engine import drain

    with pytest.MonkeyPatch.context() as patched:
        for module in (breaker, ratelimit):
            patched.setattr(module, "TIMEOUT_SECONDS", 30.0)
        patched.setattr(drain, "DRAIN_SECONDS", 60.0)
        patched.setattr(dispatch, "DISPATCH_SECONDS", 60.0)
        patched.setitem(extraction.extract_due_files.__kwdefaults__, "budget_seconds", 60.0)
        yield
