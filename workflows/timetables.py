"""Reads a schedule's django-celery-beat rows into a timetable, and derives its next slot from that."""

from datetime import datetime, timedelta

from django.db import models
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from core.errors import InvalidInput, Problem
from workflows.models import WorkflowSchedule
from workflows.schedule import (
    BAD_CRON,
    EARLIEST,
    LATEST,
    LONGEST_CRON,
    LONGEST_INTERVAL,
    SHORTEST_INTERVAL,
    Cron,
    Every,
    Once,
    Timetable,
    Timing,
    in_words,
    is_cron,
)

CRON_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
# What a schedule's timetable is read from; one query with it.
ROWS = ("periodic_task__crontab", "periodic_task__interval", "periodic_task__clocked", "periodic_task__solar")
_CHOOSE = "choose a cron expression, an interval or a single moment"


class NoTimetable(InvalidInput):
    """A periodic task whose rows give a workflow no slots; the sentence says why."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence, problems=[Problem(("body", field), sentence)])


def timetable_of(schedule: WorkflowSchedule) -> Timetable:
    """Return when the schedule is due, switched on or not. Raises NoTimetable."""
    task = schedule.periodic_task
    _check_moment(task.start_time, field="start_time")
    return Timetable(_timing_of(schedule, task), starts_at=task.start_time, ends_at=task.expires)


def check_row(row: models.Model) -> None:
    """Raise NoTimetable for a cron expression that is none, and for moments and intervals beyond the calendar.

    Applies to every periodic task, and to the rows that tasks refer to; solar events are left to Celery.
    """
    if isinstance(row, CrontabSchedule):
        _cron(row)
    elif isinstance(row, IntervalSchedule):
        _step(row, field="every")
    elif isinstance(row, ClockedSchedule):
        _check_moment(row.clocked_time, field="clocked_time")
    elif isinstance(row, PeriodicTask):
        _check_task(row)


def derive(schedule: WorkflowSchedule, *, now: datetime) -> bool:
    """Set `next_slot_at` anew if the rows say something else than it was derived from. True if they did.

    What was due before the edit is not made up for; an unchanged schedule keeps the slots that nobody ran yet.
    """
    timetable = find_timetable(schedule) if schedule.periodic_task.enabled else None
    text = str(timetable or "")
    if text == schedule.timetable:
        return False
    schedule.timetable = text
    schedule.anchor_at = now.replace(microsecond=0) if timetable else None
    # Read again: an interval counts from the new anchor.
    schedule.next_slot_at = timetable_of(schedule).first(now) if timetable else None
    return True


def find_timetable(schedule: WorkflowSchedule) -> Timetable | None:
    """Return when the schedule is due, or None if its rows give no slots."""
    try:
        return timetable_of(schedule)
    except NoTimetable:
        return None


def trouble_with(schedule: WorkflowSchedule) -> str:
    """Return why the schedule's rows give no slots, as a sentence; empty if they do."""
    try:
        timetable_of(schedule)
    except NoTimetable as error:
        return error.detail
    return ""


def cron_of(schedule: WorkflowSchedule) -> str | None:
    """Return the cron expression: as it was typed while the row still says the same; None if it is no crontab."""
    crontab = schedule.periodic_task.crontab
    if crontab is None:
        return None
    fields = cron_fields(crontab)
    return schedule.cron_text if schedule.cron_text.split() == fields else " ".join(fields)


def cron_fields(crontab: CrontabSchedule) -> list[str]:
    """Return the five fields of a crontab row."""
    return [str(getattr(crontab, name)).replace(" ", "") or "*" for name in CRON_FIELDS]


def zone_of(task: PeriodicTask) -> str:
    """Return the time zone in which a periodic task's schedule is read."""
    return str(task.crontab.timezone) if task.crontab else "UTC"


def words_of(task: PeriodicTask) -> str:
    """Return a periodic task's schedule as an English phrase."""
    if task.crontab:
        return in_words(" ".join(cron_fields(task.crontab)))
    return str(task.scheduler or "never")


def _check_task(task: PeriodicTask) -> None:
    _check_moment(task.start_time, field="start_time")
    if task.interval:
        _step(task.interval, field="interval")
    if task.clocked:
        _check_moment(task.clocked.clocked_time, field="clocked")


def _timing_of(schedule: WorkflowSchedule, task: PeriodicTask) -> Timing:
    if task.crontab:
        return _cron(task.crontab)
    if task.interval:
        return _every(schedule, task)
    if task.clocked:
        _check_moment(task.clocked.clocked_time, field="clocked")
        return Once(task.clocked.clocked_time)
    if task.solar:
        raise NoTimetable("solar", f"A workflow cannot follow the sun: {_CHOOSE}.")
    raise NoTimetable("crontab", f"{_CHOOSE[0].upper()}{_CHOOSE[1:]}.")


def _cron(crontab: CrontabSchedule) -> Cron:
    text = " ".join(cron_fields(crontab))
    if not is_cron(text):
        raise NoTimetable("crontab", f"{BAD_CRON}: {text[:LONGEST_CRON]!r}")
    return Cron(text, str(crontab.timezone))


def _every(schedule: WorkflowSchedule, task: PeriodicTask) -> Every:
    step = _step(task.interval, field="interval")
    if step < SHORTEST_INTERVAL:
        raise NoTimetable("interval", "A workflow can be started once a second at most: choose a longer interval.")
    return Every(step, task.start_time or schedule.anchor_at or EARLIEST)


def _step(interval: IntervalSchedule, *, field: str) -> timedelta:
    try:
        step = timedelta(**{interval.period: interval.every})
    except (OverflowError, TypeError):  # too long for a timedelta, or no unit that there is
        step = timedelta.max
    if step > LONGEST_INTERVAL:
        raise NoTimetable(field, f"Choose an interval of at most {LONGEST_INTERVAL.days:,} days.")
    return step


def _check_moment(at: datetime | None, *, field: str) -> None:
    if at is not None and not EARLIEST <= at < LATEST:
        raise NoTimetable(field, f"Choose a moment from {EARLIEST:%Y-%m-%d} to before {LATEST:%Y-%m-%d}.")
