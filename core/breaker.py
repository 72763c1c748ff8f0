"""Circuit breakers over Redis: what keeps failing is left alone for a while (ENGINE 5).

The state is an accelerator, not a truth: without Redis every breaker is closed.
"""

import hashlib
import time
from dataclasses import dataclass
from functools import cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from core import logs

log = logs.get(__name__)

OPENS_AFTER_FAILURES = 10
FORGETS_AFTER_SECONDS = 300
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 900.0
TIMEOUT_SECONDS = 0.1


@dataclass(frozen=True)
class Opening:
    """An open breaker: when the next try may come (Unix time, s), and after how many failures in a row."""

    until: float
    failures: int


def find_opening(key: str) -> Opening | None:
    """Return the opening of a breaker, or None while it is closed or may be probed."""
    try:
        until, failures = _redis().hmget(_name(key), "until", "failures")
    except (redis.RedisError, OSError) as error:
        _log(error)
        return None
    if until is None or float(until) <= time.time():
        return None
    return Opening(float(until), int(failures or 0))


def record_success(key: str) -> None:
    """Close the breaker and forget its failures."""
    try:
        _redis().delete(_name(key))
    except (redis.RedisError, OSError) as error:
        _log(error)


def record_failure(key: str) -> None:
    """Count a failure; from the tenth in a row the breaker opens for 30 s, doubling up to 15 min."""
    name = _name(key)
    try:
        failures = int(_redis().hincrby(name, "failures", 1))
        if failures >= OPENS_AFTER_FAILURES:
            pause = min(FIRST_PAUSE_SECONDS * 2 ** min(failures - OPENS_AFTER_FAILURES, 10), LONGEST_PAUSE_SECONDS)
            _redis().hset(name, "until", time.time() + pause)
            log.warning("breaker.opened", key=key, failures=failures, seconds=pause)
        _redis().expire(name, int(FORGETS_AFTER_SECONDS + LONGEST_PAUSE_SECONDS))
    except (redis.RedisError, OSError) as error:
        _log(error)


def _name(key: str) -> str:
    """Return the key in Redis: a digest, since a host's name may hold what is secret."""
    return f"breaker:{hashlib.sha256(key.encode()).hexdigest()}"


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def _log(error: BaseException) -> None:
    log.warning("breaker.unknown", error=str(error), effect="taken as closed")
