"""Rate limits per key or user and bucket (contract section 3), counted in Redis.

A fixed window of a minute: one INCR and one EXPIRE in a single round trip. Redis down means no limit, a
log line, and no further try for a second: work is never refused because a counter is out of reach.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from core import logs

log = logs.get(__name__)

WINDOW_SECONDS = 60
TIMEOUT_SECONDS = 0.1
PAUSE_AFTER_FAILURE_SECONDS = 1.0


@dataclass(frozen=True)
class Standing:
    """Where a caller stands in a bucket: what X-RateLimit-Limit, -Remaining and -Reset say."""

    limit: int
    used: int
    reset_at: int

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def exceeded(self) -> bool:
        return self.used > self.limit

    def headers(self) -> dict[str, str]:
        """Return the contract's headers; Reset is the Unix time (s) at which the window ends."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }


class Counter:
    """Counts requests in Redis; gives up quickly and pauses after a failure."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._silent_until = 0.0

    def add(self, bucket: str, who: str, *, limit: int, now: float) -> Standing | None:
        """Count one request of `who` at Unix time `now`; None if Redis cannot be asked."""
        if time.monotonic() < self._silent_until:
            return None
        window = int(now // WINDOW_SECONDS)
        key = f"ratelimit:{bucket}:{who}:{window}"
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, 2 * WINDOW_SECONDS)
                used = int(pipeline.execute()[0])
        except (redis.RedisError, OSError) as error:
            self._silent_until = time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS
            log.warning("rate_limit.open", error=str(error), effect="requests are not limited until Redis is back")
            return None
        return Standing(limit=limit, used=used, reset_at=(window + 1) * WINDOW_SECONDS)


class BucketThrottle(BaseThrottle):
    """Holds each key and user to the limit of the view's bucket."""

    def __init__(self) -> None:
        self._wait_seconds: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        bucket = _bucket(request, view)
        limit = settings.RATE_LIMITS.get(bucket, settings.RATE_LIMITS["default"])
        if not settings.RATE_LIMIT_ENABLED or limit == 0:
            return True
        now = time.time()
        standing = _counter(settings.REDIS_URL).add(bucket, _who(request), limit=limit, now=now)
        if standing is None:
            return True
        # The middleware puts it on the response, whatever becomes of the request.
        request._request.rate_limit_standing = standing  # type: ignore[attr-defined]
        self._wait_seconds = math.ceil(standing.reset_at - now)
        return not standing.exceeded

    def wait(self) -> float | None:
        return self._wait_seconds


_counters: dict[str, Counter] = {}


def _counter(url: str) -> Counter:
    if url not in _counters:
        _counters[url] = Counter(url)
    return _counters[url]


def _bucket(request: Request, view: Any) -> str:
    bucket: str | dict[str, str] = getattr(view, "rate_limit_bucket", "default")
    if isinstance(bucket, dict):
        return bucket.get(request.method or "", "default")
    return bucket


def _who(request: Request) -> str:
    who = getattr(request.auth, "rate_limit_key", None)
    return str(who or request.META.get("REMOTE_ADDR", ""))
