"""The beat tick of schedules: every slot that is due becomes a ledger row, once, and what the policies say.

Ledger row, execution and next slot are one transaction under the locks of the schedule and its workflow, so any
number of beats may tick, and one that dies in the middle leaves the slot to the next.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F, Min
from django_celery_beat.models import PeriodicTask

from core import clock, faults, logs
from workflows import metrics, timetables
from workflows.choices import (
    LIVE_STATUSES,
    MissedPolicy,
    OverlapPolicy,
    SlotOutcome,
    StopReason,
    TriggerType,
    WorkflowStatus,
)
from workflows.engine import stop
from workflows.engine.launch import Start
from workflows.models import Execution, ScheduleSlot, Workflow, WorkflowSchedule
from workflows.schedule import Timetable
from workflows.services import schedules
from workflows.services.executions import Started, start_execution

log = logs.get(__name__)

SCHEDULES_PER_TICK = 1000
# After a long pause no more than so many slots are looked at one by one, and written: the newest.
MOST_SLOTS = 1000
MOST_QUEUED = 100
LONGEST_REASON = 255
_TICK = timedelta(microseconds=1)
_looked_at = 0.0


@dataclass(frozen=True)
class Verdict:
    """What becomes of a slot, and why in a sentence."""

    outcome: SlotOutcome
    reason: str = ""
    execution_id: int | None = None


def run_due_slots() -> float | None:
    """Decide every slot that is due, and start queued ones whose turn has come.

    Returns in how many seconds the next slot is due, or None if there is none.
    """
    for key in _due_keys():
        _guarded(_take, key)
    for key in _queued_keys():
        _guarded(_start_queued, key)
    next_at = WorkflowSchedule.objects.filter(next_slot_at__isnull=False).aggregate(at=Min("next_slot_at"))["at"]
    return None if next_at is None else (next_at - clock.now()).total_seconds()


def run_overdue_slots() -> None:
    """Run due slots every SCHEDULER_CHECK_INTERVAL seconds of this process: for workers, should no beat be alive."""
    global _looked_at
    now = time.monotonic()
    if now - _looked_at >= settings.SCHEDULER_CHECK_INTERVAL_SECONDS:
        _looked_at = now
        schedules.follow_edits()
        run_due_slots()


def run_now(schedule: WorkflowSchedule) -> Started:
    """Start the schedule's workflow at once with the schedule's input; no slot is used up.

    Raises WorkflowNotExecutable, InvalidInput.
    """
    return start_execution(
        schedule.workflow, Start(trigger_type=TriggerType.MANUAL, trigger_data=_trigger_data(schedule, clock.now()))
    )


def split_due(
    due: list[datetime], *, now: datetime, policy: str, window_seconds: int
) -> tuple[list[datetime], list[datetime]]:
    """Return which of the due slots run and which were missed, both in the order of time.

    Nothing is missed while the oldest is younger than SCHEDULER_CHECK_INTERVAL. After a longer pause the policy
    decides about all of them.
    """
    grace = timedelta(seconds=settings.SCHEDULER_CHECK_INTERVAL_SECONDS)
    if not due or now - due[0] <= grace:
        return due, []
    if policy == MissedPolicy.LATEST:
        return due[-1:], due[:-1]
    oldest = now - (timedelta(seconds=window_seconds) if policy == MissedPolicy.ALL else grace)
    return [slot for slot in due if slot >= oldest], [slot for slot in due if slot < oldest]


def _due_keys() -> list[int]:
    due = WorkflowSchedule.objects.filter(next_slot_at__lte=clock.now()).order_by("next_slot_at", "pk")
    return list(due.values_list("pk", flat=True)[:SCHEDULES_PER_TICK])


def _queued_keys() -> list[int]:
    queued = ScheduleSlot.objects.filter(outcome=SlotOutcome.QUEUED).order_by("schedule_id")
    return list(queued.values_list("schedule_id", flat=True).distinct()[:SCHEDULES_PER_TICK])


def _guarded(take: Any, key: int) -> None:
    """Decide one schedule in its own transaction; one that breaks never stops the others."""
    try:
        with transaction.atomic():
            stopped = take(key)
            faults.point("before_slot_commit")
        faults.point("after_slot_commit")
        for execution_id in stopped:
            stop.end_unclaimed(execution_id)
    except (OperationalError, InterfaceError):
        raise  # a passing fault of the database: the slot stays due
    except Exception:
        log.exception("schedule.failed", schedule_id=key)


def _claimed(key: int, **conditions: Any) -> WorkflowSchedule | None:
    """Lock a schedule and its workflow, unless somebody else holds one of them."""
    found = WorkflowSchedule.objects.filter(pk=key, **conditions).select_related("workflow__owner", *timetables.ROWS)
    return found.select_for_update(of=("self", "workflow"), skip_locked=True, no_key=True).first()


def _take(key: int) -> list[int]:
    """Write the ledger of one schedule's due slots. Returns executions that were asked to stop."""
    now = clock.now()
    schedule = _claimed(key, next_slot_at__lte=now)
    if schedule is None:
        return []
    if schedules.follow_rows(schedule, actor="system"):  # edited a moment ago: what was due before does not count
        return []
    timetable = timetables.timetable_of(schedule)
    due, older_from = _due_slots(schedule, timetable, now)
    run, missed = split_due(due, now=now, policy=schedule.missed_policy, window_seconds=schedule.missed_window_seconds)
    _record_missed(schedule, missed, older_from)
    stopped = [execution for slot in run for execution in _run_slot(schedule, slot)]
    schedule.next_slot_at = timetable.first(max(due[-1:], default=now))
    schedule.save(update_fields=["next_slot_at"])
    ran = schedule.slots.filter(slot_at__in=run, outcome=SlotOutcome.RAN).count()
    _note_runs(schedule, run[-1:], ran)
    if schedule.next_slot_at is None or (schedule.periodic_task.one_off and ran):
        schedules.switch_off(schedule, actor="system")
    return stopped


def _note_runs(schedule: WorkflowSchedule, latest: list[datetime], count: int) -> None:
    """Keep what django-celery-beat's own pages show of a task, without telling every beat of a change."""
    if count:
        PeriodicTask.objects.filter(pk=schedule.periodic_task_id).update(
            last_run_at=latest[0], total_run_count=F("total_run_count") + count
        )


def _due_slots(
    schedule: WorkflowSchedule, timetable: Timetable, now: datetime
) -> tuple[list[datetime], datetime | None]:
    """Return the newest due slots that the ledger does not hold, and the first slot if older ones were left out."""
    first = schedule.next_slot_at or now
    newest = timetable.newest(first - _TICK, now, count=MOST_SLOTS)
    known = set(schedule.slots.filter(slot_at__range=(first, now)).values_list("slot_at", flat=True))
    is_cut = len(newest) == MOST_SLOTS and first < newest[0]
    return [slot for slot in newest if slot not in known], first if is_cut else None


def _record_missed(schedule: WorkflowSchedule, missed: Iterable[datetime], older_from: datetime | None) -> None:
    """Write the slots that nobody ran; what was too much to be written stands in the oldest one's reason."""
    sentence = {
        MissedPolicy.SKIP: "nobody ran it in time",
        MissedPolicy.LATEST: "nobody ran it in time; the latest missed slot runs instead",
        MissedPolicy.ALL: f"nobody ran it within the window of {schedule.missed_window_seconds} s",
    }[MissedPolicy(schedule.missed_policy)]
    rows = [_row(schedule, slot, Verdict(SlotOutcome.MISSED, sentence)) for slot in missed]
    if rows and older_from:
        rows[0].reason = f"{sentence}; so were all before it, from {older_from:%Y-%m-%d %H:%M:%S} UTC on"
    ScheduleSlot.objects.bulk_create(rows)
    _count(SlotOutcome.MISSED, len(rows))


def _run_slot(schedule: WorkflowSchedule, slot: datetime) -> list[int]:
    """Write one slot's ledger row with what it starts. Returns executions that were asked to stop."""
    verdict, stopped = _verdict(schedule, slot)
    _row(schedule, slot, verdict).save(force_insert=True)
    _count(verdict.outcome, 1)
    log.info(
        "schedule.slot",
        schedule_id=schedule.pk,
        workflow_id=schedule.workflow_id,
        slot_at=slot.isoformat(),
        outcome=verdict.outcome.value,
        reason=verdict.reason,
        execution_id=verdict.execution_id,
    )
    return stopped


def _verdict(schedule: WorkflowSchedule, slot: datetime) -> tuple[Verdict, list[int]]:
    if reason := reason_against(schedule.workflow):
        return Verdict(SlotOutcome.SKIPPED, reason), []
    policy = schedule.overlap_policy
    live = [] if policy == OverlapPolicy.ALLOW else _live_executions(schedule.workflow)
    if policy == OverlapPolicy.SKIP and live:
        return Verdict(SlotOutcome.SKIPPED, f"execution {live[0]} is still running"), []
    if policy == OverlapPolicy.QUEUE:
        waiting = schedule.slots.filter(outcome=SlotOutcome.QUEUED).count()
        if waiting >= MOST_QUEUED:
            return Verdict(SlotOutcome.SKIPPED, f"{waiting} earlier slots are waiting already"), []
        if live or waiting:
            return Verdict(SlotOutcome.QUEUED, "waits until no execution of the workflow is running"), []
    verdict = _started(schedule, slot)
    if policy == OverlapPolicy.CANCEL_RUNNING and live and verdict.execution_id:
        stopped = [execution for execution in live if stop.request_stop(execution, StopReason.CANCEL)]
        names = ", ".join(map(str, stopped))
        return Verdict(SlotOutcome.RAN, f"cancelled for it: {names}" if stopped else "", verdict.execution_id), stopped
    return verdict, []


def _started(schedule: WorkflowSchedule, slot: datetime) -> Verdict:
    """Start the execution of a slot in a savepoint; what cannot be started is skipped with the reason."""
    start = Start(
        trigger_type=TriggerType.SCHEDULED,
        trigger_data=_trigger_data(schedule, slot),
        idempotency_key=f"slot:{schedule.pk}:{slot.isoformat()}",
    )
    try:
        with transaction.atomic():
            started = start_execution(schedule.workflow, start)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        # One broken definition must not be tried for ever, nor stop the schedules of others.
        log.exception("schedule.not_started", schedule_id=schedule.pk, workflow_id=schedule.workflow_id)
        return Verdict(SlotOutcome.SKIPPED, f"could not be started: {error}")
    return Verdict(SlotOutcome.RAN, execution_id=started.execution_id)


def _start_queued(key: int) -> list[int]:
    """Start the oldest queued slot of a schedule if nothing of its workflow is running."""
    schedule = _claimed(key)
    slot = ScheduleSlot.objects.filter(schedule=key, outcome=SlotOutcome.QUEUED).order_by("slot_at").first()
    if schedule is None or slot is None:
        return []
    reason = reason_against(schedule.workflow)
    if not reason and not schedule.periodic_task.enabled:
        reason = "the schedule was switched off"
    if reason:
        verdict = Verdict(SlotOutcome.SKIPPED, reason)
    elif _live_executions(schedule.workflow):
        return []
    else:
        verdict = _started(schedule, slot.slot_at)
    slot.outcome, slot.reason, slot.execution_id = verdict.outcome, verdict.reason, verdict.execution_id
    slot.save(update_fields=["outcome", "reason", "execution"])
    _count(verdict.outcome, 1)
    return []


def reason_against(workflow: Workflow) -> str:
    """Return why a workflow may not start, as a sentence; empty if it may."""
    if workflow.status != WorkflowStatus.ACTIVE:
        return f"the workflow is {workflow.status}"
    return "" if workflow.is_enabled else "the workflow is disabled"


def _live_executions(workflow: Workflow) -> list[int]:
    """Return the workflow's executions that have not ended, whatever started them; test runs do not count."""
    live = Execution.objects.filter(workflow=workflow, status__in=LIVE_STATUSES, is_test=False)
    return list(live.order_by("pk").values_list("pk", flat=True))


def _trigger_data(schedule: WorkflowSchedule, slot: datetime) -> dict[str, Any]:
    """Return what `{{trigger.x}}` and `{{input.x}}` see: the schedule's input and the slot (contract 13.6)."""
    return {
        **schedule.input_data,
        "scheduled_time": f"{slot.astimezone(UTC).replace(tzinfo=None).isoformat()}Z",
        "cron_schedule": timetables.cron_of(schedule),
    }


def _row(schedule: WorkflowSchedule, slot: datetime, verdict: Verdict) -> ScheduleSlot:
    return ScheduleSlot(
        schedule=schedule,
        slot_at=slot,
        outcome=verdict.outcome,
        reason=verdict.reason[:LONGEST_REASON],
        execution_id=verdict.execution_id,
    )


def _count(outcome: SlotOutcome, count: int) -> None:
    transaction.on_commit(partial(metrics.count_slots, outcome, count))
