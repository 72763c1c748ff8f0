"""`cron_schedule`, `is_scheduled` and `next_run_at` over the API: answered from the schedule's rows."""

from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from accounts.models import User
from tests import factories
from tests.unit.workflows.schedules import at, crontab, make_schedule, schedule_of
from workflows import timetables
from workflows.models import Workflow
from workflows.services import schedules

pytestmark = pytest.mark.django_db


def body(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "workflow_config": {"steps": [{"name": "say", "type": "log", "config": {}}]}, **fields}


def send(client: Client, method: str, path: str, **fields: Any) -> Any:
    answer = getattr(client, method)(path, fields or None, content_type="application/json")
    assert answer.status_code < 300, answer.content
    return answer.json()


def shown(answer: dict[str, Any]) -> tuple[Any, ...]:
    return answer["cron_schedule"], answer["is_scheduled"], answer["next_run_at"]


def test_a_schedule_is_made_read_changed_and_switched_off(service: Client) -> None:
    with at(2025, 9, 1, 8):
        made = send(service, "post", "/workflows", **body(cron_schedule="0 9 * * 1", is_scheduled=True))
        path = f"/workflows/{made['id']}"
        assert shown(made) == ("0 9 * * 1", True, "2025-09-01T09:00:00Z")
        assert shown(send(service, "get", path)) == shown(made)
        assert [shown(item) for item in service.get("/api/v1/workflows").json()] == [shown(made)]

        changed = send(service, "put", path, cron_schedule="30 10 * * *")
        assert shown(changed) == ("30 10 * * *", True, "2025-09-01T10:30:00Z")

        off = send(service, "put", path, is_scheduled=False)
        assert shown(off) == ("30 10 * * *", False, None)
    assert PeriodicTask.objects.count() == 1


def test_what_an_operator_changes_is_what_the_api_answers(service: Client) -> None:
    with at(2025, 7, 1, 8):
        made = send(service, "post", "/workflows", **body(cron_schedule="0 9 * * *", is_scheduled=True))
        task = PeriodicTask.objects.get()
        task.crontab = crontab("15 12 * * *", "Europe/Berlin")
        schedules.save_schedule(task, actor="operator")

        assert shown(send(service, "get", f"/workflows/{made['id']}")) == ("15 12 * * *", True, "2025-07-01T10:15:00Z")


def test_the_earliest_of_several_schedules_is_the_next_run(service: Client) -> None:
    with at(2025, 7, 1, 8):
        made = send(service, "post", "/workflows", **body(cron_schedule="0 12 * * *", is_scheduled=True))
        make_schedule(Workflow.objects.get(), crontab=crontab("0 11 * * *"))

        assert shown(send(service, "get", f"/workflows/{made['id']}"))[2] == "2025-07-01T11:00:00Z"


@pytest.mark.parametrize("change", [{"is_enabled": False}, {"status": "paused"}])
def test_a_workflow_that_may_not_start_has_no_next_run(service: Client, change: dict[str, Any]) -> None:
    made = send(service, "post", "/workflows", **body(cron_schedule="0 9 * * *", is_scheduled=True))

    assert shown(send(service, "put", f"/workflows/{made['id']}", **change)) == ("0 9 * * *", True, None)


def test_dialect_b_scheduled_without_a_cron_is_saved_and_never_due(service: Client) -> None:
    answer = service.post(
        "/api/v1/workflows", {"name": "B", "trigger_type": "scheduled", "steps": []}, content_type="application/json"
    )

    assert answer.status_code == 201
    assert shown(answer.json()) == (None, True, None)


@pytest.mark.parametrize(
    "cron", ["nope", "* * * *", "0 9 * * * *", "61 * * * *", "0 0 31 2 *", "0 9 * * " + "1," * 39 + "1"]
)
def test_a_bad_cron_is_400_with_the_contracts_words_and_changes_nothing(service: Client, cron: str) -> None:
    made = send(service, "post", "/workflows", **body(cron_schedule="0 9 * * *", is_scheduled=True))

    answer = service.put(f"/workflows/{made['id']}", {"cron_schedule": cron}, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["detail"] == "Invalid cron schedule format"
    assert shown(send(service, "get", f"/workflows/{made['id']}")) == shown(made)


# --- One rule for all doors -------------------------------------------------------------------------
CRONS = {
    "0 9 * * 1": True,
    "*/15 8-18/2 1,15 jan-JUN MON-FRI": True,
    "0 9 * * 7": True,
    "0 0 29 2 *": True,
    "0 0 L * *": False,
    "0 0 * * 5#3": False,
    "*/99999999999999 * * * *": False,
    "5/15 * * * *": False,
    "0 22-2 * * *": False,
    "0 0 30 2 *": False,
    "0 0 * * " + "1," * 32 + "1": False,
    "0 0 " + "1," * 50 + "1 * *": False,
}
WORDS = "Invalid cron schedule format"


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator@example.com", "correct horse battery"))
    return client


@pytest.mark.parametrize(("cron", "is_good"), CRONS.items())
@pytest.mark.parametrize(
    "fields",
    [
        lambda cron: body(cron_schedule=cron),
        lambda cron: {"name": "B", "trigger_type": "scheduled", "trigger_config": {"cron": cron}, "steps": []},
        lambda cron: {"name": "C", "config": {"steps": []}, "cron_expression": cron, "triggers": []},
    ],
    ids="ABC",
)
def test_every_dialect_holds_the_rule(service: Client, fields: Any, cron: str, is_good: bool) -> None:
    answer = service.post("/workflows", fields(cron), content_type="application/json")

    if is_good:
        assert answer.json()["cron_schedule"] == cron
    else:
        assert (answer.status_code, answer.json()["detail"]) == (400, WORDS)
    assert PeriodicTask.objects.exists() == CrontabSchedule.objects.exists() == is_good


@pytest.mark.parametrize(("cron", "is_good"), CRONS.items())
def test_validate_cron_holds_the_rule(service: Client, cron: str, is_good: bool) -> None:
    answer = service.post(f"/workflows/validate-cron?{urlencode({'cron_expression': cron})}")

    assert answer.json()["is_valid"] == is_good
    assert len(answer.json().get("next_runs", [])) == (5 if is_good else 0)


@pytest.mark.parametrize(("cron", "is_good"), CRONS.items())
def test_the_admins_schedule_form_holds_the_rule(admin: Client, cron: str, is_good: bool) -> None:
    given = {"name": "x", "enabled": "on", "workflow": factories.make_workflow([]).pk, "cron": cron, "zone": "UTC"}

    answer = admin.post("/admin/django_celery_beat/periodictask/add/", given)

    assert answer.status_code == (302 if is_good else 200)
    assert PeriodicTask.objects.exists() == CrontabSchedule.objects.exists() == is_good


@pytest.mark.parametrize(("cron", "is_good"), CRONS.items())
def test_the_admins_crontab_form_holds_the_rule(admin: Client, cron: str, is_good: bool) -> None:
    given = dict(zip(timetables.CRON_FIELDS, cron.split(), strict=True)) | {"timezone": "UTC"}
    given |= {"periodictask_set-TOTAL_FORMS": "0", "periodictask_set-INITIAL_FORMS": "0"}

    answer = admin.post("/admin/django_celery_beat/crontabschedule/add/", given)

    assert answer.status_code == (302 if is_good else 200)
    assert CrontabSchedule.objects.exists() == is_good


@pytest.mark.parametrize(("cron", "is_good"), CRONS.items())
def test_a_row_written_by_other_means_is_held_to_the_rule(cron: str, is_good: bool) -> None:
    workflow = factories.make_workflow([], cron_schedule="0 9 * * 1", is_scheduled=True)
    columns = dict(zip(timetables.CRON_FIELDS, cron.split(), strict=True))
    if len(columns["day_of_week"]) <= 64:
        CrontabSchedule.objects.update(**columns)

        schedules.follow_edits(everything=True)

        assert (timetables.find_timetable(schedule_of(workflow)) is not None) == is_good
        assert (schedule_of(workflow).next_slot_at is not None) == is_good
