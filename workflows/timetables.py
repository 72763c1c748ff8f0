"""Reads a schedule's django-celery-beat rows into a timetable, and derives its next slot from that."""

from datetime import UTC, datetime, timedelta

from django_celery_beat.models import CrontabSchedule, PeriodicTask

from core.errors import InvalidInput, Problem
from workflows.models import WorkflowSchedule
from workflows.schedule import SHORTEST_INTERVAL, Cron, Every, Once, Timetable, Timing, in_words, is_cron

CRON_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
LONGEST_CRON = 100
# What a schedule's timetable is read from; one query with it.
ROWS = ("periodic_task__crontab", "periodic_task__interval", "periodic_task__clocked", "periodic_task__solar")


class NoTimetable(InvalidInput):
    """A periodic task whose rows give a workflow no slots; the sentence says why."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence, problems=[Problem(("body", field), sentence)])


def timetable_of(schedule: WorkflowSchedule) -> Timetable:
    """Return when the schedule is due, switched on or not. Raises NoTimetable."""
    task = schedule.periodic_task
    return Timetable(_timing_of(schedule, task), starts_at=task.start_time, ends_at=task.expires)


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


def _timing_of(schedule: WorkflowSchedule, task: PeriodicTask) -> Timing:
    if task.crontab:
        text = " ".join(cron_fields(task.crontab))
        if not is_cron(text) or len(text) > LONGEST_CRON:
            raise NoTimetable("crontab", f"{text!r} is no cron expression of five fields and {LONGEST_CRON} characters")
        return Cron(text, zone_of(task))
    if task.interval:
        return _every(schedule, task)
    if task.clocked:
        return Once(task.clocked.clocked_time)
    if task.solar:
        raise NoTimetable("solar", "A workflow cannot follow the sun: choose a crontab, an interval or a clocked time.")
    raise NoTimetable("crontab", "Choose a crontab, an interval or a clocked time.")


def _every(schedule: WorkflowSchedule, task: PeriodicTask) -> Every:
    step = timedelta(**{task.interval.period: task.interval.every})
    if step < SHORTEST_INTERVAL:
        raise NoTimetable("interval", "A workflow can be started once a second at most: choose a longer interval.")
    anchor = task.start_time or schedule.anchor_at or datetime(1970, 1, 1, tzinfo=UTC)
    return Every(step, anchor)
