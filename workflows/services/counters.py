"""Totals of workflows: insert-only deltas, folded now and then (ENGINE 8)."""

from django.db import connection

from core import clock
from workflows.choices import ExecutionStatus
from workflows.models import CounterDelta, Execution

_FOLD = """
WITH gone AS (
  DELETE FROM workflow_counter_deltas WHERE id = ANY(ARRAY(
    SELECT id FROM workflow_counter_deltas ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED))
  RETURNING workflow_id, total, successful, failed, last_execution_at
), sums AS (
  SELECT workflow_id, sum(total) AS total, sum(successful) AS successful, sum(failed) AS failed,
    max(last_execution_at) AS last_at
  FROM gone GROUP BY workflow_id
)
UPDATE workflows w
SET total_executions = w.total_executions + sums.total,
    successful_executions = w.successful_executions + sums.successful,
    failed_executions = w.failed_executions + sums.failed,
    last_execution_at = GREATEST(w.last_execution_at, sums.last_at)
FROM sums WHERE w.id = sums.workflow_id
"""


def fold_counters() -> int:
    """Fold up to 10,000 deltas into their workflows' totals. Returns how many workflows changed."""
    with connection.cursor() as cursor:
        cursor.execute(_FOLD)
        return int(cursor.rowcount)


def take_back(execution: Execution) -> None:
    """Take back what an execution's end has counted, in the transaction that opens it again: it will end once more."""
    if execution.is_test:
        return
    CounterDelta.objects.create(
        workflow_id=execution.workflow_id,
        total=-1,
        successful=-int(execution.status == ExecutionStatus.COMPLETED),
        failed=-int(execution.status in (ExecutionStatus.FAILED, ExecutionStatus.TIMEOUT)),
        last_execution_at=execution.completed_at or clock.now(),
    )
