"""A workflow's `cron_schedule` and `is_scheduled`, and the django-celery-beat rows that are their truth."""

from typing import Any

import pytest
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)

from accounts.models import AuditEntry
from core.errors import InvalidInput
from tests import factories
from tests.unit.workflows.schedules import at, crontab, every, make_schedule, schedule_of, utc
from workflows import services
from workflows.models import Workflow, WorkflowSchedule
from workflows.services import schedules

pytestmark = pytest.mark.django_db


def columns(workflow: Workflow) -> tuple[str | None, bool]:
    found = Workflow.objects.get(pk=workflow.pk)
    return found.cron_schedule, found.is_scheduled


def update(workflow: Workflow, **body: Any) -> None:
    services.update_workflow(workflow, body=body, actor="ada")


def test_a_cron_schedule_becomes_a_periodic_task_with_the_text_as_typed() -> None:
    with at(2025, 9, 1, 8):
        workflow = factories.make_workflow([], cron_schedule="0  9 * * MON", is_scheduled=True)

    schedule = schedule_of(workflow)
    task = schedule.periodic_task
    fields = (task.crontab.minute, task.crontab.hour, task.crontab.day_of_week, str(task.crontab.timezone))
    assert fields == ("0", "9", "MON", "UTC")
    assert (task.task, task.enabled, schedule.cron_text) == ("workflows.run_schedule", True, "0  9 * * MON")
    assert schedule.next_slot_at == utc(2025, 9, 1, 9)
    assert columns(workflow) == ("0  9 * * MON", True)


def test_a_cron_schedule_that_is_not_switched_on_is_kept_and_has_no_slot() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1")

    schedule = schedule_of(workflow)
    assert (schedule.periodic_task.enabled, schedule.next_slot_at) == (False, None)
    assert columns(workflow) == ("0 9 * * 1", False)


def test_dialect_b_scheduled_without_a_cron_is_saved_and_never_due() -> None:
    body = {"name": "B", "trigger_type": "scheduled", "steps": []}

    workflow = services.create_workflow(owner=factories.make_owner(), body=body, actor="ada")

    assert columns(workflow) == (None, True)
    assert not PeriodicTask.objects.exists()


def test_dialect_c_makes_a_row_too() -> None:
    body = {"name": "C", "config": {"steps": []}, "cron_expression": "*/5 * * * *", "triggers": []}

    workflow = services.create_workflow(owner=factories.make_owner(), body=body, actor="ada")

    assert schedule_of(workflow).cron_text == "*/5 * * * *"


def test_workflows_share_a_crontab_row_and_an_edit_of_one_leaves_it_alone() -> None:
    one = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    other = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    shared = schedule_of(one).periodic_task.crontab

    update(one, cron_schedule="0 10 * * 1")

    assert schedule_of(other).periodic_task.crontab == shared
    shared.refresh_from_db()
    assert shared.hour == "9"
    assert (columns(one), columns(other)) == (("0 10 * * 1", True), ("0 9 * * 1", True))


def test_an_edit_keeps_the_zone_that_the_schedule_has() -> None:
    workflow = factories.make_workflow([])
    with at(2025, 7, 1):
        make_schedule(workflow, crontab=crontab("0 9 * * *", "Europe/Berlin"))
        update(workflow, cron_schedule="30 9 * * *")

    schedule = schedule_of(workflow)
    assert str(schedule.periodic_task.crontab.timezone) == "Europe/Berlin"
    assert schedule.next_slot_at == utc(2025, 7, 1, 7, 30)


def test_an_edit_of_something_else_leaves_the_schedule_and_its_next_slot() -> None:
    with at(2025, 9, 1, 8):
        workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    with at(2025, 9, 1, 9, 5):
        update(workflow, name="Another name", cron_schedule="0 9 * * 1")

    assert schedule_of(workflow).next_slot_at == utc(2025, 9, 1, 9)
    assert AuditEntry.objects.filter(action="schedule.updated").count() == 0


def test_clearing_the_cron_schedule_deletes_the_row() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)

    update(workflow, cron_schedule="", is_scheduled=False)

    assert not PeriodicTask.objects.exists()
    assert columns(workflow) == (None, False)


def test_a_refused_workflow_leaves_no_row() -> None:
    with pytest.raises(InvalidInput):
        factories.make_workflow([{"name": "x", "type": "no such type"}], cron_schedule="0 9 * * 1")

    assert not PeriodicTask.objects.exists()
    assert not CrontabSchedule.objects.filter(hour="9").exists()


def test_a_field_too_long_for_its_column_is_a_bad_cron_and_changes_nothing() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)

    with pytest.raises(InvalidInput) as refusal:
        update(workflow, cron_schedule="0 9 * * " + ",".join("1" * 40))

    assert refusal.value.detail == "Invalid cron schedule format"
    assert [problem.loc for problem in refusal.value.problems] == [("body", "cron_schedule")]
    assert columns(workflow) == ("0 9 * * 1", True)


def test_deleting_a_workflow_switches_its_schedules_off() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)

    services.delete_workflow(workflow, actor="ada")

    assert (schedule_of(workflow).periodic_task.enabled, schedule_of(workflow).next_slot_at) == (False, None)
    assert columns(workflow) == ("0 9 * * 1", False)


def test_a_copy_of_a_workflow_has_a_schedule_of_its_own() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)

    copy = services.duplicate_workflow(workflow, actor="ada")

    assert schedule_of(copy).periodic_task != schedule_of(workflow).periodic_task
    assert (schedule_of(copy).cron_text, schedule_of(copy).periodic_task.enabled) == ("0 9 * * 1", True)


# --- The operator's side ----------------------------------------------------------------------------


def test_what_an_operator_changes_on_the_task_shows_in_the_columns() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    task = schedule_of(workflow).periodic_task

    task.crontab = crontab("15 4 * * *", "Europe/Berlin")
    schedules.save_schedule(task, actor="operator")
    assert columns(workflow) == ("15 4 * * *", True)

    schedules.set_tasks_enabled([task], enabled=False, actor="operator")
    assert columns(workflow) == ("15 4 * * *", False)

    schedules.delete_schedule(task, actor="operator")
    assert columns(workflow) == (None, False)


def test_an_edit_of_a_shared_crontab_shows_in_every_workflow_that_uses_it() -> None:
    with at(2025, 9, 1, 8):
        workflows = [factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True) for _ in range(2)]
        shared = schedule_of(workflows[0]).periodic_task.crontab
        shared.hour = "10"
        schedules.save_schedule(shared, actor="operator")

    for workflow in workflows:
        assert columns(workflow) == ("0 10 * * 1", True)
        assert schedule_of(workflow).next_slot_at == utc(2025, 9, 1, 10)


def test_deleting_a_shared_crontab_clears_the_columns() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)

    schedules.delete_schedule(schedule_of(workflow).periodic_task.crontab, actor="operator")

    assert columns(workflow) == (None, False)
    assert not WorkflowSchedule.objects.exists()


def test_an_interval_shows_as_scheduled_without_a_cron() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    task = schedule_of(workflow).periodic_task

    task.crontab, task.interval = None, every(60)
    schedules.save_schedule(task, actor="operator")

    assert columns(workflow) == (None, True)
    schedules.delete_schedule(task, actor="operator")
    assert columns(workflow) == (None, False)


def test_the_columns_show_the_oldest_of_several_schedules() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    oldest = schedule_of(workflow).periodic_task

    make_schedule(workflow, crontab=crontab("0 5 * * *"), enabled=False)
    assert columns(workflow) == ("0 9 * * 1", True)

    schedules.delete_schedule(oldest, actor="operator")
    assert columns(workflow) == ("0 5 * * *", False)


@pytest.mark.parametrize(
    ("body", "way"), [({"is_scheduled": False}, "switch"), ({"cron_schedule": "1 1 * * *"}, "cron")]
)
def test_the_same_edit_by_either_side_leaves_equal_rows_and_audits(body: dict[str, Any], way: str) -> None:
    by_api = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    by_admin = factories.make_workflow([], owner=by_api.owner, cron_schedule="0 9 * * 1", is_scheduled=True)
    AuditEntry.objects.all().delete()

    services.update_workflow(by_api, body=body, actor="ada")
    task = schedule_of(by_admin).periodic_task
    if way == "switch":
        schedules.set_tasks_enabled([task], enabled=False, actor="ada")
    else:
        task.crontab = crontab("1 1 * * *")
        schedules.save_schedule(task, actor="ada")

    def rows(workflow: Workflow) -> list[Any]:
        schedule = schedule_of(workflow)
        own = schedule.periodic_task
        audits = AuditEntry.objects.filter(object_id__in=(str(workflow.pk), str(own.pk))).order_by("id")
        told = [
            (row.action, row.actor, row.owner_id, _without_ids(row.before), _without_ids(row.after))
            for row in audits
            if {"workflow.": workflow.pk, "schedule.": own.pk}[row.action[:9]] == int(row.object_id)
        ]
        assert [action for action, *_ in told] == ["schedule.updated", "workflow.updated"]
        return [columns(workflow), own.crontab_id, own.enabled, schedule.cron_text, schedule.timetable, told]

    assert rows(by_api) == rows(by_admin)


def _without_ids(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in {"id", "name", "workflow"}}


def test_the_sun_is_refused_with_a_sentence_and_nothing_is_saved() -> None:
    solar = SolarSchedule.objects.create(event="sunrise", latitude=52, longitude=13)

    with pytest.raises(InvalidInput) as refusal:
        make_schedule(factories.make_workflow([]), solar=solar)

    sentence = "A workflow cannot follow the sun: choose a cron expression, an interval or a single moment."
    assert refusal.value.detail == sentence
    assert not PeriodicTask.objects.exists()


def test_an_interval_below_a_second_is_refused() -> None:
    interval = every(1)
    interval.period = "microseconds"
    interval.save()

    with pytest.raises(InvalidInput, match="once a second at most"):
        make_schedule(factories.make_workflow([]), interval=interval)


def test_running_all_missed_slots_needs_a_policy_that_lets_them() -> None:
    with pytest.raises(InvalidInput, match="choose allow or queue"):
        make_schedule(factories.make_workflow([]), interval=every(60), policy={"missed_policy": "all"})


def test_plain_periodic_tasks_are_saved_as_before() -> None:
    task = PeriodicTask(name="nightly", task="workflows.drain", crontab=crontab("0 4 * * *"))

    schedules.save_schedule(task, actor="operator")

    assert PeriodicTask.objects.get().task == "workflows.drain"
    assert not WorkflowSchedule.objects.exists()


# --- Edits by other means ---------------------------------------------------------------------------


def test_an_edit_of_the_rows_alone_is_followed() -> None:
    with at(2025, 9, 1, 8):
        workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
        services.follow_edits()
        task = PeriodicTask.objects.get()
        task.crontab = crontab("30 9 * * 1")
        task.save()

        changed = services.follow_edits()

        assert changed == 1
        assert columns(workflow) == ("30 9 * * 1", True)
        assert schedule_of(workflow).next_slot_at == utc(2025, 9, 1, 9, 30)
        assert schedule_of(workflow).derived_from == PeriodicTasks.last_change()
        assert services.follow_edits() == 0


def test_an_edit_of_another_task_keeps_a_slot_that_nobody_ran_yet() -> None:
    with at(2025, 9, 1, 8):
        workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    with at(2025, 9, 1, 9, 30):
        factories.make_workflow([], cron_schedule="0 10 * * 1", is_scheduled=True)

        services.follow_edits()

    assert schedule_of(workflow).next_slot_at == utc(2025, 9, 1, 9)


def test_a_task_deleted_behind_the_services_clears_the_columns() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    other = factories.make_workflow([], cron_schedule="0 8 * * 1", is_scheduled=True)
    PeriodicTask.objects.get(workflow_schedule__workflow=workflow).delete()

    services.follow_edits()

    assert (columns(workflow), columns(other)) == ((None, False), ("0 8 * * 1", True))


def test_rows_edited_by_plain_sql_are_found_by_the_check_of_everything() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    services.follow_edits()
    PeriodicTask.objects.update(enabled=False)

    assert services.follow_edits() == 0
    assert services.follow_edits(everything=True) == 1
    assert columns(workflow) == ("0 9 * * 1", False)


def test_a_clocked_time_has_one_slot_and_an_end_ends_a_schedule() -> None:
    with at(2025, 9, 1, 8):
        clocked = ClockedSchedule.objects.create(clocked_time=utc(2025, 9, 1, 9))
        once = make_schedule(factories.make_workflow([]), clocked=clocked, one_off=True)
        ended = make_schedule(factories.make_workflow([]), interval=every(3600), expires=utc(2025, 9, 1, 8, 30))

    assert (once.next_slot_at, ended.next_slot_at) == (utc(2025, 9, 1, 9), None)


# --- Rows that no calendar holds --------------------------------------------------------------------
AGES = {"every": 2_147_483_647, "period": "days"}


@pytest.mark.parametrize(
    ("times", "field", "sentence"),
    [
        ({"start_time": utc(9999, 12, 31, 23, 59, 59)}, "start_time", "from 1970-01-01 to before 2200-01-01"),
        ({"start_time": utc(1, 1, 1)}, "start_time", "from 1970-01-01 to before 2200-01-01"),
        ({"interval": AGES}, "interval", "an interval of at most 36,500 days"),
        ({"interval": {"every": -2_147_483_648, "period": "days"}}, "interval", "at most 36,500 days"),
        ({"interval": {"every": 1, "period": "fortnights"}}, "interval", "at most 36,500 days"),
        ({"clocked": utc(9999, 12, 31)}, "clocked", "from 1970-01-01 to before 2200-01-01"),
        ({"crontab": "0 0 L * *"}, "crontab", "Invalid cron schedule format"),
        ({"crontab": "0 0 30 2 *"}, "crontab", "Invalid cron schedule format"),
    ],
)
def test_times_beyond_the_calendar_are_refused_and_harmless_where_they_were_written(
    times: dict[str, Any], field: str, sentence: str
) -> None:
    with at(2025, 9, 1, 8):
        workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
        other = make_schedule(factories.make_workflow([]), interval=every(3600))
        task = schedule_of(workflow).periodic_task
        _write_times(task, times)

        with pytest.raises(InvalidInput, match=sentence) as refusal:
            schedules.save_schedule(task, actor="operator")
        task.save()  # by other means
        services.follow_edits(everything=True)
        services.run_due_slots()

    assert [problem.loc for problem in refusal.value.problems] == [("body", field)]
    assert schedule_of(workflow).next_slot_at is None
    assert WorkflowSchedule.objects.get(pk=other.pk).next_slot_at == utc(2025, 9, 1, 9)


def _write_times(task: PeriodicTask, times: dict[str, Any]) -> None:
    if "start_time" in times:
        task.start_time = times["start_time"]
        return
    task.crontab = None
    if "interval" in times:
        task.interval = IntervalSchedule.objects.create(**times["interval"])
    elif "clocked" in times:
        task.clocked, task.one_off = ClockedSchedule.objects.create(clocked_time=times["clocked"]), True
    else:
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        task.crontab = CrontabSchedule.objects.create(**dict(zip(names, times["crontab"].split(), strict=True)))


def test_a_crontab_written_elsewhere_that_is_longer_than_any_expression_stops_nothing() -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    CrontabSchedule.objects.update(minute="0," * 100 + "1")

    services.follow_edits(everything=True)

    assert (schedule_of(workflow).next_slot_at, schedule_of(workflow).cron_text) == (None, "")
    assert columns(workflow) == (None, True)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (IntervalSchedule(every=2_147_483_647, period="days"), "every"),
        (ClockedSchedule(clocked_time=utc(2200, 1, 1)), "clocked_time"),
        (CrontabSchedule(hour="*/24"), "crontab"),
    ],
)
def test_a_shared_row_that_nothing_can_follow_is_refused(row: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        schedules.save_schedule(row, actor="operator")

    assert [problem.loc for problem in refusal.value.problems] == [("body", field)]
    assert row.pk is None


def test_a_far_end_is_an_end() -> None:
    with at(2025, 9, 1, 8):
        schedule = make_schedule(factories.make_workflow([]), interval=every(3600), expires=utc(9999, 12, 31))

    assert schedule.next_slot_at == utc(2025, 9, 1, 9)


@pytest.mark.parametrize(
    ("times", "fields"),
    [
        ({}, ["crontab"]),
        ({"crontab": "x", "interval": "x"}, ["interval"]),
        ({"interval": "x", "expires": utc(2030, 1, 1), "expire_seconds": 5}, ["expires"]),
    ],
)
def test_a_schedule_is_due_in_one_way(times: dict[str, Any], fields: list[str]) -> None:
    rows = {"crontab": crontab("0 9 * * *"), "interval": every(60)}
    given = {name: rows.get(name, value) for name, value in times.items()}

    with pytest.raises(InvalidInput) as refusal:
        make_schedule(factories.make_workflow([]), **given)

    assert [problem.loc[1] for problem in refusal.value.problems] == fields
    assert not PeriodicTask.objects.exists()


def test_a_single_moment_comes_once_without_being_told_so() -> None:
    with at(2025, 9, 1, 8):
        clocked = ClockedSchedule.objects.create(clocked_time=utc(2025, 9, 1, 9))
        schedule = make_schedule(factories.make_workflow([]), clocked=clocked)

    assert schedule.periodic_task.one_off


def test_the_name_of_a_deleted_workflows_schedule_is_free_again() -> None:
    workflow = factories.make_workflow([])
    schedules.save_schedule(
        PeriodicTask(name="every morning", crontab=crontab("0 7 * * *")), actor="ada", workflow=workflow
    )

    services.delete_workflow(workflow, actor="ada")

    task = schedule_of(workflow).periodic_task
    assert (task.name, task.enabled) == (f"every morning (deleted, schedule {task.pk})", False)
