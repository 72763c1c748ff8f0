"""Deciding approvals."""

from django.db import connection, transaction

from accounts import services as accounts
from accounts.principal import Principal
from core import clock
from workflows import transitions
from workflows.choices import ApprovalStatus, WaitingOn
from workflows.engine import checkpoint
from workflows.errors import ApprovalNotPending, ApprovalNotYours
from workflows.models import Approval, Branch


def approve(approval: Approval, *, principal: Principal, comment: str = "") -> Approval:
    """Approve what a step asks for; its execution goes on. As `reject` otherwise."""
    return _decide(approval, ApprovalStatus.APPROVED, principal, comment)


def reject(approval: Approval, *, principal: Principal, comment: str = "") -> Approval:
    """Reject what a step asks for; the step fails, or goes on where it says so.

    One decision wins, once, before the deadline. Raises ApprovalNotYours; ApprovalNotPending.
    """
    return _decide(approval, ApprovalStatus.REJECTED, principal, comment)


def may_decide(approval: Approval, principal: Principal) -> bool:
    """Tell who may decide: the asked user, members of the asked group, superusers, and API keys of the same owner.

    Keys need the scope `execute`; the environment's keys act for every owner.
    """
    if principal.sees_all:
        return True
    if principal.user is None:
        return principal.owner.pk == approval.owner_id
    if approval.assignee_id is not None:
        return approval.assignee_id == principal.user.pk
    return approval.group_id is not None and principal.user.groups.filter(pk=approval.group_id).exists()


def _decide(approval: Approval, status: ApprovalStatus, principal: Principal, comment: str) -> Approval:
    if not may_decide(approval, principal):
        raise ApprovalNotYours(approval.assignee_name)
    now = clock.now()
    with transaction.atomic():
        in_time = approval.deadline_at is None or now < approval.deadline_at
        decided = (
            _is_waited_for(approval)
            and in_time
            and transitions.end_approval(approval.pk, status, decided_by=principal.actor, comment=comment, now=now)
        )
        # Named, so that the joined workflow stays.
        approval.refresh_from_db(fields=["status", "comment", "decided_by", "decided_at"])
        if not decided:
            raise ApprovalNotPending(_why_not(approval))
        with connection.cursor() as cursor:
            checkpoint.wake(cursor, approval.branch_id, waiting_on=WaitingOn.APPROVAL)
        accounts.record_audit(
            actor=principal.actor,
            owner=approval.owner,
            action=f"approval.{status}",
            target=approval,
            after={"status": status, "comment": comment, "execution_id": approval.execution_id, "step": approval.path},
        )
    return approval


def _is_waited_for(approval: Approval) -> bool:
    """Lock the branch, if it still waits: at its deadline a worker takes it, and a stop deletes it."""
    waiting = Branch.objects.select_for_update().filter(pk=approval.branch_id, waiting_on=WaitingOn.APPROVAL)
    return waiting.first() is not None


def _why_not(approval: Approval) -> str:
    if approval.status in (ApprovalStatus.APPROVED, ApprovalStatus.REJECTED):
        by = approval.decided_by or "its deadline"
        return f"Approval was already {approval.status} by {by} (at {approval.decided_at:%Y-%m-%d %H:%M:%S} UTC)"
    if approval.deadline_at is not None and approval.status != ApprovalStatus.CANCELLED:
        return f"Approval has expired (at {approval.deadline_at:%Y-%m-%d %H:%M:%S} UTC)"
    return "Approval is no longer asked for: its execution was stopped"
