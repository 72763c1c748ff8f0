"""Schedules in the admin: made for a workflow, next and past slots, policies, run now."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from accounts.models import AuditEntry
from tests import factories
from tests.admin.rows import GREET, messages_of, queries_for, text_of
from tests.admin.schedule_pages import CRONTABS, TASKS, form_of
from tests.unit.workflows.schedules import at, crontab, every, ledger, make_schedule, schedule_of, utc
from workflows import services
from workflows.models import Execution, Workflow, WorkflowSchedule

pytestmark = pytest.mark.django_db


def columns(workflow: Workflow) -> tuple[str | None, bool]:
    found = Workflow.objects.get(pk=workflow.pk)
    return found.cron_schedule, found.is_scheduled


def change(admin: Client, edited: Workflow, **changes: Any) -> Any:
    """Post the form of the workflow's task with changes."""
    task = schedule_of(edited).periodic_task
    given = {"name": task.name, "cron": schedule_of(edited).cron_text, "zone": "UTC", "workflow": edited.pk}
    return admin.post(f"{TASKS}{task.pk}/change/", form_of(**(given | changes)))


def test_a_schedule_is_made_for_a_workflow_with_input_and_policies(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)

    answer = admin.post(
        f"{TASKS}add/",
        form_of(
            workflow=workflow.pk,
            cron="0 7 * * *",
            zone="Europe/Berlin",
            input_data='{"who": "Ada"}',
            missed_policy="all",
            missed_window_seconds="600",
            overlap_policy="queue",
        ),
    )

    assert answer.status_code == 302
    schedule = schedule_of(workflow)
    assert schedule.periodic_task.task == "workflows.run_schedule"
    assert (schedule.input_data, schedule.missed_policy, schedule.missed_window_seconds, schedule.overlap_policy) == (
        {"who": "Ada"},
        "all",
        600,
        "queue",
    )
    assert schedule.next_slot_at is not None
    assert columns(workflow) == ("0 7 * * *", True)
    made = AuditEntry.objects.get(action="schedule.created")
    assert (made.actor, made.owner, made.after["overlap_policy"]) == ("operator@example.com", workflow.owner, "queue")


def test_an_edit_of_task_and_policies_shows_in_rows_and_columns(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * 1", is_scheduled=True)

    answer = change(admin, workflow, cron="30 9 * * 1", input_data='{"who": "Eve"}', overlap_policy="allow")

    assert answer.status_code == 302
    assert columns(workflow) == ("30 9 * * 1", True)
    assert (schedule_of(workflow).input_data, schedule_of(workflow).overlap_policy) == ({"who": "Eve"}, "allow")


def test_the_form_shows_what_is_stored_and_the_workflow_cannot_be_changed(admin: Client) -> None:
    workflow, other = factories.make_workflow(GREET), factories.make_workflow(GREET)
    schedule = make_schedule(workflow, crontab=crontab("0 9 * * 1"), policy={"overlap_policy": "allow"})

    form = admin.get(f"{TASKS}{schedule.periodic_task_id}/change/").context["adminform"].form
    change(admin, workflow, workflow=other.pk, overlap_policy="queue")

    assert (form["workflow"].value(), form["overlap_policy"].value()) == (workflow.pk, "allow")
    assert WorkflowSchedule.objects.get().workflow == workflow
    assert WorkflowSchedule.objects.get().overlap_policy == "queue"


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"missed_policy": "all"}, "overlap_policy", "choose allow or queue"),
        ({"missed_window_seconds": "0"}, "missed_window_seconds", "greater than or equal to 1"),
        ({"input_data": "[1]"}, "input_data", "A JSON object is needed"),
        ({"input_data": "{"}, "input_data", "Line 1, column 2"),
    ],
)
def test_what_cannot_be_is_named_at_its_field_and_changes_nothing(
    admin: Client, changes: dict[str, str], field: str, sentence: str
) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * 1", is_scheduled=True)

    answer = change(admin, workflow, enabled=None, **changes)

    assert sentence in answer.context["adminform"].form.errors[field][0]
    assert columns(workflow) == ("0 9 * * 1", True)


def test_the_sun_is_refused_at_its_field(admin: Client) -> None:
    solar = SolarSchedule.objects.create(event="sunrise", latitude=52, longitude=13)

    answer = admin.post(f"{TASKS}add/", form_of(workflow=factories.make_workflow(GREET).pk, solar=solar.pk))

    [sentence] = answer.context["adminform"].form.errors["solar"]
    assert sentence == "A workflow cannot follow the sun: choose a cron expression, an interval or a single moment."
    assert not PeriodicTask.objects.exists()


def test_actions_and_deletion_show_in_the_columns(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * 1", is_scheduled=True)
    task = schedule_of(workflow).periodic_task

    admin.post(TASKS, {"action": "disable_tasks", "_selected_action": [task.pk]})
    assert columns(workflow) == ("0 9 * * 1", False)

    admin.post(TASKS, {"action": "enable_tasks", "_selected_action": [task.pk]})
    assert columns(workflow) == ("0 9 * * 1", True)

    admin.post(TASKS, {"action": "delete_selected", "_selected_action": [task.pk], "post": "yes"})
    assert columns(workflow) == (None, False)


def test_a_crontab_edited_in_place_shows_in_the_columns_and_a_wrong_one_is_refused(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * 1", is_scheduled=True)
    page = f"{CRONTABS}{schedule_of(workflow).periodic_task.crontab_id}/change/"
    fields = {"minute": "5", "hour": "9", "day_of_month": "*", "month_of_year": "*", "day_of_week": "1"}
    fields |= {"periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0"}

    admin.post(page, fields | {"timezone": "Europe/Berlin"})
    assert columns(workflow) == ("5 9 * * 1", True)

    answer = admin.post(
        page, fields | {"day_of_month": "31", "month_of_year": "2", "day_of_week": "*", "timezone": "UTC"}
    )
    assert "Invalid cron schedule format" in str(answer.context["adminform"].form.errors)
    assert columns(workflow) == ("5 9 * * 1", True)


def test_the_page_shows_the_next_fifty_slots_in_both_clocks(admin: Client) -> None:
    with at(2025, 10, 25, 12):
        schedule = make_schedule(factories.make_workflow(GREET), crontab=crontab("30 2 * * *", "Europe/Berlin"))

        answer = admin.get(f"{TASKS}{schedule.periodic_task_id}/change/")

    page = text_of(answer)
    assert "At 02:30 every day, on the clocks of Europe/Berlin" in page
    assert "1 2025-10-26 00:30:00 Sun 2025-10-26 02:30:00 CEST 2 2025-10-27 01:30:00 Mon" in page
    assert "50 2025-12-14 01:30:00" in page
    assert "51 2025-12-15" not in page


def test_the_page_shows_past_slots_with_outcome_reason_and_execution(admin: Client) -> None:
    with at(2025, 9, 1, 8):
        schedule = make_schedule(factories.make_workflow(GREET), interval=every(3600))
    with at(2025, 9, 1, 10, 30):
        services.run_due_slots()
    with at(2025, 9, 1, 11):
        services.run_due_slots()
    execution = Execution.objects.get()

    answer = admin.get(f"{TASKS}{schedule.periodic_task_id}/change/")

    page = text_of(answer)
    assert (
        f"2025-09-01 11:00:00 skipped execution {execution.pk} is still running -"
        f" 2025-09-01 10:00:00 ran - {execution.pk}"
        " 2025-09-01 09:00:00 missed nobody ran it in time; the latest missed slot runs instead -"
    ) in page
    assert f"/admin/workflows/execution/{execution.pk}/change/" in answer.content.decode()


def test_the_page_says_why_no_slot_comes(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * 1", is_scheduled=False)
    page = f"{TASKS}{schedule_of(workflow).periodic_task_id}/change/"
    assert "It is switched off: no slot comes until it is enabled." in text_of(admin.get(page))

    services.update_workflow(workflow, body={"is_scheduled": True, "status": "paused"}, actor="ada")
    assert "Slots are skipped now: the workflow is paused." in text_of(admin.get(page))


def test_run_now_starts_the_workflow_with_the_schedules_input(admin: Client) -> None:
    schedule = make_schedule(
        factories.make_workflow(GREET), crontab=crontab("0 9 * * 1"), policy={"input_data": {"who": "Ada"}}
    )

    answer = admin.post(f"{TASKS}{schedule.periodic_task_id}/press/run/")

    execution = Execution.objects.get()
    assert answer.headers["Location"] == f"/admin/workflows/execution/{execution.pk}/change/"
    assert messages_of(answer) == [f"Execution {execution.pk} has started."]
    assert execution.trigger_data["who"] == "Ada"
    assert ledger(schedule) == []


def test_run_now_is_not_offered_for_a_task_that_starts_no_workflow(admin: Client) -> None:
    plain = PeriodicTask.objects.create(name="plain", task="workflows.drain", crontab=crontab("0 4 * * *"))

    page = admin.get(f"{TASKS}{plain.pk}/change/").content.decode()
    answer = admin.post(f"{TASKS}{plain.pk}/press/run/")

    assert "press/run" not in page
    assert "Next slots" not in page
    assert messages_of(answer) == ["This schedule starts no workflow."]


def test_the_list_shows_workflow_words_zone_and_next_slot_in_few_queries(
    admin: Client, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    def add(number: int) -> Workflow:
        workflow = factories.make_workflow(GREET)
        with at(2025, 9, 1, 8):
            make_schedule(workflow, crontab=crontab(f"{number} 9 * * 1-5", "Europe/Berlin"))
        return workflow

    counter = lambda _: django_assert_max_num_queries(100)  # noqa: E731
    first = add(5)
    few = queries_for(admin, TASKS, counter)
    for number in range(6, 12):
        add(number)

    assert queries_for(admin, TASKS, counter) == few
    page = text_of(admin.get(TASKS))
    assert f"{first} At 09:05 on Monday through Friday Europe/Berlin 2025-09-02 07:05:00" in page


def test_an_interval_and_a_clocked_time_are_told_in_words(admin: Client) -> None:
    interval = IntervalSchedule.objects.create(every=5, period="minutes")
    clocked = ClockedSchedule.objects.create(clocked_time=utc(2030, 1, 1, 9))
    make_schedule(factories.make_workflow(GREET), interval=interval)
    make_schedule(factories.make_workflow(GREET), clocked=clocked, one_off=True)

    page = text_of(admin.get(TASKS))

    assert "every 5 minutes" in page
    assert "2030-01-01 09:00:00" in page


def test_the_workflow_form_goes_through_the_same_rows(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    page = f"/admin/workflows/workflow/{workflow.pk}/change/"
    form = admin.get(page).context["adminform"].form
    given = {name: form[name].value() for name in form.fields}
    given = {name: "" if value is None else value for name, value in given.items() if value is not False}

    answer = admin.post(page, given | {"is_scheduled": "on", "cron_schedule": "0 9 * * 1"})

    assert answer.status_code == 302
    assert (schedule_of(workflow).cron_text, schedule_of(workflow).periodic_task.enabled) == ("0 9 * * 1", True)


# --- In the product's words -------------------------------------------------------------------------
def test_a_typed_cron_and_zone_share_one_row(admin: Client) -> None:
    for name in ("one", "two"):
        given = form_of(
            name=name, workflow=factories.make_workflow(GREET).pk, cron="30 9 * * MON", zone="Europe/Berlin"
        )
        assert admin.post(f"{TASKS}add/", given).status_code == 302

    shared = CrontabSchedule.objects.get()
    assert (shared.day_of_week, str(shared.timezone)) == ("MON", "Europe/Berlin")
    assert PeriodicTask.objects.filter(crontab=shared).count() == 2


def test_the_form_shows_the_cron_as_typed_with_its_zone_and_gives_way_to_an_interval(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0  9 * * MON", is_scheduled=True)
    page = f"{TASKS}{schedule_of(workflow).periodic_task_id}/change/"
    form = admin.get(page).context["adminform"].form
    assert (form["cron"].value(), form["zone"].value()) == ("0  9 * * MON", "UTC")

    change(admin, workflow, cron="", interval=every(60).pk)

    task = schedule_of(workflow).periodic_task
    assert (task.crontab, task.interval) == (None, every(60))
    assert CrontabSchedule.objects.exists()


def test_the_page_of_a_workflows_schedule_shows_what_it_does_before_a_form_without_celery(admin: Client) -> None:
    schedule = make_schedule(factories.make_workflow(GREET), crontab=crontab("0 9 * * *"))

    page = text_of(admin.get(f"{TASKS}{schedule.periodic_task_id}/change/"))

    places = [page.index(text) for text in ("Run now", "Next slots", "Past slots", "Name", "Cron", "Overlap")]
    assert places == sorted(places)
    for text in ("Celery", "workflows.run_schedule", "Keyword arguments", "Priority", "eriodic", "others null"):
        assert text not in page


def test_a_refused_change_shows_the_form_before_the_panels(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * 1", is_scheduled=True)

    page = text_of(change(admin, workflow, cron="nope"))

    assert page.index("Invalid cron schedule format") < page.index("Next slots")


def test_a_celery_task_is_made_and_changed_as_before(admin: Client) -> None:
    given = form_of(name="nightly", regtask="workflows.sweep", cron="0 4 * * *", kwargs='{"a": 1}', queue="flow")

    made = admin.post(f"{TASKS}add/", given)
    task = PeriodicTask.objects.get()
    page = text_of(admin.get(f"{TASKS}{task.pk}/change/"))
    changed = admin.post(f"{TASKS}{task.pk}/change/", given | {"task": "workflows.sweep", "priority": "3"})

    assert (made.status_code, changed.status_code) == (302, 302)
    task.refresh_from_db()
    assert (task.task, task.kwargs, task.queue, task.priority) == ("workflows.sweep", '{"a": 1}', "flow", 3)
    assert "Celery task" in page
    assert not WorkflowSchedule.objects.exists()


def test_pages_call_it_a_schedule(admin: Client) -> None:
    made = admin.post(
        f"{TASKS}add/", form_of(name="dawn", workflow=factories.make_workflow(GREET).pk, cron="0 5 * * *"), follow=True
    )
    page = text_of(made)

    assert "Scheduling chevron_right Schedules" in page
    assert "The schedule “ dawn ” was added successfully." in page
    assert "1 schedule" in page
    assert "eriodic" not in page


def test_the_schedules_of_a_deleted_workflow_are_seen_no_more(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * 1", is_scheduled=True)
    task = schedule_of(workflow).periodic_task

    services.delete_workflow(workflow, actor="ada")

    assert "0 schedules" in text_of(admin.get(TASKS))
    assert admin.get(f"{TASKS}{task.pk}/change/").status_code == 302
    assert task.name not in text_of(admin.get(f"{CRONTABS}{task.crontab_id}/change/"))
    admin.post(TASKS, {"action": "enable_tasks", "_selected_action": [task.pk]})
    assert not PeriodicTask.objects.get().enabled


def test_the_first_page_names_each_schedule_of_a_workflow_and_says_years_plainly(admin: Client) -> None:
    with at(2026, 1, 1):
        workflow = factories.make_workflow(GREET, name="Report", cron_schedule="0 9 * * *", is_scheduled=True)
        far = make_schedule(workflow, clocked=ClockedSchedule.objects.create(clocked_time=utc(2100, 1, 1)))
        PeriodicTask.objects.filter(pk=far.periodic_task_id).update(name="the end of the century")

        page = text_of(admin.get("/admin/"))

    assert "Report in 9 h 0 min" in page or "Report in 8 h 59 min" in page
    assert "Report: the end of the century in 74 years" in page
