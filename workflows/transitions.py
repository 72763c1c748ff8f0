"""Status changes of waits, each one conditional UPDATE: of two that come at once, one wins.

Whoever wakes a branch with such a change holds the branch's row lock before (branch before wait, everywhere).
"""

from datetime import datetime
from typing import Any

from core import clock
from workflows.choices import ApprovalStatus, EventWaitStatus, SagaStatus
from workflows.models import Approval, EventWait, WorkflowInstance


def match_event_waits(wait_ids: list[int], event: dict[str, Any]) -> list[int]:
    """Give open waits their event. Returns the branches of those that were open."""
    found = EventWait.objects.filter(pk__in=wait_ids, status=EventWaitStatus.OPEN)
    branches = dict(found.select_for_update().order_by("pk").values_list("pk", "branch_id"))
    EventWait.objects.filter(pk__in=list(branches)).update(status=EventWaitStatus.MATCHED, event=event)
    return list(branches.values())


def expire_event_wait(wait_id: int) -> bool:
    """End an open wait whose deadline has come. False if an event came before."""
    found = EventWait.objects.filter(pk=wait_id, status=EventWaitStatus.OPEN)
    return bool(found.update(status=EventWaitStatus.EXPIRED))


def end_approval(
    approval_id: int, status: ApprovalStatus, *, decided_by: str = "", comment: str = "", now: datetime | None = None
) -> bool:
    """End a pending approval. False if it was not pending any more."""
    found = Approval.objects.filter(pk=approval_id, status=ApprovalStatus.PENDING)
    return bool(
        found.update(status=status, decided_by=decided_by[:255], comment=comment, decided_at=now or clock.now())
    )


def cancel_waits(execution_id: int) -> int:
    """End whatever an execution still waits for. Returns how many waits that were."""
    events = EventWait.objects.filter(execution_id=execution_id, status=EventWaitStatus.OPEN)
    approvals = Approval.objects.filter(execution_id=execution_id, status=ApprovalStatus.PENDING)
    return events.update(status=EventWaitStatus.CANCELLED) + approvals.update(
        status=ApprovalStatus.CANCELLED, decided_at=clock.now()
    )


def give_up_saga(execution_id: int) -> bool:
    """Leave to an operator what an execution has still to undo. False if it undoes nothing."""
    found = WorkflowInstance.objects.filter(execution_id=execution_id, status=SagaStatus.COMPENSATING)
    return bool(found.update(status=SagaStatus.FAILED, completed_at=clock.now(), updated_at=clock.now()))
