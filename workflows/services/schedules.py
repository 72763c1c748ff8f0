"""Writes of schedules: django-celery-beat's rows are the truth, and a workflow's columns repeat what they say.

Whatever changes a schedule locks its workflow first, so that rows and columns change together; the beat tick
takes the same lock. The columns show the oldest schedule of a workflow; further ones live in the admin only.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, models, transaction
from django.forms.models import model_to_dict
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)

from accounts import services as accounts
from core import clock, jsonsafe, logs
from core.errors import InvalidInput, Problem
from workflows import timetables
from workflows.choices import MissedPolicy, OverlapPolicy
from workflows.models import Workflow, WorkflowSchedule
from workflows.schedule import BAD_CRON, LONGEST_CRON, Cron, is_cron
from workflows.services.audit import workflow_values

log = logs.get(__name__)

ScheduleT = TypeVar("ScheduleT", bound=models.Model)

# The name on the periodic tasks of workflows. Beat's tick starts those itself, never Celery's own clock.
RUN_TASK = "workflows.run_schedule"
LOOKUPS: dict[type[models.Model], str] = {
    PeriodicTask: "periodic_task",
    CrontabSchedule: "periodic_task__crontab",
    IntervalSchedule: "periodic_task__interval",
    ClockedSchedule: "periodic_task__clocked",
    SolarSchedule: "periodic_task__solar",
}
DERIVED = ("cron_text", "timetable", "anchor_at", "next_slot_at")
MOST_FOLLOWED = 500
KINDS = ("crontab", "interval", "clocked", "solar")
LONGEST_NAME_KEPT = 150


@dataclass(frozen=True)
class Policy:
    """What a workflow's schedule does beside its times. `input_data` is merged into the trigger's data."""

    input_data: dict[str, Any] = field(default_factory=dict)
    missed_policy: str = MissedPolicy.LATEST.value
    missed_window_seconds: int = 86_400
    overlap_policy: str = OverlapPolicy.SKIP.value


def save_schedule(
    row: ScheduleT,
    *,
    actor: str,
    workflow: Workflow | None = None,
    policy: Policy | None = None,
    cron: Cron | None = None,
) -> ScheduleT:
    """Save a periodic task, or an interval, crontab or other row that tasks refer to, with the workflows it starts.

    `workflow` makes a periodic task the workflow's; it stays so. `cron` gives a periodic task the shared crontab row
    of that expression and zone. Raises InvalidInput for times that a workflow cannot follow or no calendar holds, and
    for policies that contradict each other.
    """
    _check(policy)
    with transaction.atomic():
        if isinstance(row, PeriodicTask):
            row.crontab = crontab_of(cron.text, zone=cron.zone) if cron else row.crontab
            _check_kinds(row)
        timetables.check_row(row)
        locked = _lock_workflows(row, workflow)
        _write(row, actor=actor, workflow=workflow, policy=policy, cron_text=cron.text if cron else "")
        _mirror(locked, actor=actor)
    return row


def delete_schedule(row: models.Model, *, actor: str) -> None:
    """Delete a periodic task or a schedule, with the tasks that refer to it and their ledgers."""
    with transaction.atomic():
        locked = _lock_workflows(row)
        _delete(row, actor=actor)
        _mirror(locked, actor=actor)


def set_tasks_enabled(tasks: Iterable[PeriodicTask], *, enabled: bool, actor: str) -> int:
    """Switch periodic tasks on or off. Returns how many changed."""
    keys = sorted(task.pk for task in tasks)
    with transaction.atomic():
        locked = _lock(WorkflowSchedule.objects.filter(periodic_task__in=keys))
        changed = list(PeriodicTask.objects.filter(pk__in=keys, enabled=not enabled).order_by("pk"))
        for task in changed:
            task.enabled = enabled
            _write(task, actor=actor)
        _mirror(locked, actor=actor)
    return len(changed)


def follow_workflow(workflow: Workflow, *, actor: str) -> None:
    """Make the rows say what the workflow's saved columns say: `cron_schedule` and `is_scheduled`.

    Called inside the transaction that saved and locked the workflow. Raises InvalidInput.
    """
    cron = workflow.cron_schedule or None
    schedule = _shown(workflow)
    if schedule is None:
        if cron:
            _create(workflow, cron, actor=actor)
    elif cron is None and timetables.cron_of(schedule):
        _delete(schedule.periodic_task, actor=actor)
    elif (cron, workflow.is_scheduled) != (timetables.cron_of(schedule), schedule.periodic_task.enabled):
        _change(schedule, cron, enabled=workflow.is_scheduled, actor=actor)
    _repeat(workflow, otherwise=workflow.is_scheduled)


def stop_schedules(workflow: Workflow, *, actor: str) -> None:
    """Switch off every schedule of a workflow that was deleted, inside its deletion's transaction.

    The rows keep the ledger of past slots; nobody sees them any more, so their names are given free.
    """
    for task in PeriodicTask.objects.filter(workflow_schedule__workflow=workflow).order_by("pk"):
        task.enabled = False
        task.name = f"{task.name[:LONGEST_NAME_KEPT]} (deleted, schedule {task.pk})"
        _write(task, actor=actor)
    Workflow.objects.filter(pk=workflow.pk).update(is_scheduled=False)


def switch_off(schedule: WorkflowSchedule, *, actor: str) -> None:
    """Switch off a schedule that has done what it was made for; the caller holds both locks."""
    schedule.periodic_task.enabled = False
    _write(schedule.periodic_task, actor=actor)
    _mirror([schedule.workflow], actor=actor)


def follow_edits(*, everything: bool = False) -> int:
    """Derive next slots and columns anew where rows were edited by other means than these services.

    Looks at schedules not derived since `PeriodicTasks.last_update` moved, or at all of them. What somebody
    changes at this moment is left for the next call. Returns how many schedules said something new.
    """
    last_update = PeriodicTasks.last_change()
    if last_update is None:  # there is no periodic task, and there never was one
        return 0
    stale = WorkflowSchedule.objects.all() if everything else WorkflowSchedule.objects.exclude(derived_from=last_update)
    keys = list(stale.order_by("pk").values_list("pk", flat=True))
    changed = sum(
        _follow_some(keys[start : start + MOST_FOLLOWED], last_update) for start in range(0, len(keys), MOST_FOLLOWED)
    )
    if everything or keys:
        _forget_deleted()
    return changed


def follow_rows(schedule: WorkflowSchedule, *, actor: str) -> bool:
    """Derive the next slot and the workflow's columns anew if the schedule's rows changed. True if they did.

    The caller holds the locks of the schedule and its workflow.
    """
    if not timetables.derive(schedule, now=clock.now()):
        return False
    schedule.cron_text = _cron_text(schedule)
    schedule.save(update_fields=DERIVED)
    _mirror([schedule.workflow], actor=actor)
    return True


def _follow_some(keys: list[int], last_update: Any) -> int:
    """Derive these schedules anew; a row that nobody can read, such as one with an unknown zone, stops no other."""
    try:
        return _follow(keys, last_update)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        if len(keys) == 1:
            log.exception("schedule.unreadable", schedule_id=keys[0])
            return 0
        return sum(_follow_some([key], last_update) for key in keys)


def _follow(keys: list[int], last_update: Any) -> int:
    found = WorkflowSchedule.objects.filter(pk__in=keys).order_by("pk")
    with transaction.atomic():
        rows = found.select_related("workflow__owner", *timetables.ROWS)
        locked = list(rows.select_for_update(of=("self", "workflow"), skip_locked=True, no_key=True))
        changed = sum(follow_rows(schedule, actor="system") for schedule in locked)
        found.filter(pk__in=[schedule.pk for schedule in locked]).update(derived_from=last_update)
    return changed


def _forget_deleted() -> None:
    """Clear the columns of workflows whose periodic task was deleted behind the services' back."""
    orphans = Workflow.objects.filter(cron_schedule__gt="", schedules=None).select_related("owner").order_by("pk")
    with transaction.atomic():
        _mirror(orphans.select_for_update(of=("self",), skip_locked=True, no_key=True), actor="system")


def crontab_of(cron: str, *, zone: str) -> CrontabSchedule:
    """Return the shared row of a cron expression, made if there is none; rows are never edited for one user.

    Raises InvalidInput for what is no cron expression.
    """
    if not is_cron(cron):
        raise InvalidInput(BAD_CRON, problems=[Problem(("body", "cron_schedule"), BAD_CRON)])
    fields = dict(zip(timetables.CRON_FIELDS, cron.split(), strict=True))
    found = CrontabSchedule.objects.filter(timezone=zone, **fields).order_by("pk").first()
    return found or CrontabSchedule.objects.create(timezone=zone, **fields)


def _create(workflow: Workflow, cron: str, *, actor: str) -> None:
    name = f"Workflow {workflow.pk}"
    if PeriodicTask.objects.filter(name=name).exists():
        name = f"Workflow {workflow.uuid}"
    task = PeriodicTask(name=name, crontab=crontab_of(cron, zone="UTC"), enabled=workflow.is_scheduled)
    _write(task, actor=actor, workflow=workflow, cron_text=cron)


def _change(schedule: WorkflowSchedule, cron: str | None, *, enabled: bool, actor: str) -> None:
    """Give a schedule another cron expression, in the zone it has, or only switch it."""
    task = schedule.periodic_task
    if cron is not None:
        task.one_off = task.one_off and not task.clocked
        task.crontab = crontab_of(cron, zone=timetables.zone_of(task))
        task.interval = task.clocked = task.solar = None
    task.enabled = enabled
    _write(task, actor=actor, cron_text=cron or "")


def _write(
    row: models.Model,
    *,
    actor: str,
    workflow: Workflow | None = None,
    policy: Policy | None = None,
    cron_text: str = "",
) -> None:
    """Save a row, attach it to its workflow, derive what depends on it, and write the audit row."""
    before = None if row.pk is None else type(row)._default_manager.select_for_update(of=("self",)).get(pk=row.pk)
    values_before = _values(before) if before else None
    if isinstance(row, PeriodicTask) and (workflow or (before and hasattr(before, "workflow_schedule"))):
        row.task = RUN_TASK
    # The library's own save() moves PeriodicTasks.last_update, for every beat process to see.
    row.save()
    if isinstance(row, PeriodicTask):
        _attach(row, workflow, policy)
    for schedule in _schedules_of(row):
        _derive(schedule, cron_text)
    _audit(row, "updated" if before else "created", actor=actor, before=values_before, after=_values(row))


def _attach(task: PeriodicTask, workflow: Workflow | None, policy: Policy | None) -> None:
    wanted = asdict(policy) if policy else {}
    if workflow is not None and not WorkflowSchedule.objects.filter(periodic_task=task).exists():
        WorkflowSchedule.objects.create(periodic_task=task, workflow=workflow, **wanted)
    elif wanted:
        WorkflowSchedule.objects.filter(periodic_task=task).update(**wanted)


def _derive(schedule: WorkflowSchedule, cron_text: str) -> None:
    timetables.timetable_of(schedule)  # refuses what a workflow cannot follow
    schedule.cron_text = cron_text or schedule.cron_text
    schedule.cron_text = _cron_text(schedule)
    timetables.derive(schedule, now=clock.now())
    schedule.save(update_fields=DERIVED)


def _cron_text(schedule: WorkflowSchedule) -> str:
    """Return the cron expression to keep; none for a row, written by other means, that is too long to be one."""
    text = timetables.cron_of(schedule) or ""
    return text if len(text) <= LONGEST_CRON else ""


def _delete(row: models.Model, *, actor: str) -> None:
    _audit(row, "deleted", actor=actor, before=_values(row), after=None)
    row.delete()


def _lock_workflows(row: models.Model, workflow: Workflow | None = None) -> list[Workflow]:
    """Lock the workflows that a row's change concerns, in the order of their keys, and return them."""
    wanted = WorkflowSchedule.objects.none() if row.pk is None else _schedules_of(row)
    return _lock(wanted, *([workflow.pk] if workflow else []))


def _lock(schedules: models.QuerySet[WorkflowSchedule], *further: int) -> list[Workflow]:
    keys = {*schedules.order_by().values_list("workflow_id", flat=True), *further}
    if not keys:
        return []
    found = Workflow.objects.filter(pk__in=keys).order_by("pk").select_related("owner")
    return list(found.select_for_update(of=("self",), no_key=True))


def _schedules_of(row: models.Model) -> models.QuerySet[WorkflowSchedule]:
    found = WorkflowSchedule.objects.filter(**{LOOKUPS[type(row)]: row.pk})
    return found.select_related("workflow__owner", *timetables.ROWS).order_by("pk")


def _shown(workflow: Workflow) -> WorkflowSchedule | None:
    """Return the schedule that the workflow's columns show: its oldest."""
    return WorkflowSchedule.objects.filter(workflow=workflow).select_related(*timetables.ROWS).order_by("pk").first()


def _repeat(workflow: Workflow, *, otherwise: bool) -> bool:
    """Let the columns repeat what the rows say. True if that changed them.

    Without a row there is no cron expression, and `is_scheduled` is `otherwise`: a caller of the API may leave it
    true, which means a schedule that is never due (contract 13.6).
    """
    schedule = _shown(workflow)
    cron = timetables.cron_of(schedule) if schedule else None
    if cron and len(cron) > LONGEST_CRON:
        cron = None
    scheduled = schedule.periodic_task.enabled if schedule else otherwise
    if (workflow.cron_schedule, workflow.is_scheduled) == (cron, scheduled):
        return False
    workflow.cron_schedule, workflow.is_scheduled = cron, scheduled
    Workflow.objects.filter(pk=workflow.pk).update(cron_schedule=cron, is_scheduled=scheduled)
    return True


def _mirror(workflows: Iterable[Workflow], *, actor: str) -> None:
    """Repeat the rows in the columns of workflows, as a change of the workflow that is audited like any other."""
    for workflow in workflows:
        before = workflow_values(workflow)
        if _repeat(workflow, otherwise=False):
            workflow.updated_at = clock.now()
            workflow.save(update_fields=["updated_at"])
            accounts.record_audit(
                actor=actor,
                owner=workflow.owner,
                action="workflow.updated",
                target=workflow,
                before=before,
                after=workflow_values(workflow),
            )


def _check(policy: Policy | None) -> None:
    if policy is None:
        return
    problems = []
    if policy.missed_window_seconds < 1:
        problems.append(Problem(("body", "missed_window_seconds"), "At least one second."))
    if policy.missed_policy == MissedPolicy.ALL and policy.overlap_policy not in {
        OverlapPolicy.ALLOW,
        OverlapPolicy.QUEUE,
    }:
        sentence = "To run all missed slots, choose allow or queue: otherwise they would push each other aside."
        problems.append(Problem(("body", "overlap_policy"), sentence))
    if problems:
        raise InvalidInput(problems[0].msg, problems=problems)


def _check_kinds(task: PeriodicTask) -> None:
    """Refuse a task that is due in no way or in several, in our words; the library's save() would crash the page."""
    given = [kind for kind in KINDS if getattr(task, kind)]
    problems = [Problem(("body", kind), "Choose only one way to say when.") for kind in given[1:]]
    if not given:
        sentence = "Say when: give a cron expression, an interval or a single moment."
        problems.append(Problem(("body", "crontab"), sentence))
    if task.expires and task.expire_seconds is not None:
        problems.append(Problem(("body", "expires"), "Give an end or seconds to expire after, not both."))
    if problems:
        raise InvalidInput(problems[0].msg, problems=problems)
    task.one_off = task.one_off or bool(task.clocked)  # a single moment comes once


def _audit(
    row: models.Model, verb: str, *, actor: str, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> None:
    # Only a task belongs to one owner; crontabs and intervals are shared.
    found = _schedules_of(row).first() if isinstance(row, PeriodicTask) else None
    owner = found.workflow.owner if found else None
    accounts.record_audit(actor=actor, owner=owner, action=f"schedule.{verb}", target=row, before=before, after=after)


def _values(row: models.Model) -> dict[str, Any]:
    """Return the columns as JSON can hold them; what it cannot, as text. A workflow's task shows its policy too."""
    values = model_to_dict(row)
    if isinstance(row, PeriodicTask):
        own = WorkflowSchedule.objects.filter(periodic_task=row).first()
        names = ("workflow", "cron_text", *Policy.__dataclass_fields__)
        values |= model_to_dict(own, fields=names) if own else {}
    return {name: _value(value) for name, value in values.items()}


def _value(value: Any) -> Any:
    try:
        return jsonsafe.clean(value)[0]
    except jsonsafe.NotJson:
        return str(value)
