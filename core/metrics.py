"""What every app's metrics share: other names of one number, numbers read at scrape, and Celery's tasks.

With PROMETHEUS_MULTIPROC_DIR (the launcher sets it) all processes of a machine write to files in that folder and
`/metrics` adds them up. Without it each process has a registry of its own: `/metrics` then shows the web process only.

Count after the commit that makes it true. Label values come from enumerations, never from callers.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from celery.signals import task_postrun, task_prerun, worker_process_shutdown
from django.db import Error as DatabaseFailure
from django.db import connection
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import mark_process_dead

from core import logs

log = logs.get(__name__)

# From a log step's milliseconds to a workflow that waits for half an hour.
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
RESOURCE_LIMIT, TIMEOUT, VALIDATION_ERROR, OTHER = FAILURE_REASONS = (
    "resource_limit",
    "timeout",
    "validation_error",
    "other",
)
_REASON_OF = {
    "too_large": RESOURCE_LIMIT,
    "too_many_pages": RESOURCE_LIMIT,
    "execution_timeout": TIMEOUT,
    "step_timeout": TIMEOUT,
    "extract_timeout": TIMEOUT,
    "bad_expression": VALIDATION_ERROR,
    "config_invalid": VALIDATION_ERROR,
    "corrupt": VALIDATION_ERROR,
    "empty": VALIDATION_ERROR,
    "encrypted": VALIDATION_ERROR,
    "evaluation_failed": VALIDATION_ERROR,
    "file_invalid": VALIDATION_ERROR,
    "output_not_json": VALIDATION_ERROR,
    "transformation_invalid": VALIDATION_ERROR,
    "type_mismatch": VALIDATION_ERROR,
    "unknown_name": VALIDATION_ERROR,
    "unknown_operator": VALIDATION_ERROR,
    "unknown_transformation": VALIDATION_ERROR,
    "unsupported_type": VALIDATION_ERROR,
}

Gauges = Callable[[], Iterable[Metric]]

tasks_total = Counter("celery_tasks_total", "Celery tasks run, by final state.", ("task", "state"))
task_seconds = Histogram(
    "celery_task_duration_seconds", "Time a Celery task ran.", ("task", "state"), buckets=DURATION_BUCKETS
)


@dataclass(frozen=True)
class Alias:
    """A second name that dashboards know for a number counted once; labels that are not kept are summed over."""

    name: str
    source: str
    labels: tuple[str, ...] = ()


_aliases: dict[str, Alias] = {}
_gauges: list[Gauges] = []


def also_named(name: str, *, source: str, labels: tuple[str, ...] = ()) -> None:
    """Show the counter or histogram `source` under `name` too; names as declared, counters without `_total`."""
    _aliases[name] = Alias(name, source, labels)


def register_gauges(gauges: Gauges) -> None:
    """Add a reader of numbers; it is called at each scrape, in the web process only, and may read the database."""
    if gauges not in _gauges:
        _gauges.append(gauges)


def aliases(families: Iterable[Metric]) -> list[Metric]:
    """Return the families of all second names."""
    by_name = {family.name: family for family in families}
    return [_renamed(alias, by_name[alias.source]) for alias in _aliases.values() if alias.source in by_name]


def gauges() -> list[Metric]:
    """Return the numbers that are read at scrape; without those whose database does not answer."""
    found: list[Metric] = []
    for read in _gauges:
        try:
            found += read()
        except DatabaseFailure as error:
            log.warning("metrics.gauges_unavailable", error=str(error))
    return found


def failure_reason(error_code: str) -> str:
    """Return the dashboards' class of an error code: one of FAILURE_REASONS."""
    return _REASON_OF.get(error_code, OTHER)


def database_connections() -> list[Metric]:
    """Return how many connections to our database there are in each state."""
    family = GaugeMetricFamily("automation_db_connections", "Connections to the database.", labels=["state"])
    with connection.cursor() as cursor:
        # The state is null where this role may not see another role's.
        cursor.execute(
            "SELECT COALESCE(state, 'unknown'), count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1 ORDER BY 1"
        )
        for state, count in cursor.fetchall():
            family.add_metric([state], count)
    return [family]


def _renamed(alias: Alias, source: Metric) -> Metric:
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
    kept = {*alias.labels, "le"}
    for sample in source.samples:
        ending = sample.name.removeprefix(source.name)
        if ending != "_created":
            sums[ending, tuple(item for item in sample.labels.items() if item[0] in kept)] += sample.value
    family = Metric(alias.name, f"{source.documentation} The same as {source.name}.", source.type)
    for (ending, labels), value in sums.items():
        family.add_sample(f"{alias.name}{ending}", dict(labels), value)
    return family


@task_prerun.connect(dispatch_uid="core.metrics.task_began")
def _task_began(*, task: Any, **kwargs: Any) -> None:
    task.request.began_seconds = time.perf_counter()


@task_postrun.connect(dispatch_uid="core.metrics.task_ended")
def _task_ended(*, task: Any, state: str | None, **kwargs: Any) -> None:
    began = getattr(task.request, "began_seconds", None)
    state = state or "UNKNOWN"
    tasks_total.labels(task.name, state).inc()
    if began is not None:
        task_seconds.labels(task.name, state).observe(time.perf_counter() - began)


@worker_process_shutdown.connect(dispatch_uid="core.metrics.process_ended")
def _process_ended(*, pid: int, **kwargs: Any) -> None:
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


register_gauges(database_connections)
