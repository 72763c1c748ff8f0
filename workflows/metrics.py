"""Workflows in `/metrics` (contract section 12). Each thing is counted once; other names are sums of it."""

from collections.abc import Iterable
from functools import cache, partial
from typing import TYPE_CHECKING

from django.db import connection, transaction
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from core import clock, metrics
from workflows.choices import (
    FINAL_STATUSES,
    LIVE_STATUSES,
    ExecutionStatus,
    Lane,
    SlotOutcome,
    StepStatus,
    TriggerType,
)
from workflows.models import Execution, WorkflowSchedule

if TYPE_CHECKING:
    from workflows.engine.step_rows import Attempt

# The dashboards know four types, by what begins the work.
DATA_SYNC = "data_sync"
WORKFLOW_TYPES = {
    TriggerType.FILE_UPLOAD: "file_processing",
    TriggerType.FILE_PROCESSED: "file_processing",
    TriggerType.SCHEDULED: "scheduled_task",
    TriggerType.WEBHOOK: "webhook_trigger",
}
_TIMED = frozenset({StepStatus.COMPLETED, StepStatus.FAILED})

executions_total = Counter("workflow_executions_total", "Executions ended.", ("status", "workflow_type"))
execution_seconds = Histogram(
    "automation_services_workflow_duration_seconds",
    "From an execution's start to its end, waits included.",
    ("workflow_type",),
    buckets=metrics.DURATION_BUCKETS,
)
step_seconds = Histogram(
    "workflow_step_duration_seconds",
    "Time of one step attempt that completed or failed.",
    ("step_type",),
    buckets=metrics.DURATION_BUCKETS,
)
failures_total = Counter(
    "automation_services_workflow_failures_total",
    "Executions that failed or timed out.",
    ("workflow_type", "failure_reason"),
)
retries_total = Counter(
    "automation_services_workflow_retries_total", "Step attempts that will be repeated.", ("workflow_type",)
)
slots_total = Counter("workflow_schedule_slots_total", "Slots of schedules, by what became of them.", ("outcome",))
scheduled_total = Counter("automation_services_scheduled_task_executions_total", "Executions of schedules ended.")
scheduled_failures_total = Counter(
    "automation_services_scheduled_task_failures_total", "Executions of schedules that failed or timed out."
)
metrics.also_named("automation_workflows_executed", source="workflow_executions", labels=("status",))
metrics.also_named("automation_services_workflow_executions", source="workflow_executions", labels=("workflow_type",))
metrics.also_named("workflow_execution_duration_seconds", source="automation_services_workflow_duration_seconds")
metrics.also_named("automation_workflow_step_duration_seconds", source="workflow_step_duration_seconds")

# Looking up a child costs more than counting with it.
_executions = cache(executions_total.labels)
_execution_seconds = cache(execution_seconds.labels)
_step_seconds = cache(step_seconds.labels)

# Known from the start, so that the first failure is a rise from 0 and not a new series.
for _type in {*WORKFLOW_TYPES.values(), DATA_SYNC}:
    _execution_seconds(_type)
    retries_total.labels(_type)
    for _status in FINAL_STATUSES:
        _executions(_status.value, _type)
    for _reason in metrics.FAILURE_REASONS:
        failures_total.labels(_type, _reason)
for _outcome in SlotOutcome:
    slots_total.labels(_outcome.value)

_OLDEST_DUE = """
SELECT lane, EXTRACT(EPOCH FROM %(now)s::timestamptz - min(since)) FROM (
  SELECT lanes.lane, oldest.since
  FROM unnest(%(lanes)s::text[]) AS lanes(lane) CROSS JOIN unnest(%(ranks)s::int[]) AS ranks(rank)
  CROSS JOIN LATERAL (
    SELECT e.updated_at AS since FROM workflow_branches b JOIN workflow_executions e ON e.id = b.execution_id
    WHERE b.lane = lanes.lane AND b.rank = ranks.rank AND b.claimed_by = '' AND b.waiting_on = ''
    ORDER BY b.id LIMIT 1
  ) oldest
  UNION ALL
  SELECT lane, min(wake_at) FROM workflow_branches WHERE claimed_by = '' AND wake_at <= %(now)s GROUP BY lane
) due GROUP BY lane
"""
# Four priorities, of new starts and of continuations (`Branch.rank`).
_RANKS = [*range(4), *range(-10, -6)]


def count_end(
    trigger_type: str, *, status: str, error_code: str, took_ms: int | None, attempts: Iterable["Attempt"]
) -> None:
    """Count an ended execution and the step attempts stored with its end, when the transaction has committed."""
    if connection.in_atomic_block:
        transaction.on_commit(partial(_ended, trigger_type, status, error_code, took_ms or 0, attempts))
    else:  # the checkpoint has committed by itself: the engine's path, where on_commit would only cost time
        _ended(trigger_type, status, error_code, took_ms or 0, attempts)


def count_progress(trigger_type: str, *, retries: int, attempts: Iterable["Attempt"]) -> None:
    """Count what a checkpoint stored, when the transaction has committed."""
    if connection.in_atomic_block:
        transaction.on_commit(partial(_progressed, trigger_type, retries, attempts))
    else:
        _progressed(trigger_type, retries, attempts)


def count_slots(outcome: SlotOutcome, count: int) -> None:
    """Count slots that the ledger holds."""
    slots_total.labels(outcome.value).inc(count)


def workflow_type(trigger_type: str) -> str:
    """Return the dashboards' type of an execution; what a person or another program starts is `data_sync`."""
    return WORKFLOW_TYPES.get(trigger_type, DATA_SYNC)  # type: ignore[call-overload,no-any-return]


def gauges() -> list[Metric]:
    """Return the live executions, and by lane how long its oldest due branch has waited for a worker."""
    active = Execution.objects.filter(status__in=LIVE_STATUSES).order_by().count()
    oldest = GaugeMetricFamily(
        "automation_oldest_due_branch_age_seconds", "How long the oldest due branch has waited.", labels=["lane"]
    )
    ages = _oldest_due_seconds()
    for lane in Lane:
        oldest.add_metric([lane.value], ages.get(lane.value, 0.0))
    return [
        GaugeMetricFamily("automation_services_active_workflows", "Executions pending or running.", value=active),
        oldest,
        GaugeMetricFamily(
            "automation_services_scheduler_lag_seconds",
            "How late the oldest due slot of a schedule is.",
            value=_scheduler_lag_seconds(),
        ),
    ]


def _oldest_due_seconds() -> dict[str, float]:
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST_DUE, {"now": clock.now(), "lanes": Lane.values, "ranks": _RANKS})
        return {lane: max(float(seconds), 0.0) for lane, seconds in cursor.fetchall()}


def _scheduler_lag_seconds() -> float:
    due = WorkflowSchedule.objects.filter(next_slot_at__lte=clock.now()).order_by("next_slot_at")
    oldest = due.values_list("next_slot_at", flat=True).first()
    return (clock.now() - oldest).total_seconds() if oldest else 0.0


def _ended(trigger_type: str, status: str, error_code: str, took_ms: int, attempts: Iterable["Attempt"]) -> None:
    kind = workflow_type(trigger_type)
    _executions(status, kind).inc()
    _execution_seconds(kind).observe(took_ms / 1000)
    if status == ExecutionStatus.TIMEOUT:
        failures_total.labels(kind, metrics.TIMEOUT).inc()
    elif status == ExecutionStatus.FAILED:
        failures_total.labels(kind, metrics.failure_reason(error_code)).inc()
    if kind == WORKFLOW_TYPES[TriggerType.SCHEDULED]:
        scheduled_total.inc()
        scheduled_failures_total.inc(status in {ExecutionStatus.TIMEOUT, ExecutionStatus.FAILED})
    _time_steps(attempts)


def _progressed(trigger_type: str, retries: int, attempts: Iterable["Attempt"]) -> None:
    if retries:
        retries_total.labels(workflow_type(trigger_type)).inc(retries)
    _time_steps(attempts)


def _time_steps(attempts: Iterable["Attempt"]) -> None:
    for row in attempts:
        if row.status in _TIMED:
            _step_seconds(row.step_type).observe((row.execution_time_ms or 0) / 1000)
