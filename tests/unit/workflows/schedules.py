"""Schedules for tests, made through services, and a clock that is set to a moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django_celery_beat.models import IntervalSchedule, PeriodicTask

from core import clock
from workflows.models import ScheduleSlot, Workflow, WorkflowSchedule
from workflows.services import schedules


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@contextmanager
def at(*parts: int) -> Iterator[None]:
    """Set the product's clock to a moment; it goes on from there."""
    with clock.moved_by(seconds=(utc(*parts) - clock.now()).total_seconds()):
        yield


def every(seconds: int) -> IntervalSchedule:
    return IntervalSchedule.objects.get_or_create(every=seconds, period="seconds")[0]


def crontab(text: str, zone: str = "UTC") -> Any:
    return schedules.crontab_of(text, zone=zone)


def make_schedule(workflow: Workflow, *, policy: dict[str, Any] | None = None, **task: Any) -> WorkflowSchedule:
    """Make a periodic task for a workflow, as the admin does; `task` holds the task's columns."""
    row = PeriodicTask(name=f"task {PeriodicTask.objects.count()}", **task)
    schedules.save_schedule(row, actor="test", workflow=workflow, policy=schedules.Policy(**(policy or {})))
    return WorkflowSchedule.objects.get(periodic_task=row)


def schedule_of(workflow: Workflow) -> WorkflowSchedule:
    return WorkflowSchedule.objects.select_related("periodic_task__crontab").get(workflow=workflow)


def ledger(schedule: WorkflowSchedule) -> list[tuple[str, str, str]]:
    """Return (slot, outcome, reason) in the order of the slots."""
    rows = ScheduleSlot.objects.filter(schedule=schedule).order_by("slot_at")
    return [(f"{row.slot_at:%m-%d %H:%M:%S}", row.outcome, row.reason) for row in rows]
