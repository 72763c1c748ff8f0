"""What an operator does about steps that could not be undone (ENGINE 6)."""

from typing import Any

from django.db import transaction

from accounts import services as accounts
from core import clock
from core.errors import InvalidInput, Problem
from workflows import enqueue
from workflows.choices import BranchKind, CompensationStatus, ExecutionStatus, Lane, SagaStatus
from workflows.engine import slots
from workflows.errors import NothingToCompensate
from workflows.models import Branch, Execution, WorkflowInstance
from workflows.services import counters

OPEN = (CompensationStatus.OPEN, CompensationStatus.FAILED)


def open_entries(saga: WorkflowInstance) -> list[dict[str, Any]]:
    """Return the steps of a saga that are still to be undone, in the order in which that has to happen."""
    return [entry for entry in saga.steps_data if entry["status"] in OPEN]


def retry_compensation(execution: Execution, *, actor: str) -> WorkflowInstance:
    """Try once more to undo what could not be undone. Raises NothingToCompensate."""
    with transaction.atomic():
        saga = _locked(execution)
        for entry in open_entries(saga):
            entry["status"], entry["error"] = CompensationStatus.OPEN, None
        _save(saga, SagaStatus.COMPENSATING)
        _reopen(execution)
        _audit(execution, "compensation_retried", actor=actor, after={"open": _paths(saga)})
    return saga


def compensate_by_hand(execution: Execution, *, path: str, reason: str, actor: str) -> WorkflowInstance:
    """Note that a person has undone a step, and why. Raises NothingToCompensate, InvalidInput."""
    if not reason.strip():
        raise InvalidInput("A reason is required", problems=[Problem(("body", "reason"), "Field required", "missing")])
    with transaction.atomic():
        saga = _locked(execution)
        entry = next((item for item in open_entries(saga) if item["path"] == path), None)
        if entry is None:
            message = f"no step {path!r} is open; open are: {', '.join(_paths(saga))}"
            raise InvalidInput(message, problems=[Problem(("body", "step"), message)])
        entry["status"], entry["note"] = CompensationStatus.BY_HAND, f"{actor}: {reason}"
        _save(saga, SagaStatus.FAILED if open_entries(saga) else SagaStatus.COMPENSATED)
        _audit(execution, "compensated_by_hand", actor=actor, after={"step": path, "reason": reason})
    return saga


def _locked(execution: Execution) -> WorkflowInstance:
    """Return the saga of an ended execution that has open entries, locked. Raises NothingToCompensate."""
    saga = WorkflowInstance.objects.select_for_update().filter(execution=execution).first()
    if saga is None or saga.status != SagaStatus.FAILED or not open_entries(saga):
        raise NothingToCompensate(saga.status if saga else None)
    return saga


def _paths(saga: WorkflowInstance) -> list[str]:
    return [entry["path"] for entry in open_entries(saga)]


def _save(saga: WorkflowInstance, status: SagaStatus) -> None:
    saga.status = status
    saga.current_step = sum(entry["status"] not in OPEN for entry in saga.steps_data)
    saga.updated_at = clock.now()
    saga.save(update_fields=["status", "steps_data", "current_step", "updated_at"])


def _reopen(execution: Execution) -> None:
    """Give the ended execution a branch that goes on undoing; it ends as it did before."""
    slot_key = slots.key_of(execution.workflow, execution.trigger_data or {})
    waiting_on = slots.enter(execution.workflow, slot_key)
    Branch.objects.create(
        execution=execution,
        kind=BranchKind.COMPENSATION,
        cursor=-1,
        attempt=0,
        lane=Lane.FLOW,
        owner_id=execution.owner_id,
        workflow_id=execution.workflow_id,
        concurrency_key=slot_key,
        waiting_on=waiting_on,
        waiting_reason=slots.reason(execution.workflow) if waiting_on else "",
    )
    if waiting_on:
        slots.make_room(execution.workflow, slot_key)
    counters.take_back(execution)
    Execution.objects.filter(pk=execution.pk).update(
        status=ExecutionStatus.RUNNING,
        ends_as=execution.status,
        completed_at=None,
        wakes_branch_id=None,  # its end was told: who called it waits no more
        updated_at=clock.now(),
    )
    enqueue.ring_lane_on_commit(Lane.FLOW)


def _audit(execution: Execution, verb: str, *, actor: str, after: dict[str, Any]) -> None:
    accounts.record_audit(actor=actor, owner=execution.owner, action=f"execution.{verb}", target=execution, after=after)
