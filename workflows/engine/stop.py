"""Stopping executions that nobody works on at the moment."""

from django.db import transaction

from core import clock, logs
from core.db import again_after_deadlock
from workflows import transitions
from workflows.choices import FINAL_STATUSES, LIVE_STATUSES, BranchKind, ExecutionStatus, StopReason
from workflows.engine import checkpoint, closing, program
from workflows.engine.checkpoint import Closing, Ending
from workflows.engine.lease import Claim
from workflows.models import Branch, Execution

log = logs.get(__name__)

AFTER_END = frozenset({BranchKind.COMPENSATION, BranchKind.FINALLY})


def request_stop(execution_id: int, reason: StopReason) -> bool:
    """Ask a live execution to stop; its owner obeys at the next checkpoint.

    False if it has already ended, or does only what comes before its end: undoing, and finally-steps.
    """
    changed = (
        Execution.objects.filter(pk=execution_id, ends_as="")
        .exclude(status__in=FINAL_STATUSES)
        .update(stop_requested=reason, updated_at=clock.now())
    )
    return bool(changed)


def stop_children(execution_id: int) -> None:
    """Ask the executions to stop that branches of this one waited for; theirs follow when they end."""
    live = Execution.objects.filter(parent=execution_id, wakes_branch_id__isnull=False, status__in=LIVE_STATUSES)
    for child_id in live.order_by("pk").values_list("pk", flat=True):
        request_stop(child_id, StopReason.CANCEL)
        end_unclaimed(child_id)


@again_after_deadlock
def end_unclaimed(execution_id: int) -> bool:
    """End an execution that was asked to stop, if no worker holds any of its branches.

    Compensation and steps never run beside a live attempt: a held branch is left to its holder, or to the
    sweep once the lease is over. Locks the branches, parents first (primary-key order).
    """
    with transaction.atomic():
        branches = _locked(execution_id)
        if not branches or any(branch.claimed_by or branch.kind in AFTER_END for branch in branches):
            return False
        execution = Execution.objects.get(pk=execution_id)
        claim = _as_claim(branches[0], execution)
        compiled = program.of_version(execution.version_id)
        close = closing.Close(claim, compiled) if closing.is_needed(compiled) else None
        _finish(claim, Ending(ExecutionStatus.CANCELLED), close)
    stop_children(execution_id)
    return True


@again_after_deadlock
def give_up(lost: Claim, *, code: str, message: str) -> None:
    """End the execution of a claim that cannot be run, without anything that would come before its end.

    Whatever else of it runs elsewhere is lost. How an execution that undoes its steps was to end, it ends.
    """
    with transaction.atomic():
        branches = _locked(lost.execution_id)
        mine = (lost.branch_id, lost.fence, lost.claimed_by)
        if not any((branch.pk, branch.fence, branch.claimed_by) == mine for branch in branches):
            return
        execution = Execution.objects.get(pk=lost.execution_id)
        ending = Ending(ExecutionStatus.FAILED, code, message)
        if execution.ends_as not in ("", ExecutionStatus.COMPLETED):
            ending = Ending(execution.ends_as, execution.error_code, execution.error_message)
        transitions.give_up_saga(execution.pk)
        _finish(_as_claim(branches[0], execution), ending, None)
    log.error("execution.given_up", execution_id=lost.execution_id, code=code, reason=message)
    stop_children(lost.execution_id)


def _locked(execution_id: int) -> list[Branch]:
    return list(Branch.objects.select_for_update().filter(execution_id=execution_id).order_by("pk"))


def _finish(root: Claim, ending: Ending, close: Closing | None) -> None:
    """End an execution with all its branches, locked by the caller, and its waits."""
    Branch.objects.filter(execution_id=root.execution_id).exclude(pk=root.branch_id).delete()
    transitions.cancel_waits(root.execution_id)
    checkpoint.finish(
        root,
        [],
        status=ExecutionStatus(ending.status),
        started_at=clock.now(),
        error_code=ending.error_code,
        error_message=ending.error_message,
        closing=close,
    )


def _as_claim(branch: Branch, execution: Execution) -> Claim:
    return Claim(
        branch_id=branch.pk,
        execution_id=execution.pk,
        cursor=branch.cursor,
        attempt=branch.attempt,
        fence=branch.fence,
        recoveries=branch.recoveries,
        was_waiting_on=branch.waiting_on,
        execution_uuid=execution.uuid,
        workflow_id=execution.workflow_id,
        version_id=execution.version_id,
        owner_id=execution.owner_id,
        status=execution.status,
        trigger_type=execution.trigger_type,
        trigger_data=execution.trigger_data,
        stop_requested=execution.stop_requested,
        correlation_id=execution.correlation_id,
        started_at=execution.started_at,
        deadline_at=execution.deadline_at,
        more_due=False,
        cause_chain=execution.cause_chain,
        claimed_by=branch.claimed_by,
    )
