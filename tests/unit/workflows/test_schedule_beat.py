"""Beat: which periodic tasks Celery's own clock runs, and when it wakes."""

from typing import Any

import pytest
from celery import current_app
from django.db import OperationalError, connection
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from tests import factories
from tests.unit.workflows.schedules import at, crontab, every, ledger, make_schedule
from workflows import beat, services, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> beat.Scheduler:
    made = beat.Scheduler(app=current_app._get_current_object(), lazy=True)
    monkeypatch.setattr(made, "_sweep", lambda: None)
    # Celery's own tick would send the tasks that are due to the broker.
    monkeypatch.setattr(beat.DatabaseScheduler, "tick", lambda self: 5.0)
    return made


def test_celerys_own_clock_leaves_the_tasks_of_workflows_out(scheduler: beat.Scheduler) -> None:
    plain = PeriodicTask.objects.create(name="plain", task="workflows.drain", interval=every(1))
    make_schedule(factories.make_workflow([]), interval=every(1))
    make_schedule(factories.make_workflow([]), crontab=crontab("* * * * *"))

    assert set(scheduler.all_as_schedule()) == {plain.name}


def test_rows_written_by_other_means_that_celery_cannot_count_with_stop_nothing(scheduler: beat.Scheduler) -> None:
    plain = PeriodicTask.objects.create(name="plain", task="workflows.drain", interval=every(1))
    ages = IntervalSchedule.objects.create(every=2_147_483_647, period="days")
    PeriodicTask.objects.create(name="too long", task="workflows.drain", interval=ages)
    junk = CrontabSchedule.objects.create(minute="*/", hour="*")
    PeriodicTask.objects.create(name="junk", task="workflows.drain", crontab=junk)

    assert set(scheduler.all_as_schedule()) == {plain.name}


def test_a_row_whose_zone_nobody_knows_stops_neither_beat_nor_other_workflows(scheduler: beat.Scheduler) -> None:
    with at(2025, 9, 1, 8):
        lost = make_schedule(factories.make_workflow([]), crontab=crontab("1 8 * * *", "Europe/Berlin"))
        good = make_schedule(factories.make_workflow([]), crontab=crontab("1 8 * * *"))
        CrontabSchedule.objects.filter(pk=lost.periodic_task.crontab_id).update(minute="2")
        CrontabSchedule.objects.filter(pk=good.periodic_task.crontab_id).update(minute="3")
        with connection.cursor() as cursor:  # written past the library, which refuses it
            cursor.execute("UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus' WHERE minute = '2'")

        assert services.follow_edits(everything=True) == 1

    with at(2025, 9, 1, 8, 3):
        assert scheduler.tick() <= 1
        assert scheduler.all_as_schedule() == {}
    assert [row[:2] for row in ledger(good)] == [("09-01 08:03:00", "ran")]


def test_what_nobody_foresaw_does_not_end_beat(scheduler: beat.Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise KeyError("schedule")

    monkeypatch.setattr(services, "run_due_slots", broken)

    assert scheduler.tick() <= 1


def test_a_tick_starts_what_is_due_and_sleeps_until_the_next_slot(scheduler: beat.Scheduler, settings: Any) -> None:
    settings.SWEEP_INTERVAL_SECONDS = 10
    with at(2025, 9, 1, 8):
        schedule = make_schedule(factories.make_workflow([]), interval=every(2))

        pause = scheduler.tick()

    assert 0 < pause <= 2
    with at(2025, 9, 1, 8, 0, 2):
        scheduler.tick()
    assert [row[:2] for row in ledger(schedule)] == [("09-01 08:00:02", "ran")]


def test_a_tick_never_sleeps_longer_than_the_sweeps_interval(scheduler: beat.Scheduler, settings: Any) -> None:
    settings.SWEEP_INTERVAL_SECONDS = 1

    assert 0.05 <= scheduler.tick() <= 1


def test_a_database_that_is_away_does_not_end_beat(scheduler: beat.Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(services, "run_due_slots", away)
    monkeypatch.setattr(beat.connection, "close", lambda: None)

    assert scheduler.tick() <= 1


def test_the_registered_task_sent_by_hand_runs_only_what_is_due() -> None:
    with at(2025, 9, 1, 8):
        schedule = make_schedule(factories.make_workflow([]), interval=every(60))
        tasks.run_schedule("any", argument="at all")
        before = ledger(schedule)
    with at(2025, 9, 1, 8, 1):
        tasks.run_schedule()

    assert before == []
    assert [row[:2] for row in ledger(schedule)] == [("09-01 08:01:00", "ran")]
