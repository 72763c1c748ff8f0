"""Who may not reach schedules, and what their forms refuse."""

from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Permission
from django.test import Client, RequestFactory
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from accounts.models import AuditEntry, User
from accounts.services import owner_of_user
from tests import factories
from tests.admin.rows import GREET, editor_of, text_of
from tests.admin.schedule_pages import CRONTABS, TASKS, form_of
from tests.unit.workflows.schedules import every, schedule_of, utc
from workflows import services
from workflows.models import Execution, Workflow

pytestmark = pytest.mark.django_db

# --- Who may ----------------------------------------------------------------------------------------
MODELS = [ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule]


@pytest.fixture
def staff(db: None) -> Client:
    """Somebody of the staff, no superuser, with every permission for django-celery-beat's rows."""
    user, client = editor_of("ada")
    user.user_permissions.add(*Permission.objects.filter(content_type__app_label="django_celery_beat"))
    client.force_login(User.objects.get(pk=user.pk))
    return client


def rows_of_all_models() -> dict[type[Any], Any]:
    workflow = factories.make_workflow(GREET, owner=factories.make_owner("eve"), cron_schedule="0 9 * * 1")
    return {
        ClockedSchedule: ClockedSchedule.objects.create(clocked_time=utc(2030, 1, 1)),
        CrontabSchedule: CrontabSchedule.objects.get(),
        IntervalSchedule: every(60),
        PeriodicTask: schedule_of(workflow).periodic_task,
        SolarSchedule: SolarSchedule.objects.create(event="sunrise", latitude=52, longitude=13),
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_who_is_no_superuser_reaches_no_page_of_schedules_whatever_his_permissions(
    staff: Client, model: type[Any]
) -> None:
    rows = rows_of_all_models()
    base, key = f"/admin/django_celery_beat/{model._meta.model_name}/", rows[model].pk
    task = form_of(workflow=factories.make_workflow(GREET).pk, cron="0 7 * * *", regtask="workflows.drain")
    delete = {"action": "delete_selected", "_selected_action": [key], "post": "yes"}

    answers = {
        "list": staff.get(base),
        "delete action": staff.post(base, delete),
        "switch off": staff.post(base, {"action": "disable_tasks", "_selected_action": [key]}),
        "add form": staff.get(f"{base}add/"),
        "add": staff.post(f"{base}add/", task | {"every": "5", "period": "days", "minute": "1"}),
        "page": staff.get(f"{base}{key}/change/"),
        "change": staff.post(f"{base}{key}/change/", task | {"every": "5", "period": "days"}),
        "delete form": staff.get(f"{base}{key}/delete/"),
        "delete": staff.post(f"{base}{key}/delete/", {"post": "yes"}),
        "history": staff.get(f"{base}{key}/history/"),
        "press": staff.post(f"{base}{key}/press/run/"),
    }

    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 403)
    assert {of: of.objects.count() for of in MODELS} == dict.fromkeys(MODELS, 1)
    assert not Execution.objects.exists()
    assert not AuditEntry.objects.filter(action__startswith="schedule.", actor="ada@example.com").exists()


def test_the_navigation_leads_only_superusers_to_schedules(admin: Client, staff: Client) -> None:
    pages = [client.get("/admin/").content.decode() for client in (admin, staff)]

    assert [f'href="{TASKS}"' in page for page in pages] == [True, False]


def test_the_form_offers_the_workflows_of_the_viewers_owner_and_a_superuser_all(operator: User) -> None:
    user, _ = editor_of("ada")
    own = owner_of_user(user)
    workflow = factories.make_workflow(GREET, owner=own)
    other = factories.make_workflow(GREET, owner=factories.make_owner("eve"))
    services.delete_workflow(factories.make_workflow(GREET, owner=own), actor="ada")

    def offered(viewer: User) -> set[Workflow]:
        request = RequestFactory().get(f"{TASKS}add/")
        request.user = viewer
        return set(site.get_model_admin(PeriodicTask).get_form(request)().fields["workflow"].queryset)

    assert (offered(user), offered(operator)) == ({workflow}, {workflow, other})


# --- What no row can hold ---------------------------------------------------------------------------
MOMENTS = "Choose a moment from 1970-01-01 to before 2200-01-01."


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"start_time_0": "9999-12-31", "start_time_1": "23:59:59"}, "start_time", MOMENTS),
        ({"start_time_0": "0001-01-01", "start_time_1": "00:00:00"}, "start_time", MOMENTS),
        ({"workflow": "9" * 5000}, "workflow", "Select a valid choice."),
        ({"workflow": "9" * 19}, "workflow", "Select a valid choice."),
        ({"workflow": "x"}, "workflow", "Select a valid choice."),
        ({"workflow": ""}, "workflow", "Choose the workflow to start; or, further down, a Celery task."),
        ({"workflow": "", "task": "x" * 300}, "task", "at most 200 characters"),
        ({"cron": ""}, "cron", "Say when: give a cron expression, an interval or a single moment."),
        ({"zone": "Moon/Copernicus"}, "zone", "Select a valid choice."),
        ({"kwargs": "[" * 100_000}, "kwargs", "This is no JSON"),
        ({"args": "{}"}, "args", "A JSON list is needed"),
        ({"headers": "nope"}, "headers", "This is no JSON"),
    ],
)
def test_a_new_schedule_that_cannot_be_is_refused_at_its_field(
    admin: Client, changes: dict[str, str], field: str, sentence: str
) -> None:
    given = form_of(workflow=factories.make_workflow(GREET).pk, cron="0 9 * * *", zone="UTC") | changes

    answer = admin.post(f"{TASKS}add/", given)

    assert answer.status_code == 200
    assert sentence in answer.context["adminform"].form.errors[field][0]
    assert not PeriodicTask.objects.exists()


@pytest.mark.parametrize("kind", ["interval", "clocked"])
def test_a_shared_row_beyond_the_calendar_is_refused_at_the_field_that_chose_it(admin: Client, kind: str) -> None:
    row = {
        "interval": lambda: IntervalSchedule.objects.create(every=2_147_483_647, period="days"),
        "clocked": lambda: ClockedSchedule.objects.create(clocked_time=utc(9999, 12, 31)),
    }[kind]()
    changes = {"workflow": factories.make_workflow(GREET).pk, kind: row.pk}

    answers = [
        admin.post(f"{TASKS}add/", form_of(**changes)),
        admin.post(f"{TASKS}add/", form_of(**changes | {"workflow": "", "task": "workflows.drain"})),
    ]

    bound = {"interval": "Choose an interval of at most 36,500 days.", "clocked": MOMENTS}[kind]
    assert [answer.context["adminform"].form.errors for answer in answers] == [{kind: [bound]}] * 2


@pytest.mark.parametrize(
    ("model", "fields", "field"),
    [
        ("intervalschedule", {"every": "2147483647", "period": "days"}, "every"),
        ("clockedschedule", {"clocked_time_0": "9999-12-31", "clocked_time_1": "23:59:59"}, "clocked_time"),
    ],
)
def test_the_pages_of_shared_rows_say_the_field_and_the_bound(
    admin: Client, model: str, fields: dict[str, str], field: str
) -> None:
    given = fields | {"periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0"}

    answer = admin.post(f"/admin/django_celery_beat/{model}/add/", given)

    assert answer.context["adminform"].form.errors.keys() == {field}


@pytest.mark.parametrize("name", ["timezone", "initial-timezone"])
def test_a_zone_that_is_none_never_breaks_the_page_of_a_crontab(admin: Client, name: str) -> None:
    fields = dict.fromkeys(("minute", "hour", "day_of_month", "month_of_year", "day_of_week"), "1")

    answer = admin.post(f"{CRONTABS}add/", {"timezone": "UTC", **fields, name: "x" * 300})

    assert answer.status_code == (200 if name == "timezone" else 302)
    assert CrontabSchedule.objects.count() == (0 if name == "timezone" else 1)


def test_the_page_of_a_row_written_elsewhere_says_what_is_wrong_with_it(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * 1", is_scheduled=True)
    PeriodicTask.objects.update(start_time=utc(1, 1, 1))

    assert MOMENTS in text_of(admin.get(f"{TASKS}{schedule_of(workflow).periodic_task_id}/change/"))
    assert admin.get(TASKS).status_code == 200


@pytest.mark.parametrize("key", ["9" * 5000, "9" * 30, "x"])
def test_an_address_that_names_no_workflow_opens_an_empty_form(admin: Client, key: str) -> None:
    assert admin.get(f"{TASKS}add/", {"workflow": key, "interval": key}).status_code == 200
