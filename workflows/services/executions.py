"""Starting, stopping and retrying executions."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Max

from core import clock, faults, health, ids, jsonsafe
from core.db import hot_cursor
from core.errors import InvalidInput
from workflows import enqueue
from workflows.choices import FINAL_STATUSES, Lane, Priority, StepStatus, StopReason, TriggerType
from workflows.engine import program, stop
from workflows.engine.drain import drain
from workflows.engine.sweep import sweep, sweep_if_stale
from workflows.errors import CauseRefused, ExecutionFinished, StepNotFailed, StepNotFound, WorkflowNotExecutable
from workflows.models import Branch, Evaluation, Execution, StepAttempt, Workflow

DEEPEST_CAUSE = 10
MOST_REPEATS = 3
CONTINUATION_RANK = -10


@dataclass(frozen=True)
class Start:
    """What a caller or a trigger asks for. `trigger_data` is what `{{trigger.x}}` and `{{input.x}}` see."""

    trigger_type: TriggerType
    trigger_data: dict[str, Any] = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    input_file_ids: list[int] = field(default_factory=list)
    correlation_id: str = ""
    idempotency_key: str | None = None
    cause_chain: tuple[int, ...] = ()


@dataclass(frozen=True)
class Started:
    """The execution that answers a start; `created` is False if an earlier one had the same key."""

    execution_id: int
    execution_uuid: UUID
    created: bool


_INSERT = """
WITH made AS (
  INSERT INTO workflow_executions (uuid, workflow_id, version_id, owner_id, trigger_type, trigger_data,
    execution_config, status, priority, stop_requested, error_code, retry_count, input_file_ids, output_file_ids,
    saga_id, correlation_id, tenant_id, idempotency_key, cause_chain, is_test, waited_ms, created_at, updated_at)
  VALUES (%(uuid)s, %(workflow)s, %(version)s, %(owner)s, %(trigger_type)s, %(trigger_data)s::jsonb,
    '{}', 'pending', %(priority)s, '', '', 0, %(files)s::jsonb, '[]',
    '', %(correlation)s, '', %(key)s, %(causes)s::jsonb, %(test)s, 0, %(now)s, %(now)s)
  ON CONFLICT (owner_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
  RETURNING id
)
INSERT INTO workflow_branches (execution_id, path, kind, cursor, attempt, lane, waiting_on, waiting_reason, rank,
  owner_id, workflow_id, concurrency_key, fence, claimed_by, recoveries)
SELECT id, '', 'root', %(cursor)s, 1, %(lane)s, '', '', %(priority)s, %(owner)s, %(workflow)s, '', 0, '', 0 FROM made
RETURNING execution_id
"""


def start_execution(workflow: Workflow, start: Start) -> Started:
    """Insert an execution with its root branch, and ring its lane on commit.

    The row is the queue: with the broker down the execution is accepted all the same and runs when the sweep
    rings. Raises WorkflowNotExecutable, CauseRefused; InvalidInput for data that JSON cannot hold.
    """
    if not workflow.is_executable or workflow.published_version_id is None:
        raise WorkflowNotExecutable(workflow.status, enabled=workflow.is_enabled)
    return _start(workflow, workflow.published_version_id, start, is_test=False)


def run_draft(workflow: Workflow, start: Start) -> Started:
    """Run the draft as a test: not counted, not started by any trigger."""
    version_id = workflow.draft_version_id or workflow.published_version_id
    if version_id is None:
        raise WorkflowNotExecutable(workflow.status, enabled=workflow.is_enabled)
    return _start(workflow, version_id, start, is_test=True)


def _start(workflow: Workflow, version_id: int, start: Start, *, is_test: bool) -> Started:
    refuse_loops(workflow, start.cause_chain)
    compiled = program.of_version(version_id)
    lane = compiled.lane_at(compiled.start) or Lane.FLOW
    execution_uuid = ids.uuid7()
    with transaction.atomic():
        with hot_cursor() as cursor:
            cursor.execute(
                _INSERT,
                _insert_values(workflow, start, execution_uuid, compiled.start, lane)
                | {"version": version_id, "test": is_test},
            )
            row = cursor.fetchone()
        if row is None:
            return _existing(workflow.owner_id, start.idempotency_key)
        enqueue.ring_lane_on_commit(lane)
        faults.point("before_trigger_commit")
    faults.point("after_trigger_commit")
    return Started(row[0], execution_uuid, created=True)


def refuse_loops(workflow: Workflow, cause_chain: tuple[int, ...]) -> None:
    """Refuse a start whose causes form a chain over 10 long, or hold this workflow three times (ENGINE 7)."""
    if len(cause_chain) >= DEEPEST_CAUSE:
        raise CauseRefused(
            f"refused: the chain of causes is {len(cause_chain)} workflows deep (at most {DEEPEST_CAUSE})"
        )
    if cause_chain.count(workflow.pk) >= MOST_REPEATS:
        raise CauseRefused(f"refused: workflow {workflow.pk} stands {MOST_REPEATS} times in its own chain of causes")


def cancel_execution(execution: Execution) -> None:
    """Ask an execution to stop; it ends `cancelled`, at once if nobody works on it.

    Raises ExecutionFinished.
    """
    if execution.status in FINAL_STATUSES or not stop.request_stop(execution.pk, StopReason.CANCEL):
        execution.refresh_from_db(fields=["status"])
        raise ExecutionFinished(execution.status)
    stop.end_unclaimed(execution.pk)


def retry_step(attempt: StepAttempt) -> Execution:
    """Run a failed step and those after it again, in the same execution (contract 6).

    An attempt whose outcome came late and well is not repeated: the run goes on after it.
    Raises StepNotFailed unless the step's latest attempt failed and the execution has ended.
    """
    with transaction.atomic():
        execution = Execution.objects.select_for_update().get(pk=attempt.execution_id)
        latest = execution.attempts.filter(path=attempt.path).order_by("-attempt").first()
        if latest is None:
            raise StepNotFound
        resolved_late = latest.status == StepStatus.COMPLETED and execution.error_code == "outcome_unknown"
        if execution.status not in FINAL_STATUSES or not (latest.status == StepStatus.FAILED or resolved_late):
            raise StepNotFailed(latest.status)
        _reopen(execution, latest, resolved=resolved_late)
    return execution


def drain_lane(lane: Lane) -> None:
    """Do what a bell asks for: run due branches, then sweep if nobody has for a while."""
    health.record_worker(lane)
    drain(lane)
    sweep_if_stale()


def sweep_workflows() -> int:
    """Ring for whatever was not heard: due branches and files to evaluate. Returns how many branches were due."""
    if Evaluation.objects.filter(evaluated_at=None).exists():
        enqueue.ring_lane(Lane.FLOW)
    return sweep()


def clean_trigger_data(data: dict[str, Any]) -> dict[str, Any]:
    """Return trigger data as jsonb can hold it. Raises InvalidInput."""
    try:
        cleaned, _ = jsonsafe.clean(data)
    except jsonsafe.NotJson as error:
        raise InvalidInput(f"trigger_data cannot be stored: {error}") from error
    found: dict[str, Any] = cleaned
    return found


def _insert_values(workflow: Workflow, start: Start, execution_uuid: UUID, cursor: int, lane: Lane) -> dict[str, Any]:
    return {
        "uuid": execution_uuid,
        "workflow": workflow.pk,
        "owner": workflow.owner_id,
        "trigger_type": start.trigger_type,
        "trigger_data": orjson.dumps(clean_trigger_data(start.trigger_data)).decode(),
        "priority": start.priority,
        "files": orjson.dumps(start.input_file_ids).decode(),
        "correlation": start.correlation_id[:128],
        "key": start.idempotency_key,
        "causes": orjson.dumps([*start.cause_chain, workflow.pk]).decode(),
        "now": clock.now(),
        "cursor": cursor,
        "lane": lane,
    }


def _existing(owner_id: int, key: str | None) -> Started:
    found = Execution.objects.values_list("pk", "uuid").get(owner_id=owner_id, idempotency_key=key)
    return Started(*found, created=False)


def _next_attempt(execution: Execution, node: program.Node) -> int:
    made = execution.attempts.filter(path=node.path, node=node.index).aggregate(highest=Max("attempt"))
    return int(made["highest"] or 0) + 1


def _reopen(execution: Execution, latest: StepAttempt, *, resolved: bool) -> None:
    """Give the execution a root branch again, at the step, inside the caller's transaction.

    Inside a conditional's action the conditional is open again too, so that its join can complete it. Inside a
    loop, a `parallel` or a graph the branch begins at that: it repeats only what was not done.
    """
    compiled = program.of_version(execution.version_id)
    failed = compiled.nodes[latest.node]
    outermost = (compiled.spawners_of(failed) or [failed])[0]
    parent = outermost.parent
    while parent is not None:
        outer = compiled.nodes[parent]
        execution.attempts.filter(path=outer.path).update(status=StepStatus.RUNNING, error_message=None)
        parent = outer.parent
    lane = compiled.lane_at(outermost.index) or Lane.FLOW
    Branch.objects.create(
        execution=execution,
        cursor=outermost.index,
        attempt=latest.attempt if resolved and outermost is failed else _next_attempt(execution, outermost),
        lane=lane,
        rank=execution.priority + CONTINUATION_RANK,
        owner_id=execution.owner_id,
        workflow_id=execution.workflow_id,
    )
    Execution.objects.filter(pk=execution.pk).update(
        status="running",
        stop_requested="",
        error_code="",
        error_message=None,
        completed_at=None,
        execution_time_ms=None,
        deadline_at=None,
        updated_at=clock.now(),
    )
    enqueue.ring_lane_on_commit(lane)
