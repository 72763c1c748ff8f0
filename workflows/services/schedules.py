"""Writes of django-celery-beat's rows: the library stores them and tells its beat; here they are audited too."""

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import models, transaction
from django.forms.models import model_to_dict
from django_celery_beat.models import PeriodicTask, PeriodicTasks

from accounts import services as accounts
from core import jsonsafe

ScheduleT = TypeVar("ScheduleT", bound=models.Model)


def save_schedule(schedule: ScheduleT, *, actor: str) -> ScheduleT:
    """Save a periodic task, or an interval, crontab or other schedule that tasks refer to."""
    created = schedule.pk is None
    with transaction.atomic():
        before = (
            None if created else type(schedule)._default_manager.select_for_update(of=("self",)).get(pk=schedule.pk)
        )
        # The library's own save() tells every beat process that the schedules have changed.
        schedule.save()
        _audit(schedule, "created" if created else "updated", actor=actor, before=before)
    return schedule


def delete_schedule(schedule: models.Model, *, actor: str) -> None:
    """Delete a periodic task or a schedule, with the tasks that refer to it."""
    with transaction.atomic():
        _audit(schedule, "deleted", actor=actor, before=schedule, after=False)
        schedule.delete()


def set_tasks_enabled(tasks: Iterable[PeriodicTask], *, enabled: bool, actor: str) -> int:
    """Switch periodic tasks on or off. Returns how many changed."""
    changed = 0
    with transaction.atomic():
        for task in sorted(tasks, key=lambda item: item.pk):
            changed += PeriodicTask.objects.filter(pk=task.pk, enabled=not enabled).update(enabled=enabled)
            accounts.record_audit(
                actor=actor, owner=None, action="schedule.updated", target=task, after={"enabled": enabled}
            )
        PeriodicTasks.update_changed()
    return changed


def _audit(schedule: models.Model, verb: str, *, actor: str, before: models.Model | None, after: bool = True) -> None:
    accounts.record_audit(
        actor=actor,
        owner=None,
        action=f"schedule.{verb}",
        target=schedule,
        before=_values(before) if before else None,
        after=_values(schedule) if after else None,
    )


def _values(schedule: models.Model) -> dict[str, Any]:
    """Return the columns as JSON can hold them; what it cannot, as text."""
    return {name: _value(value) for name, value in model_to_dict(schedule).items()}


def _value(value: Any) -> Any:
    try:
        return jsonsafe.clean(value)[0]
    except jsonsafe.NotJson:
        return str(value)
