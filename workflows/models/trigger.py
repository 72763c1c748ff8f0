"""What starts workflows: file evaluations, schedules and the ledger of their slots."""

from django.db import models
from django_celery_beat.models import PeriodicTask

from accounts.models import Owner
from core import clock
from workflows.choices import MissedPolicy, OverlapPolicy, SlotOutcome
from workflows.models.execution import Execution
from workflows.models.workflow import Workflow


class Evaluation(models.Model):
    """One processing of one file, held against every workflow of its owner: "why did it not fire?".

    Inserted as a request in the extraction's transaction; filled by a worker.
    """

    owner = models.ForeignKey(Owner, on_delete=models.PROTECT, related_name="+", db_index=False)
    file_id = models.BigIntegerField()
    processing_number = models.IntegerField()
    request = models.JSONField(help_text="The facts of the file at that moment (contract 13.6).")
    verdicts = models.JSONField(
        default=list, help_text="[{workflow_id, workflow, fired, reason, execution_id}] for every workflow looked at."
    )
    correlation_id = models.CharField(max_length=128, blank=True)
    evaluated_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        db_table = "workflow_evaluations"
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("file_id", "processing_number"), name="evaluations_once"),)
        indexes = (
            # Reader: the admin's list of one owner.
            models.Index(fields=("owner", "-id"), name="evaluations_by_owner"),
            # Reader: the evaluation's claim and sweep.
            models.Index(fields=("id",), name="evaluations_due", condition=models.Q(evaluated_at=None)),
            # Reader: retention.
            models.Index(fields=("created_at",), name="evaluations_by_age"),
        )

    def __str__(self) -> str:
        return f"evaluation of file {self.file_id}, processing {self.processing_number}"


class WorkflowSchedule(models.Model):
    """What a django-celery-beat row starts, and its next slot (ENGINE 7)."""

    periodic_task = models.OneToOneField(PeriodicTask, on_delete=models.CASCADE, related_name="workflow_schedule")
    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="schedules")
    input_data = models.JSONField(default=dict)
    cron_text = models.CharField(max_length=100, blank=True, help_text="The cron expression as it was typed.")
    missed_policy = models.CharField(max_length=16, choices=MissedPolicy, default=MissedPolicy.LATEST)
    missed_window_seconds = models.IntegerField(default=86_400, help_text="How far back missed slots are run by `all`.")
    overlap_policy = models.CharField(max_length=16, choices=OverlapPolicy, default=OverlapPolicy.SKIP)
    timetable = models.TextField(blank=True, help_text="What next_slot_at was derived from; empty while switched off.")
    anchor_at = models.DateTimeField(null=True, help_text="What an interval counts from.")
    next_slot_at = models.DateTimeField(null=True)
    derived_from = models.DateTimeField(null=True, help_text="PeriodicTasks.last_update that next_slot_at reflects.")

    class Meta:
        db_table = "workflow_schedules"
        indexes = (
            # Reader: the beat tick.
            models.Index(
                fields=("next_slot_at",), name="schedules_due", condition=models.Q(next_slot_at__isnull=False)
            ),
        )

    def __str__(self) -> str:
        return f"schedule of workflow {self.workflow_id}"


class ScheduleSlot(models.Model):
    """The ledger: what became of each slot of a schedule, once."""

    schedule = models.ForeignKey(WorkflowSchedule, on_delete=models.CASCADE, related_name="slots")
    slot_at = models.DateTimeField()
    outcome = models.CharField(max_length=16, choices=SlotOutcome)
    reason = models.CharField(max_length=255, blank=True)
    execution = models.ForeignKey(
        Execution, null=True, on_delete=models.SET_NULL, related_name="+", db_constraint=False
    )
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        db_table = "workflow_schedule_slots"
        ordering = ("-slot_at",)
        constraints = (models.UniqueConstraint(fields=("schedule", "slot_at"), name="schedule_slots_once"),)
        indexes = (
            # Reader: the beat tick, slots that wait for earlier executions.
            models.Index(
                fields=("schedule", "slot_at"),
                name="schedule_slots_queued",
                condition=models.Q(outcome=SlotOutcome.QUEUED),
            ),
            # Reader: retention.
            models.Index(fields=("created_at",), name="schedule_slots_by_age"),
        )

    def __str__(self) -> str:
        return f"{self.outcome} at {self.slot_at}"
