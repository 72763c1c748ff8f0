"""What `/metrics` says about HTTP (contract section 12), and the page itself.

With one web process the default registry is enough. With several, set PROMETHEUS_MULTIPROC_DIR to an empty
folder in their environment (the launcher does): each process then writes its counters to a file there, and
whichever process answers `/metrics` adds all files up.
"""

import os
from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from core import health

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
    """Return the Prometheus text of all web processes."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(_default_registry())
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_HealthCollector())
    return generate_latest(registry)


class _HealthCollector(Collector):
    """Reads the components and the registered numbers at each scrape."""

    def describe(self) -> Iterable[Metric]:
        """Name nothing: the default, a collection, would ask the database at registration."""
        return []

    def collect(self) -> Iterable[Metric]:
        results = health.check_all()
        up = GaugeMetricFamily("automation_dependency_up", "1 if the component is healthy.", labels=["name"])
        for name, result in results.items():
            up.add_metric([name], float(result.status == health.HEALTHY))
        yield up
        yield GaugeMetricFamily(
            "automation_redis_up", "1 if Redis answers.", value=float(results["redis"].status == health.HEALTHY)
        )
        numbers = health.metrics() if results["database"].status == health.HEALTHY else {}
        for name, value in numbers.items():
            yield GaugeMetricFamily(f"automation_{name}", "The number of that name in /health.", value=float(value))
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            # prometheus_client's own process metrics exist in the default registry only.
            yield from ProcessCollector(registry=None).collect()


_registered: list[Collector] = []


def _default_registry() -> CollectorRegistry:
    if not _registered:
        _registered.append(_HealthCollector())
        REGISTRY.register(_registered[0])
    return REGISTRY
