"""Circuit breakers."""

import time
import uuid

import pytest

from core import breaker


@pytest.fixture
def key() -> str:
    return f"test:{uuid.uuid4().hex}"


def test_a_breaker_opens_at_the_tenth_failure_in_a_row_and_doubles_its_pause(key: str) -> None:
    for _ in range(9):
        breaker.record_failure(key)
    assert breaker.find_opening(key) is None

    began_at = time.time()
    breaker.record_failure(key)
    first = breaker.find_opening(key)
    breaker.record_failure(key)
    second = breaker.find_opening(key)
    took_seconds = time.time() - began_at

    assert first is not None
    assert second is not None
    assert (first.failures, second.failures) == (10, 11)
    assert 30 <= first.until - began_at <= 30 + took_seconds
    assert 60 <= second.until - began_at <= 60 + took_seconds


def test_a_success_closes_it_and_forgets_the_failures(key: str) -> None:
    for _ in range(10):
        breaker.record_failure(key)

    breaker.record_success(key)
    breaker.record_failure(key)

    assert breaker.find_opening(key) is None
