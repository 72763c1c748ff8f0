"""What steps wait for beside time: events and people. A row is made with its wait, and keeps what came of it.

Status changes are in `workflows.transitions`.
"""

from django.contrib.auth.models import Group
from django.db import models

from accounts.models import Owner, User
from core import clock, ids
from workflows.choices import ApprovalStatus, EventWaitStatus
from workflows.models.execution import Execution


class EventWait(models.Model):
    """A `wait_for_event` step's attempt. It takes one event: the first that matches."""

    execution = models.ForeignKey(
        Execution, on_delete=models.CASCADE, related_name="event_waits", db_constraint=False, db_index=False
    )
    branch_id = models.BigIntegerField(help_text="The branch to wake.")
    path = models.CharField(max_length=512)
    attempt = models.IntegerField()
    owner_id = models.BigIntegerField()
    event_type = models.CharField(max_length=128, help_text="As the step spells it.")
    event_key = models.CharField(max_length=128, help_text="The type with '_' for '.': both spellings are one.")
    filter = models.JSONField(null=True, help_text="Condition over the event; null takes every event.")
    names = models.JSONField(default=dict, help_text="What the filter uses of the execution, as of the wait's begin.")
    since = models.DateTimeField(help_text="Earlier events do not count.")
    deadline_at = models.DateTimeField(null=True)
    status = models.CharField(max_length=16, choices=EventWaitStatus, default=EventWaitStatus.OPEN)
    event = models.JSONField(null=True, help_text="{id, type, data, at} of what matched.")
    problem = models.CharField(max_length=512, blank=True, help_text="Why the filter could not be decided, last.")
    scanned_at = models.DateTimeField(null=True, help_text="When the events before the wait were looked through.")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        db_table = "workflow_event_waits"
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=("execution", "path", "attempt"), name="event_waits_once"),)
        indexes = (
            # Reader: the dispatcher, waits for an event of a type and owner.
            models.Index(fields=("event_key", "owner_id"), name="event_waits_open", condition=models.Q(status="open")),
            # Reader: the sweep, waits whose worker died before it looked back.
            models.Index(
                fields=("id",), name="event_waits_unscanned", condition=models.Q(status="open", scanned_at=None)
            ),
        )

    def __str__(self) -> str:
        return f"wait for {self.event_type} of execution {self.execution_id}"


class Approval(models.Model):
    """An `approval` step's attempt: a question to a user or a group."""

    uuid = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    execution = models.ForeignKey(
        Execution, on_delete=models.CASCADE, related_name="approvals", db_constraint=False, db_index=False
    )
    branch_id = models.BigIntegerField(help_text="The branch to wake.")
    path = models.CharField(max_length=512)
    attempt = models.IntegerField()
    owner = models.ForeignKey(Owner, on_delete=models.PROTECT, related_name="+", db_index=False)
    assignee = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    group = models.ForeignKey(Group, null=True, on_delete=models.SET_NULL, related_name="+")
    assignee_name = models.CharField(max_length=300, help_text="'group Finance' or an email address, as of then.")
    message = models.TextField(blank=True)
    deadline_at = models.DateTimeField(null=True)
    status = models.CharField(max_length=16, choices=ApprovalStatus, default=ApprovalStatus.PENDING)
    comment = models.TextField(blank=True)
    decided_by = models.CharField(max_length=255, blank=True, help_text="Empty where the deadline decided.")
    decided_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        db_table = "workflow_approvals"
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("execution", "path", "attempt"), name="approvals_once"),)
        indexes = (
            # Reader: /approvals of one owner, newest first.
            models.Index(fields=("owner", "-id"), name="approvals_by_owner"),
            # Reader: the inbox and /approvals?pending=true.
            models.Index(fields=("-id",), name="approvals_pending", condition=models.Q(status="pending")),
        )

    def __str__(self) -> str:
        return f"approval by {self.assignee_name}"
