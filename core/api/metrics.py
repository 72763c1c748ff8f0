"""What `/metrics` says about HTTP (contract section 12), and the page itself.

Set PROMETHEUS_MULTIPROC_DIR to an empty folder in the environment of web and workers (the launcher does): each
process then writes its counters to a file there, and whichever web process answers `/metrics` adds all files up.
Without it the answer holds what the answering process has counted.
"""

import os
from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from core import health, metrics

UNKNOWN_ROUTE = "(unknown)"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

requests_total = Counter("http_requests_total", "Requests answered.", ("method", "endpoint", "status_code"))
request_seconds = Histogram("http_request_duration_seconds", "Time to answer.", ("method", "endpoint"))
requests_active = Gauge("http_requests_active", "Requests being answered.", multiprocess_mode="livesum")


def observe(*, method: str, route: str | None, status: int, seconds: float) -> None:
    """Count one answered request; `route` is the pattern, so that labels stay few."""
    method = method if method in _METHODS else "OTHER"
    endpoint = UNKNOWN_ROUTE if route is None else f"/{route.lstrip('/')}"
    requests_total.labels(method, endpoint, str(status)).inc()
    request_seconds.labels(method, endpoint).observe(seconds)


def page() -> bytes:
    """Return the Prometheus text of all processes that share a registry with this one."""
    registry = CollectorRegistry()
    registry.register(_Page())
    return generate_latest(registry)


class _Page(Collector):
    """What was counted, its other names, and what is read at each scrape."""

    def describe(self) -> Iterable[Metric]:
        """Name nothing: the default, a collection, would ask the database at registration."""
        return []

    def collect(self) -> Iterable[Metric]:
        counted = list(_counted())
        yield from counted
        yield from metrics.aliases(counted)
        yield from _health()


def _counted() -> Iterable[Metric]:
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return REGISTRY.collect()
    shared: Iterable[Metric] = MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
    # prometheus_client's own process metrics exist in the default registry only.
    return [*shared, *ProcessCollector(registry=None).collect()]


def _health() -> Iterable[Metric]:
    """Read the components and, if there is a database, the numbers."""
    results = health.check_all()
    up = GaugeMetricFamily("automation_dependency_up", "1 if the component is healthy.", labels=["name"])
    for name, result in results.items():
        up.add_metric([name], float(result.status == health.HEALTHY))
    yield up
    yield GaugeMetricFamily(
        "automation_redis_up", "1 if Redis answers.", value=float(results["redis"].status == health.HEALTHY)
    )
    if results["database"].status != health.HEALTHY:
        return
    for name, value in health.metrics().items():
        yield GaugeMetricFamily(f"automation_{name}", "The number of that name in /health.", value=float(value))
    yield from metrics.gauges()
