"""What is up: named checks with short time limits, heartbeats, and numbers that apps register.

Checks run side by side in a few threads, so that a component that hangs costs its time limit and no more;
answers are kept for a second, so that probes without credentials cannot load the components.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as CheckTimeout
from dataclasses import dataclass

import redis
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError, connection
from kombu import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from core import logs

log = logs.get(__name__)

HEALTHY = "healthy"
DEGRADED = "degraded"
UNHEALTHY = "unhealthy"
DISABLED = "disabled"

CHECK_SECONDS = 2.0
KEPT_SECONDS = 1.0
BEAT_KEY = "beat:last_tick"
WORKER_KEY = "worker:last_seen:{lane}"
# A heartbeat older than this is a stopped process: beat ticks every second, workers beat every 10 s at least.
HEARTBEAT_KEPT_SECONDS = 45
HEARTBEAT_EVERY_SECONDS = 5.0

NO_NUMBERS: Mapping[str, float] = {
    "total_workflows": 0,
    "active_executions": 0,
    "completed_executions_24h": 0,
    "failed_executions_24h": 0,
    "success_rate_24h": 0.0,
}


class Down(Exception):
    """A check's finding: the component does not work, and why in a few words."""


class Off(Exception):
    """A check's finding: the component is switched off."""


@dataclass(frozen=True)
class Result:
    """What one check found, and how long it took."""

    status: str
    latency_ms: float
    error: str = ""


Check = Callable[[], None]
Numbers = Callable[[], Mapping[str, float]]

_checks: dict[str, Check] = {}
_numbers: list[Numbers] = []
_pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="health")
_lock = threading.Lock()
_kept: dict[str, Result] = {}
_kept_until: list[float] = [0.0]
_last_beats: dict[str, float] = {}


def register(name: str, check: Check) -> None:
    """Add a component; `check` returns, or raises Down (or any error) or Off. It may run in any thread."""
    _checks[name] = check


def register_metrics(numbers: Numbers) -> None:
    """Set the provider of /health's `metrics`; it may read the database, in the caller's thread."""
    _numbers[:] = [numbers]


def metrics() -> dict[str, float]:
    """Return /health's numbers; zeros where no app provides them or the database is down."""
    found = dict(NO_NUMBERS)
    for numbers in _numbers:
        try:
            found.update(numbers())
        except DatabaseError as error:
            log.warning("health.numbers_unavailable", error=str(error))
    return found


def check_all() -> dict[str, Result]:
    """Return each component's result, at most KEPT_SECONDS old."""
    with _lock:
        if time.monotonic() > _kept_until[0]:
            _kept.update(_run())
            _kept_until[0] = time.monotonic() + KEPT_SECONDS
        return dict(_kept)


def overall(results: Mapping[str, Result]) -> str:
    """Return unhealthy without a database, degraded where anything else is down, else healthy."""
    if results["database"].status == UNHEALTHY:
        return UNHEALTHY
    return DEGRADED if any(result.status == UNHEALTHY for result in results.values()) else HEALTHY


def record_beat() -> None:
    """Note that beat ticks; call at each tick. Costs Redis one write in HEARTBEAT_EVERY_SECONDS."""
    _record(BEAT_KEY)


def record_worker(lane: str) -> None:
    """Note that a worker of `lane` lives; call at least every 30 s, idle or not."""
    _record(WORKER_KEY.format(lane=lane))


def is_served(lane: str) -> bool | None:
    """Tell whether a worker of `lane` has been heard of lately; None while Redis cannot say."""
    try:
        return bool(_redis().exists(WORKER_KEY.format(lane=lane)))
    except (redis.RedisError, OSError) as error:
        log.debug("health.heartbeat_unknown", lane=lane, error=str(error))
        return None


def forget() -> None:
    """Ask every component anew next time, and write the next heartbeat at once."""
    with _lock:
        _kept_until[0] = 0.0
    _last_beats.clear()


def check_database() -> None:
    """Ask PostgreSQL for a constant, over a connection of the checking thread's own."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def check_redis() -> None:
    """Ping Redis."""
    _redis().ping()


def check_scheduler() -> None:
    """Look for beat's heartbeat."""
    if not _redis().exists(BEAT_KEY):
        raise Down("beat has not ticked lately")


def check_celery() -> None:
    """Look for a heartbeat of every lane's workers."""
    client = _redis()
    absent = [lane for lane in settings.LANE_CONCURRENCY if not client.exists(WORKER_KEY.format(lane=lane))]
    if absent:
        raise Down(f"no worker in lane {', '.join(absent)}")


def check_event_bus() -> None:
    """Reach the broker that carries the bells."""
    if settings.CELERY_BROKER_URL.startswith("redis"):
        _redis(settings.CELERY_BROKER_URL).ping()
        return
    with Connection(settings.CELERY_BROKER_URL, connect_timeout=1) as broker:
        broker.connect()


def check_file_storage() -> None:
    """Write a small file and remove it."""
    name = default_storage.save(f".health/{uuid.uuid4().hex}", ContentFile(b"ok"))
    default_storage.delete(name)


def check_in_process() -> None:
    """Say yes: this component is part of the process that answers."""


def _run() -> dict[str, Result]:
    futures = {name: _pool.submit(_measure, check) for name, check in _checks.items()}
    deadline = time.monotonic() + CHECK_SECONDS
    return {name: _outcome(future, deadline - time.monotonic()) for name, future in futures.items()}


def _measure(check: Check) -> Result:
    started = time.perf_counter()
    status, error = HEALTHY, ""
    try:
        check()
    except Off:
        status = DISABLED
    except Exception as failure:  # noqa: BLE001  (whatever it is, the component does not work: that is the answer)
        status, error = UNHEALTHY, str(failure) if isinstance(failure, Down) else type(failure).__name__
        log.warning("health.component_down", error=str(failure), kind=type(failure).__name__)
    return Result(status, round((time.perf_counter() - started) * 1000, 2), error)


def _outcome(future: "Future[Result]", seconds: float) -> Result:
    try:
        return future.result(timeout=max(0.0, seconds))
    except CheckTimeout:
        future.cancel()
        return Result(UNHEALTHY, CHECK_SECONDS * 1000, f"no answer within {CHECK_SECONDS:g} s")


def _record(key: str) -> None:
    now = time.monotonic()
    if now - _last_beats.get(key, -HEARTBEAT_EVERY_SECONDS) < HEARTBEAT_EVERY_SECONDS:
        return
    _last_beats[key] = now
    try:
        _redis().set(key, int(time.time()), ex=HEARTBEAT_KEPT_SECONDS)
    except (redis.RedisError, OSError) as error:
        # Redis itself being down is what /health will say.
        log.debug("health.heartbeat_lost", key=key, error=str(error))


_clients: dict[str, redis.Redis] = {}


def _redis(url: str = "") -> redis.Redis:
    url = url or settings.REDIS_URL
    if url not in _clients:
        _clients[url] = redis.Redis.from_url(
            url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 1), decode_responses=True
        )
    return _clients[url]


for _name, _check in (
    ("database", check_database),
    ("redis", check_redis),
    ("scheduler", check_scheduler),
    ("saga_orchestrator", check_in_process),
    ("file_storage", check_file_storage),
    ("celery", check_celery),
    ("event_bus", check_event_bus),
):
    register(_name, _check)
