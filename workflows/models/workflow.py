"""What operators edit (Workflow) and what executions run (WorkflowVersion)."""

from typing import Any

from django.db import models

from accounts.models import Owner
from core import clock, ids
from workflows.choices import ConcurrencyPolicy, Dialect, WorkflowStatus


class Workflow(models.Model):
    """A named definition with its triggers. Saving a changed definition makes a WorkflowVersion."""

    uuid = models.UUIDField(default=ids.uuid7, unique=True, editable=False)
    owner = models.ForeignKey(Owner, on_delete=models.PROTECT, related_name="workflows", db_index=False)
    name = models.CharField(max_length=255)
    description = models.TextField(null=True, blank=True)  # noqa: DJ001  (the contract tells null from "")
    workflow_config = models.JSONField(default=dict, help_text="The definition as it was received.")
    trigger_config = models.JSONField(null=True, blank=True)
    dialect = models.CharField(max_length=1, choices=Dialect, default=Dialect.A)
    trigger_type = models.CharField(max_length=16, blank=True, help_text="Dialect B's own field.")
    cron_schedule = models.CharField(max_length=100, null=True, blank=True)  # noqa: DJ001
    is_scheduled = models.BooleanField(default=False)
    trigger_on_file_upload = models.BooleanField(default=False)
    trigger_file_extensions = models.CharField(max_length=255, null=True, blank=True)  # noqa: DJ001
    status = models.CharField(max_length=16, choices=WorkflowStatus, default=WorkflowStatus.ACTIVE)
    is_enabled = models.BooleanField(default=True)
    max_retries = models.IntegerField(default=3, help_text="Further attempts of a failed step.")
    timeout_seconds = models.IntegerField(default=300)
    timeout_is_explicit = models.BooleanField(
        default=False, help_text="Set by the author: wall clock. Otherwise only time not spent waiting counts."
    )
    strict_expressions = models.BooleanField(default=False, help_text="An unknown name fails the step.")
    concurrency_limit = models.IntegerField(null=True, blank=True, help_text="How many executions run at a time.")
    concurrency_key = models.CharField(max_length=255, blank=True, help_text="An expression; one limit per value.")
    concurrency_policy = models.CharField(max_length=16, choices=ConcurrencyPolicy, default=ConcurrencyPolicy.QUEUE)
    release_slot_while_waiting = models.BooleanField(
        default=False, help_text="An execution that waits lets another have its slot, and gets one again to go on."
    )
    published_version = models.ForeignKey(
        "WorkflowVersion", null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False
    )
    draft_version = models.ForeignKey(
        "WorkflowVersion", null=True, on_delete=models.PROTECT, related_name="+", db_constraint=False
    )
    # Totals up to the last fold; `workflow_counter_deltas` holds what came since (ENGINE 8).
    total_executions = models.BigIntegerField(default=0)
    successful_executions = models.BigIntegerField(default=0)
    failed_executions = models.BigIntegerField(default=0)
    last_execution_at = models.DateTimeField(null=True)
    template_id = models.BigIntegerField(null=True)
    template_version = models.CharField(max_length=32, blank=True)
    saga_id = models.CharField(max_length=64, blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)
    tenant_id = models.CharField(max_length=128, blank=True)
    # Null: the product's own settings (RETENTION_DAYS and its kin).
    retention_days = models.IntegerField(null=True, blank=True, help_text="How long ended executions are kept.")
    retention_failed_days = models.IntegerField(null=True, blank=True, help_text="How long failed ones are kept.")
    retention_count = models.IntegerField(null=True, blank=True, help_text="How many ended executions are kept.")
    created_by = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(default=clock.now)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "workflows"
        ordering = ("-id",)
        indexes = (
            # Reader: lists of one owner by status.
            models.Index(fields=("owner", "status", "-id"), name="workflows_by_owner_status"),
            # Reader: the evaluation of one owner's processed file.
            models.Index(
                fields=("owner",),
                name="workflows_file_triggers",
                condition=models.Q(trigger_on_file_upload=True, status=WorkflowStatus.ACTIVE, is_enabled=True),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} (#{self.pk})"

    @property
    def is_executable(self) -> bool:
        """True if the workflow may start (contract 5): active, enabled and not deleted."""
        return self.status == WorkflowStatus.ACTIVE and self.is_enabled


class WorkflowVersion(models.Model):
    """An immutable, numbered definition. An execution keeps its version for life."""

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="versions")
    number = models.IntegerField(help_text="From 1, per workflow.")
    dialect = models.CharField(max_length=1, choices=Dialect)
    source = models.TextField(help_text="The document as it was received.")
    definition = models.JSONField(
        help_text='Canonical: {"format": 1, "steps": [...], "variables": {...}, "settings": {...}}.'
    )
    sha256 = models.CharField(max_length=64)
    created_by = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        db_table = "workflow_versions"
        ordering = ("-number",)
        constraints = (models.UniqueConstraint(fields=("workflow", "number"), name="workflow_versions_number"),)

    def __str__(self) -> str:
        return f"version {self.number} of workflow {self.workflow_id}"

    @property
    def settings(self) -> dict[str, Any]:
        """Return the limits frozen with the definition: max_retries, timeout_seconds, …"""
        found: dict[str, Any] = self.definition.get("settings", {})
        return found
