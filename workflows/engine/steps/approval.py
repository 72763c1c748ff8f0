"""`approval`: ask a user or a group, and wait for the answer or a deadline (ENGINE 3)."""

from datetime import datetime
from functools import partial
from typing import Any, Literal
from uuid import UUID

from django.contrib.auth.models import Group
from django.db.models import Q
from pydantic import AliasChoices, Field, ValidationInfo, field_validator

from accounts.models import User
from core import masking
from workflows import transitions
from workflows.choices import ApprovalStatus, Effect, WaitingOn
from workflows.engine.context import secret_needles
from workflows.engine.steps.base import Output, Step, StepContext, StepError, Wait
from workflows.engine.steps.deadline import DeadlineConfig, until_text
from workflows.engine.steps.registry import register
from workflows.models import Approval

Assignee = User | Group


class ApprovalConfig(DeadlineConfig):
    """Asks `user` (an email address or id; also called `assignee`) or the members of `group` (its name)."""

    user: str | None = Field(default=None, validation_alias=AliasChoices("user", "assignee", "assignee_user"))
    group: str | None = Field(
        default=None, validate_default=True, validation_alias=AliasChoices("group", "assignee_group")
    )
    message: str = Field(default="", max_length=10_000)
    on_timeout: Literal["fail", "reject", "approve", "continue"] = "fail"
    on_reject: Literal["fail", "continue"] = "fail"

    @field_validator("group")
    @classmethod
    def _asks_somebody(cls, value: str | None, info: ValidationInfo) -> str | None:
        if bool(info.data.get("user")) == bool(value):
            raise ValueError("give either user or group")
        return value


@register
class ApprovalStep(Step[ApprovalConfig]):
    """`decision` is approved, rejected or, with `on_timeout: continue`, timed_out."""

    type = "approval"
    title = "Ask for approval"
    config_model = ApprovalConfig
    output_keys = ("decision", "comment", "decided_by", "at", "timed_out")
    effect = Effect.PURE
    lane = None

    def run(self, config: ApprovalConfig, context: StepContext) -> Wait:
        assignee = _group(config.group) if config.group else _user(config.user or "")
        until = config.until()
        reason = f"waits for approval by {_name(assignee)}{until_text(until)}"
        return Wait(until, reason, on=WaitingOn.APPROVAL, begin=partial(_begin, config, context, assignee, until))

    def resume(self, config: ApprovalConfig, context: StepContext) -> Output:
        approval = _ended(config, context)
        output = _output(approval)
        if approval.status == ApprovalStatus.CANCELLED:
            raise StepError("wait_cancelled", "the wait was cancelled", retryable=False)
        if approval.status == ApprovalStatus.EXPIRED and config.on_timeout != "continue":
            message = f"{approval.assignee_name} did not decide in time"
            raise StepError("approval_timeout", message, retryable=False, output=output)
        if approval.status == ApprovalStatus.REJECTED and config.on_reject == "fail":
            raise StepError("rejected", _rejection(approval), retryable=False, output=output)
        return Output(output)


def _user(key: str) -> User:
    try:
        wanted = Q(pk=UUID(key))
    except ValueError:
        wanted = Q(email=key.strip().lower())
    found = User.objects.filter(wanted, is_active=True).first()
    if found is None:
        raise StepError("assignee_not_found", f"no active user {key!r}", retryable=False)
    return found


def _group(name: str) -> Group:
    found = Group.objects.filter(name=name).first()
    if found is None:
        raise StepError("assignee_not_found", f"no group {name!r}", retryable=False)
    return found


def _name(assignee: Assignee) -> str:
    return assignee.email if isinstance(assignee, User) else f"group {assignee.name}"


def _begin(
    config: ApprovalConfig, context: StepContext, assignee: Assignee, until: datetime | None, branch_id: int
) -> None:
    Approval.objects.create(
        execution_id=context.execution_id,
        branch_id=branch_id,
        path=context.path,
        attempt=context.attempt,
        owner_id=context.owner_id,
        assignee=assignee if isinstance(assignee, User) else None,
        group=assignee if isinstance(assignee, Group) else None,
        assignee_name=_name(assignee),
        message=masking.mask(config.message, secret_needles()),
        deadline_at=until,
    )


_AT_DEADLINE = {
    "fail": ApprovalStatus.EXPIRED,
    "continue": ApprovalStatus.EXPIRED,
    "reject": ApprovalStatus.REJECTED,
    "approve": ApprovalStatus.APPROVED,
}


def _ended(config: ApprovalConfig, context: StepContext) -> Approval:
    """Return the ended approval; one that is still pending meets its deadline here."""
    place = {"execution_id": context.execution_id, "path": context.path, "attempt": context.attempt}
    approval = Approval.objects.get(**place)
    if approval.status == ApprovalStatus.PENDING:
        transitions.end_approval(approval.pk, _AT_DEADLINE[config.on_timeout])
        approval.refresh_from_db()
    return approval


def _output(approval: Approval) -> dict[str, Any]:
    expired = approval.status == ApprovalStatus.EXPIRED
    return {
        "decision": "timed_out" if expired else approval.status,
        "comment": approval.comment or None,
        "decided_by": approval.decided_by or None,
        "at": None if approval.decided_at is None else approval.decided_at.isoformat().replace("+00:00", "Z"),
        "timed_out": not approval.decided_by,
    }


def _rejection(approval: Approval) -> str:
    by = f"by {approval.decided_by}" if approval.decided_by else "since nobody decided in time"
    return f"rejected {by}{f': {approval.comment}' if approval.comment else ''}"
