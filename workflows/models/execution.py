"""What runs: executions, their claimable branches and their step attempts.

The engine's protocol over these tables is in `workflows.engine`; nothing else writes to branches.
"""

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Now

from accounts.models import Owner
from core import clock, ids
from workflows.choices import (
    BranchKind,
    Effect,
    ExecutionStatus,
    Lane,
    Priority,
    StepStatus,
    StopReason,
    TriggerType,
    WaitingOn,
)
from workflows.models.workflow import Workflow, WorkflowVersion


class Execution(models.Model):
    """One run of one version of a workflow. Outputs and logs are read from its step attempts."""

    uuid = models.UUIDField(default=ids.uuid7, editable=False)
    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="executions", db_index=False)
    version = models.ForeignKey(WorkflowVersion, on_delete=models.PROTECT, related_name="+", db_index=False)
    owner = models.ForeignKey(Owner, on_delete=models.PROTECT, related_name="+", db_index=False)
    trigger_type = models.CharField(max_length=16, choices=TriggerType)
    trigger_data = models.JSONField(null=True)
    execution_config = models.JSONField(default=dict, help_text="What the caller asked for beside the data.")
    status = models.CharField(max_length=16, choices=ExecutionStatus, default=ExecutionStatus.PENDING)
    priority = models.SmallIntegerField(choices=Priority, default=Priority.NORMAL)
    stop_requested = models.CharField(max_length=16, choices=StopReason, blank=True)
    ends_as = models.CharField(
        max_length=16, blank=True, db_default="", help_text="Its final status, while it undoes steps or runs the last."
    )
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(null=True)  # noqa: DJ001  (null in the contract)
    retry_count = models.IntegerField(default=0)
    input_file_ids = models.JSONField(default=list)
    output_file_ids = models.JSONField(default=list)
    saga_id = models.CharField(max_length=64, blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)
    tenant_id = models.CharField(max_length=128, blank=True)
    idempotency_key = models.CharField(max_length=255, null=True)  # noqa: DJ001  (unique unless null)
    rerun_of = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="+", db_constraint=False, db_index=False
    )
    parent = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="children", db_constraint=False, db_index=False
    )
    wakes_branch_id = models.BigIntegerField(null=True, help_text="The parent's branch that waits for the end.")
    cause_chain = models.JSONField(default=list, help_text="Workflow ids from the first cause to this one.")
    is_test = models.BooleanField(default=False, help_text="A run of a draft; counted apart.")
    deadline_at = models.DateTimeField(null=True, help_text="When the whole execution times out.")
    waited_ms = models.BigIntegerField(default=0, help_text="Time spent waiting, which the default limit leaves out.")
    execution_time_ms = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        db_table = "workflow_executions"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("owner", "idempotency_key"),
                name="executions_idempotency_key",
                condition=models.Q(idempotency_key__isnull=False),
            ),
        )
        indexes = (
            # Reader: /workflows/{id}/executions, with and without a status.
            models.Index(fields=("workflow", "-id"), name="executions_by_workflow"),
            # Reader: /executions of one owner, newest first.
            models.Index(fields=("owner", "-id"), name="executions_by_owner"),
            # Reader: lists and health by status; the deadline sweep reads the live ones.
            models.Index(fields=("status", "-id"), name="executions_by_status"),
            models.Index(
                fields=("deadline_at",),
                name="executions_deadline",
                condition=models.Q(status__in=("pending", "running"), deadline_at__isnull=False),
            ),
            # Reader: health's last 24 hours; retention.
            models.Index(
                fields=("completed_at",),
                name="executions_by_completion",
                condition=models.Q(completed_at__isnull=False),
            ),
            # Reader: the sweep, executions that were asked to stop.
            models.Index(
                fields=("id",),
                name="executions_stopping",
                condition=models.Q(status__in=("pending", "running")) & ~models.Q(stop_requested=""),
            ),
            # Reader: the children of a parent, and what was run again; few rows have either.
            models.Index(fields=("parent",), name="executions_by_parent", condition=models.Q(parent__isnull=False)),
            # Reader: the sweep, children whose parent has ended before them.
            models.Index(
                fields=("parent",),
                name="executions_live_children",
                condition=models.Q(wakes_branch_id__isnull=False, status__in=("pending", "running")),
            ),
            models.Index(fields=("rerun_of",), name="executions_by_rerun", condition=models.Q(rerun_of__isnull=False)),
            # Reader: the admin's filter by trigger.
            models.Index(fields=("trigger_type", "-id"), name="executions_by_trigger"),
            # Reader: /api by uuid.
            models.Index(fields=("uuid",), name="executions_by_uuid"),
            # Reader: the page of a file, which executions had it as input.
            GinIndex(
                fields=("input_file_ids",),
                opclasses=("jsonb_path_ops",),
                name="executions_by_input_file",
                condition=~models.Q(input_file_ids=[]),
            ),
        )

    def __str__(self) -> str:
        return f"execution {self.pk}"


class Branch(models.Model):
    """The claimable unit: a small, hot table. A branch is deleted in the transaction that ends it."""

    # The unique (execution, path) serves look-ups by execution.
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="branches", db_index=False)
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="children", db_index=False)
    path = models.CharField(max_length=512, blank=True, help_text="Prefix of its steps' paths; empty for the root.")
    kind = models.CharField(max_length=16, choices=BranchKind, default=BranchKind.ROOT)
    cursor = models.IntegerField(default=0, help_text="Index of the next node in the version's program.")
    attempt = models.IntegerField(
        default=1, help_text="Attempt number of the node at the cursor; 0: the one after those it has."
    )
    first_item = models.IntegerField(null=True, help_text="The present item of a foreach chunk (100 at most).")
    last_item = models.IntegerField(null=True)
    ended = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        help_text="What its ended children came to: [{name, error, error_code}], of a loop the failed items only.",
    )
    failed_items = models.JSONField(
        default=list, db_default=models.Value([], models.JSONField()), help_text="Of a foreach chunk, as `ended`."
    )
    lane = models.CharField(max_length=8, choices=Lane, default=Lane.FLOW)
    wake_at = models.DateTimeField(null=True)
    waiting_on = models.CharField(max_length=16, choices=WaitingOn, blank=True)
    waiting_reason = models.CharField(max_length=512, blank=True, help_text="A sentence for people.")
    # Continuation before new start, then the execution's priority: one number, so that an index sorts by it.
    rank = models.SmallIntegerField(default=0)
    owner_id = models.BigIntegerField()
    workflow_id = models.BigIntegerField()
    concurrency_key = models.CharField(max_length=255, blank=True)
    slot_released = models.BooleanField(
        default=False, db_default=False, help_text="It waits without its slot, and needs one again to go on."
    )
    lease_until = models.DateTimeField(null=True)
    fence = models.BigIntegerField(default=0)
    claimed_by = models.CharField(max_length=64, blank=True, default="")
    recoveries = models.IntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "workflow_branches"
        constraints = (models.UniqueConstraint(fields=("execution", "path"), name="branches_execution_path"),)
        indexes = (
            # Reader: claim, ready branches of a lane, those of each owner's workflow in order.
            models.Index(
                fields=("lane", "owner_id", "workflow_id", "rank", "id"),
                name="branches_ready",
                condition=models.Q(claimed_by="", waiting_on=""),
            ),
            # Reader: claim and sweep, branches whose timer rings.
            models.Index(
                fields=("lane", "wake_at"),
                name="branches_timer",
                condition=models.Q(claimed_by="", wake_at__isnull=False),
            ),
            # Readers: `engine.slots`, who holds a slot of a key and who waits for one, the next first.
            models.Index(
                fields=("workflow_id", "concurrency_key", "id"),
                name="branches_slot_holders",
                condition=~models.Q(concurrency_key="") & ~models.Q(waiting_on="slot") & models.Q(slot_released=False),
            ),
            models.Index(
                fields=("workflow_id", "concurrency_key", "rank", "id"),
                name="branches_slot_waiters",
                condition=~models.Q(concurrency_key="") & models.Q(waiting_on="slot"),
            ),
            # Reader: `engine.slots`, timers that rang while their execution had no slot.
            models.Index(
                fields=("wake_at",),
                name="branches_slotless_timer",
                condition=models.Q(slot_released=True, wake_at__isnull=False),
            ),
            # Reader: joins, the children of a parent.
            models.Index(fields=("parent",), name="branches_by_parent", condition=models.Q(parent__isnull=False)),
            # Reader: sweep, leases that ran out.
            models.Index(
                fields=("lease_until",), name="branches_leased", condition=models.Q(lease_until__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"branch {self.path or '/'} of execution {self.execution_id}"


class StepAttempt(models.Model):
    """One attempt at one step. The contract's Step is the latest attempt of a path."""

    execution = models.ForeignKey(
        Execution, on_delete=models.CASCADE, related_name="attempts", db_constraint=False, db_index=False
    )
    path = models.CharField(max_length=512)
    scope = models.CharField(
        max_length=512, blank=True, db_default="", help_text="Path of the loop's item or parallel branch it ran in."
    )
    attempt = models.IntegerField(default=1)
    node = models.IntegerField(help_text="Index in the version's program.")
    step_order = models.IntegerField(help_text="From 1 in its list.")
    step_name = models.CharField(max_length=255)
    step_type = models.CharField(max_length=64)
    effect = models.CharField(max_length=16, choices=Effect)
    status = models.CharField(max_length=16, choices=StepStatus)
    input_data = models.JSONField(null=True, help_text="The config after expressions, secrets masked.")
    output_data = models.JSONField(null=True)
    spill_id = models.BigIntegerField(null=True, help_text="Spill that holds the output, where it is large.")
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(null=True)  # noqa: DJ001
    warnings = models.JSONField(default=list)
    log = models.JSONField(default=list, help_text="Lines the step wrote: [{level, message}].")
    made_by = models.CharField(max_length=64, blank=True, help_text="The process that began the attempt.")
    execution_time_ms = models.BigIntegerField(null=True)
    deadline_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "workflow_execution_steps"
        ordering = ("node", "attempt")
        constraints = (models.UniqueConstraint(fields=("execution", "path", "attempt"), name="step_attempts_once"),)
        indexes = (
            # Reader: retention.
            models.Index(fields=("created_at",), name="step_attempts_by_age"),
            # Reader: the sweep of outputs in the storage that no attempt names.
            models.Index(
                fields=("spill_id",), name="step_attempts_spilled", condition=models.Q(spill_id__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"{self.path} #{self.attempt} of execution {self.execution_id}"


class CounterDelta(models.Model):
    """What an execution's end adds to its workflow's totals, or takes back; folded by the sweep, summed on read."""

    workflow_id = models.BigIntegerField()
    successful = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    total = models.IntegerField(default=1)
    last_execution_at = models.DateTimeField()

    class Meta:
        db_table = "workflow_counter_deltas"
        indexes = (models.Index(fields=("workflow_id",), name="counter_deltas_by_workflow"),)

    def __str__(self) -> str:
        return f"{self.total:+} for workflow {self.workflow_id}"


class WorkflowInstance(models.Model):
    """A saga that was started by a caller, or by an execution with compensations (ENGINE 6)."""

    uuid = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    owner = models.ForeignKey(Owner, on_delete=models.PROTECT, related_name="+")
    execution = models.ForeignKey(Execution, null=True, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    saga_type = models.CharField(max_length=64)
    status = models.CharField(max_length=16, default="initializing")
    current_step = models.IntegerField(default=0)
    total_steps = models.IntegerField(default=0)
    input_data = models.JSONField(default=dict)
    output_data = models.JSONField(default=dict)
    steps_data = models.JSONField(default=list)
    metadata = models.JSONField(default=dict)
    error_message = models.TextField(blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)
    tenant_id = models.CharField(max_length=128, blank=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now)

    class Meta:
        db_table = "workflow_instances"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.saga_type} {self.uuid}"
