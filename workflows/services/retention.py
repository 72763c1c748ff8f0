"""Retention: what is kept of ended executions and of the tables beside them, and for how long (ENGINE 8).

Everything goes in short, committed batches, so that no lock is held long and vacuum keeps up. A live execution is
never touched. Outputs in the storage are released here and removed by the engine's sweep of them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Min, Q, QuerySet
from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric

from core import clock
from workflows.choices import FINAL_STATUSES, ExecutionStatus
from workflows.engine import spill
from workflows.models import Evaluation, Execution, ScheduleSlot, StepAttempt, Workflow

BATCH = 200
# How many old executions are looked at in one statement; those that their workflow keeps longer are passed over.
WINDOW = 1000
FAILURES = (ExecutionStatus.FAILED, ExecutionStatus.TIMEOUT)
# How long after having seen everything that is old the next round begins.
PAUSE_SECONDS = 300.0

pruned_total = Counter("automation_rows_pruned_total", "Rows removed by retention.", ("table",))

# From the oldest on by an index. Parents that live keep what they called: they may look at it again.
_OLD = """
SELECT e.id, e.completed_at, e.completed_at < %(now)s::timestamptz - make_interval(days => CASE
    WHEN e.status = ANY(%(failures)s) THEN GREATEST(
      COALESCE(w.retention_failed_days, w.retention_days, %(failed_days)s), COALESCE(w.retention_days, %(days)s))
    ELSE COALESCE(w.retention_days, %(days)s) END)
FROM workflow_executions e JOIN workflows w ON w.id = e.workflow_id
WHERE e.completed_at < %(horizon)s AND (e.completed_at, e.id) > (%(after)s, %(after_id)s)
ORDER BY e.completed_at, e.id LIMIT %(window)s
"""
# One walk along the workflow's index, however many there are behind the batch; past those that a live parent keeps.
_SURPLUS = """
SELECT id FROM (
  SELECT id, parent_id FROM workflow_executions WHERE workflow_id = %(workflow)s AND status = ANY(%(statuses)s)
  ORDER BY id DESC OFFSET %(keep)s
) surplus WHERE NOT EXISTS (
  SELECT 1 FROM workflow_executions parent
  WHERE parent.id = surplus.parent_id AND parent.status IN ('pending', 'running')
) ORDER BY id DESC LIMIT %(batch)s
"""
_LOCK = """
SELECT e.id FROM workflow_executions e
WHERE e.id = ANY(%(ids)s) AND e.status = ANY(%(final)s) AND NOT EXISTS (
  SELECT 1 FROM workflow_executions parent WHERE parent.id = e.parent_id AND parent.status IN ('pending', 'running'))
ORDER BY e.id FOR UPDATE SKIP LOCKED
"""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
IsOver = Callable[[], bool]


@dataclass
class Round:
    """How far this process has come through everything once: what is kept is passed over once a round."""

    stage: int = 0
    after: datetime = _BEGINNING
    after_id: int = 0
    workflow_id: int = 0
    rests_until: float = 0.0


_round = Round()


def prune_due(*, budget_seconds: float = 0.5) -> int:
    """Remove what was kept long enough, for about `budget_seconds`; call it again and again.

    Any number of processes may do so at once. Returns how many executions were removed.
    """
    ends_at = time.monotonic() + budget_seconds
    if time.monotonic() < _round.rests_until:
        return 0
    removed = 0
    stages = (_prune_old, _prune_surplus, _prune_beside)
    while _round.stage < len(stages) and time.monotonic() < ends_at:
        done, is_finished = stages[_round.stage](lambda: time.monotonic() >= ends_at)
        removed += done
        _round.stage += is_finished
    if _round.stage == len(stages):
        begin_again(pause_seconds=PAUSE_SECONDS)
    spill.sweep_spills(budget_seconds=budget_seconds)
    return removed


def begin_again(*, pause_seconds: float = 0.0) -> None:
    """Let the next round begin from the oldest row, after a pause."""
    global _round
    _round = Round(rests_until=time.monotonic() + pause_seconds if pause_seconds else 0.0)


def prune_executions(ids: Iterable[int]) -> int:
    """Delete these executions with all that hangs on them, in one transaction; live ones are left alone."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, {"ids": list(ids), "final": list(FINAL_STATUSES)})
            found = [row[0] for row in cursor.fetchall()]
        if not found:
            return 0
        spilled = StepAttempt.objects.filter(execution__in=found, spill_id__isnull=False)
        spill.release(key for key in spilled.values_list("spill_id", flat=True) if key is not None)
        _, by_table = Execution.objects.filter(pk__in=found).only("pk").delete()
    pruned_total.labels("workflow_executions").inc(len(found))
    pruned_total.labels("workflow_execution_steps").inc(by_table.get(StepAttempt._meta.label, 0))
    return len(found)


def gauges() -> list[Metric]:
    """Return the age of the oldest row of each table that retention keeps small (0 where it is empty)."""
    family = GaugeMetricFamily(
        "automation_oldest_row_age_seconds", "Age of the oldest row that retention looks at.", labels=["table"]
    )
    now = clock.now()
    for model, column in (
        (Execution, "completed_at"),
        (StepAttempt, "created_at"),
        (Evaluation, "created_at"),
        (ScheduleSlot, "created_at"),
    ):
        oldest = model._default_manager.order_by().aggregate(oldest=Min(column))["oldest"]
        family.add_metric([model._meta.db_table], max((now - oldest).total_seconds(), 0.0) if oldest else 0.0)
    return [family]


def _prune_old(is_over: IsOver) -> tuple[int, bool]:
    """Remove executions over their age, from the oldest on. Returns how many, and whether all were looked at."""
    removed = 0
    while not is_over():
        rows = _look_at_old()
        over_age = [key for key, _, is_over_age in rows if is_over_age]
        for first in range(0, len(over_age), BATCH):
            removed += prune_executions(over_age[first : first + BATCH])
        if len(rows) < WINDOW:
            return removed, True
        _round.after_id, _round.after = rows[-1][0], rows[-1][1]
    return removed, False


def _look_at_old() -> list[tuple[int, datetime, bool]]:
    now = clock.now()
    with connection.cursor() as cursor:
        cursor.execute(
            _OLD,
            {
                "now": now,
                "horizon": now - timedelta(days=_shortest_days()),
                "days": settings.RETENTION_DAYS,
                "failed_days": settings.RETENTION_FAILED_DAYS,
                "failures": list(FAILURES),
                "after": _round.after,
                "after_id": _round.after_id,
                "window": WINDOW,
            },
        )
        return list(cursor.fetchall())


def _shortest_days() -> int:
    shortest = Workflow.objects.order_by().aggregate(days=Min("retention_days"))["days"]
    return min(settings.RETENTION_DAYS, shortest or settings.RETENTION_DAYS)


def _prune_surplus(is_over: IsOver) -> tuple[int, bool]:
    """Remove all but the newest executions of workflows that keep a number of them."""
    removed = 0
    for workflow_id, keep, statuses in _counted_workflows():
        _round.workflow_id = workflow_id - 1
        done = BATCH
        while done == BATCH:
            if is_over():
                return removed, False
            done = prune_executions(_surplus(workflow_id, keep, statuses))
            removed += done
    return removed, True


def _counted_workflows() -> Iterator[tuple[int, int, list[str]]]:
    """Yield the workflows that keep a number of executions; failures kept by age of their own do not count."""
    wanted = Q(pk__gt=_round.workflow_id)
    if not settings.RETENTION_COUNT:
        wanted &= Q(retention_count__isnull=False)
    rows = Workflow.objects.filter(wanted).order_by("pk").values_list("pk", "retention_count", "retention_failed_days")
    for key, count, failed_days in rows:
        statuses = FINAL_STATUSES - set(FAILURES) if failed_days else FINAL_STATUSES
        yield key, count or settings.RETENTION_COUNT, sorted(statuses)


def _surplus(workflow_id: int, keep: int, statuses: list[str]) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(_SURPLUS, {"workflow": workflow_id, "keep": keep, "statuses": statuses, "batch": BATCH})
        return [row[0] for row in cursor.fetchall()]


def _prune_beside(is_over: IsOver) -> tuple[int, bool]:
    """Remove old evaluations and old slots of the schedules' ledger."""
    before = clock.now() - timedelta(days=settings.RETENTION_DAYS)
    old = (
        Evaluation.objects.filter(created_at__lt=before, evaluated_at__isnull=False),
        ScheduleSlot.objects.filter(created_at__lt=before),
    )
    for rows in old:
        done = BATCH
        while done == BATCH:
            if is_over():
                return 0, False
            done = _delete_oldest(rows)
    return 0, True


def _delete_oldest(rows: QuerySet[Any]) -> int:
    """Delete a batch of rows without anything that hangs on them. Returns how many."""
    model = rows.model
    oldest = list(rows.order_by("created_at").values_list("pk", flat=True)[:BATCH])
    done: int = model._default_manager.filter(pk__in=oldest).delete()[0]
    pruned_total.labels(model._meta.db_table).inc(done)
    return done
