"""Starting, stopping and retrying executions."""

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from core import clock, faults, health
from workflows import enqueue
from workflows.choices import FINAL_STATUSES, Lane, StepStatus, StopReason
from workflows.engine import launch, program, slots, stop
from workflows.engine.drain import drain
from workflows.engine.launch import Start
from workflows.engine.sweep import sweep, sweep_if_stale
from workflows.errors import (
    CompensationBegun,
    ExecutionEnding,
    ExecutionFinished,
    StepNotFailed,
    StepNotFound,
    WorkflowNotExecutable,
)
from workflows.models import Branch, Evaluation, Execution, StepAttempt, Workflow, WorkflowInstance
from workflows.services import counters

CONTINUATION_RANK = -10


@dataclass(frozen=True)
class Started:
    """The execution that answers a start; `created` is False if an earlier one had the same key."""

    execution_id: int
    execution_uuid: UUID
    created: bool


def start_execution(workflow: Workflow, start: Start) -> Started:
    """Insert an execution with its root branch, and ring its lane on commit.

    The row is the queue: with the broker down the execution is accepted all the same and runs when the sweep
    rings. A repeated start gets the first execution, also where a new one would be refused by now.
    Raises WorkflowNotExecutable, SlotsTaken, CauseRefused; InvalidInput for data that JSON cannot hold.
    """
    start = launch.keyed(workflow, start)
    if not workflow.is_executable or workflow.published_version_id is None:
        if first := launch.find_first(workflow, start):
            return Started(*first, created=False)
        raise WorkflowNotExecutable(workflow.status, enabled=workflow.is_enabled)
    return _start(workflow, workflow.published_version_id, start, is_test=False)


def run_draft(workflow: Workflow, start: Start) -> Started:
    """Run the draft as a test: not counted, not started by any trigger."""
    version_id = workflow.draft_version_id or workflow.published_version_id
    if version_id is None:
        raise WorkflowNotExecutable(workflow.status, enabled=workflow.is_enabled)
    return _start(workflow, version_id, launch.keyed(workflow, start), is_test=True)


def _start(workflow: Workflow, version_id: int, start: Start, *, is_test: bool) -> Started:
    with transaction.atomic():
        made = launch.insert_execution(workflow, version_id, start, is_test=is_test)
        if made is None:
            first = launch.find_first(workflow, start)
            assert first is not None  # noqa: S101  (its key refused the row)
            return Started(*first, created=False)
        faults.point("before_trigger_commit")
    faults.point("after_trigger_commit")
    return Started(*made, created=True)


def cancel_execution(execution: Execution) -> None:
    """Ask an execution to stop; it ends `cancelled`, at once if nobody works on it.

    Raises ExecutionFinished; ExecutionEnding while it undoes steps or runs its last.
    """
    if execution.status in FINAL_STATUSES or not stop.request_stop(execution.pk, StopReason.CANCEL):
        execution.refresh_from_db(fields=["status", "ends_as"])
        raise ExecutionEnding(execution.ends_as) if execution.ends_as else ExecutionFinished(execution.status)
    stop.end_unclaimed(execution.pk)


def retry_step(attempt: StepAttempt) -> Execution:
    """Run a failed step and those after it again, in the same execution (contract 6).

    An attempt whose outcome came late and well is not repeated: the run goes on after it.
    Raises CompensationBegun; StepNotFailed unless the step's latest attempt failed and the execution has ended.
    """
    with transaction.atomic():
        execution = Execution.objects.select_for_update().filter(pk=attempt.execution_id).first()
        if execution is None:  # pruned in this very moment
            raise StepNotFound
        latest = execution.attempts.filter(path=attempt.path).order_by("-attempt").first()
        if latest is None:
            raise StepNotFound
        resolved_late = latest.status == StepStatus.COMPLETED and execution.error_code == "outcome_unknown"
        if WorkflowInstance.objects.filter(execution=execution).exists():
            raise CompensationBegun
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
    slot_key = slots.key_of(execution.workflow, execution.trigger_data or {})
    waiting_on = slots.enter(execution.workflow, slot_key)
    Branch.objects.create(
        execution=execution,
        cursor=outermost.index,
        attempt=latest.attempt if resolved and outermost is failed else _next_attempt(execution, outermost),
        lane=lane,
        rank=execution.priority + CONTINUATION_RANK,
        concurrency_key=slot_key,
        waiting_on=waiting_on,
        waiting_reason=slots.reason(execution.workflow) if waiting_on else "",
        owner_id=execution.owner_id,
        workflow_id=execution.workflow_id,
    )
    if waiting_on:
        slots.make_room(execution.workflow, slot_key)
    counters.take_back(execution)
    Execution.objects.filter(pk=execution.pk).update(
        status="running",
        stop_requested="",
        error_code="",
        error_message=None,
        completed_at=None,
        execution_time_ms=None,
        deadline_at=None,
        wakes_branch_id=None,  # its end was told: who called it may wait for something else, or have ended
        updated_at=clock.now(),
    )
    enqueue.ring_lane_on_commit(lane)
