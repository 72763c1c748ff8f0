"""Workflows and executions in the admin."""

import json
from typing import Any

import pytest
from django.test import Client
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from accounts.models import AuditEntry, User
from tests import factories
from tests.admin.rows import GREET, make_failed, messages_of, text_of
from workflows.models import Branch, CounterDelta, Execution, Workflow

pytestmark = pytest.mark.django_db

WORKFLOWS = "/admin/workflows/workflow/"
EXECUTIONS = "/admin/workflows/execution/"


def form_of(workflow: Workflow, **changes: Any) -> dict[str, Any]:
    """Return what a browser posts for the workflow's form, with changes."""
    given = {
        "name": workflow.name,
        "description": workflow.description or "",
        "workflow_config": json.dumps(workflow.workflow_config, indent=2),
        "trigger_file_extensions": workflow.trigger_file_extensions or "",
        "cron_schedule": workflow.cron_schedule or "",
        "max_retries": workflow.max_retries,
        "timeout_seconds": workflow.timeout_seconds,
    }
    given |= {name: "on" for name in ("trigger_on_file_upload", "is_scheduled") if getattr(workflow, name)}
    return given | changes


def test_a_workflow_is_made_by_the_service_with_version_and_audit(admin: Client) -> None:
    owner = factories.make_owner()
    config = json.dumps({"steps": GREET})

    answer = admin.post(
        f"{WORKFLOWS}add/",
        {
            "owner": owner.pk,
            "name": "Greeting",
            "workflow_config": config,
            "max_retries": 2,
            "timeout_seconds": 60,
            "trigger_on_file_upload": "on",
            "trigger_file_extensions": "pdf",
        },
    )

    workflow = Workflow.objects.get(name="Greeting")
    assert answer.status_code == 302
    assert (workflow.owner, workflow.max_retries, workflow.timeout_seconds) == (owner, 2, 60)
    assert workflow.trigger_file_extensions == "pdf"
    assert workflow.published_version is not None
    assert workflow.published_version.number == 1
    assert AuditEntry.objects.get(action="workflow.created").actor == "operator@example.com"


def test_a_changed_definition_makes_the_next_version_and_an_unchanged_one_none(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    page = f"{WORKFLOWS}{workflow.pk}/change/"
    steps = [{"name": "greet", "type": "log", "config": {"message": "Good morning"}}]

    admin.post(page, form_of(workflow, description="Says hello"))
    after_description = workflow.versions.count()
    admin.post(page, form_of(workflow, description="Says hello", workflow_config=json.dumps({"steps": steps})))

    workflow.refresh_from_db()
    assert after_description == 1
    assert workflow.versions.count() == 2
    assert workflow.description == "Says hello"
    assert workflow.workflow_config == {"steps": steps}
    assert not workflow.timeout_is_explicit


def test_problems_of_the_definition_are_shown_at_the_field_with_their_place(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    broken = json.dumps({"steps": [{"name": "greet", "type": "logg", "config": {}}]})

    answer = admin.post(f"{WORKFLOWS}{workflow.pk}/change/", form_of(workflow, name="New name", workflow_config=broken))

    [message] = answer.context["adminform"].form.errors["workflow_config"]
    workflow.refresh_from_db()
    assert answer.status_code == 200
    assert message.startswith("/steps/0/type: ")
    assert "logg" in answer.content.decode()
    assert workflow.name == "A workflow"
    assert workflow.versions.count() == 1


def test_a_syntax_mistake_keeps_the_text_and_names_the_line(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)

    answer = admin.post(f"{WORKFLOWS}{workflow.pk}/change/", form_of(workflow, workflow_config='{\n  "steps": [,]\n}'))

    assert answer.context["adminform"].form.errors["workflow_config"] == ["Line 2, column 13: Expecting value"]
    assert "[,]" in answer.content.decode()


def test_a_wrong_cron_schedule_is_named_at_its_field(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)

    answer = admin.post(
        f"{WORKFLOWS}{workflow.pk}/change/", form_of(workflow, is_scheduled="on", cron_schedule="every day")
    )

    assert answer.context["adminform"].form.errors == {"cron_schedule": ["Invalid cron schedule format"]}
    assert not Workflow.objects.get(pk=workflow.pk).is_scheduled


def test_disable_and_enable_by_button_and_by_list_action(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)

    admin.post(f"{WORKFLOWS}{workflow.pk}/press/disable/")
    disabled = Workflow.objects.get(pk=workflow.pk).is_enabled
    admin.post(WORKFLOWS, {"action": "enable_selected", "_selected_action": [workflow.pk]})

    assert not disabled
    assert Workflow.objects.get(pk=workflow.pk).is_enabled
    assert AuditEntry.objects.filter(action="workflow.updated").count() == 2


def test_run_now_starts_an_execution_with_the_input(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)

    answer = admin.post(f"{WORKFLOWS}{workflow.pk}/run/", {"trigger_data": '{"who": "Grace"}'})

    execution = Execution.objects.get()
    assert answer["Location"] == f"{EXECUTIONS}{execution.pk}/change/"
    assert (execution.trigger_type, execution.trigger_data) == ("manual", {"who": "Grace"})
    factories.drain_all()
    assert "Hello Grace" in text_of(admin.get(answer["Location"]))


@pytest.mark.parametrize("text", ["[1]", "{", '"x"'])
def test_run_now_refuses_input_that_is_no_object(admin: Client, text: str) -> None:
    workflow = factories.make_workflow(GREET)

    answer = admin.post(f"{WORKFLOWS}{workflow.pk}/run/", {"trigger_data": text})

    assert "trigger_data" in answer.context["form"].errors
    assert not Execution.objects.exists()


def test_run_now_of_a_disabled_workflow_says_why_not(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, is_enabled=False)

    answer = admin.post(f"{WORKFLOWS}{workflow.pk}/run/", {"trigger_data": "{}"})

    assert "Workflow cannot be executed (status: active" in text_of(answer)
    assert not Execution.objects.exists()


def test_deleting_a_workflow_is_soft_and_cancels_what_runs(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    execution = factories.start(workflow)

    asked = text_of(admin.get(f"{WORKFLOWS}{workflow.pk}/delete/"))
    admin.post(f"{WORKFLOWS}{workflow.pk}/delete/", {"post": "yes"})

    execution.refresh_from_db()
    assert "Running executions are cancelled" in asked
    assert Workflow.objects.get(pk=workflow.pk).status == "deleted"
    assert execution.status == "cancelled"
    admin.get(WORKFLOWS)  # shows the message that names the workflow
    assert "A workflow" not in text_of(admin.get(WORKFLOWS))


def test_the_list_counts_runs_that_were_not_folded_yet(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    factories.run(workflow)

    page = text_of(admin.get(WORKFLOWS))

    assert CounterDelta.objects.count() == 1
    assert "A workflow enabled by hand 1 0" in page


def test_a_failed_execution_says_why_in_a_sentence_with_step_and_code(admin: Client) -> None:
    execution, attempt = make_failed(factories.make_workflow(GREET))

    page = admin.get(f"{EXECUTIONS}{execution.pk}/change/")

    text = text_of(page)
    assert "Why it failed failed Step &#x27;greet&#x27; failed: the log is full LOG_FULL" in text
    assert "the log is full (LOG_FULL)" in text
    assert "the name was cut" in text
    assert "Hello &lt;b&gt;Grace&lt;/b&gt;" in page.content.decode()
    assert f'name="attempt" value="{attempt.pk}"' in page.content.decode()
    assert "failed: the log is full" in text_of(admin.get(EXECUTIONS))


def test_retrying_the_failed_step_runs_it_again_in_the_same_execution(admin: Client) -> None:
    execution, attempt = make_failed(factories.make_workflow(GREET))

    answer = admin.post(f"{EXECUTIONS}{execution.pk}/press/retry_step/", {"attempt": attempt.pk})
    factories.drain_all()

    execution.refresh_from_db()
    assert messages_of(answer) == ["Step greet runs again, and the steps after it."]
    assert execution.status == "completed"
    assert factories.statuses(execution) == [("greet", 1, "failed"), ("greet", 2, "completed")]
    page = text_of(admin.get(f"{EXECUTIONS}{execution.pk}/change/"))
    assert "1 of 2" in page
    assert "2 of 2" in page


@pytest.mark.parametrize("wanted", ["", "x", "99999999999999999999"])
def test_retrying_a_step_that_is_not_there_is_not_found(admin: Client, wanted: str) -> None:
    execution, _ = make_failed(factories.make_workflow(GREET))

    assert admin.post(f"{EXECUTIONS}{execution.pk}/press/retry_step/", {"attempt": wanted}).status_code == 404


def test_an_execution_that_completed_refuses_a_retry_with_a_message(admin: Client) -> None:
    execution = factories.run(factories.make_workflow(GREET))
    attempt = execution.attempts.get()

    answer = admin.post(f"{EXECUTIONS}{execution.pk}/press/retry_step/", {"attempt": attempt.pk})

    assert messages_of(answer) == ["Step cannot be retried (status: completed)"]


def test_cancelling_ends_an_execution_that_waits_and_is_refused_afterwards(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    page = f"{EXECUTIONS}{execution.pk}/"

    admin.post(f"{page}press/cancel/")
    again = admin.post(f"{page}press/cancel/")

    execution.refresh_from_db()
    assert execution.status == "cancelled"
    assert "Execution has already finished (status: cancelled)" in messages_of(again)
    assert "press/cancel" not in admin.get(f"{page}change/").content.decode()


def test_a_waiting_execution_says_what_it_waits_for(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(GREET))
    Branch.objects.filter(execution=execution).update(waiting_on="timer", waiting_reason="pauses until 12:00")

    assert "pauses until 12:00" in text_of(admin.get(EXECUTIONS))
    assert "Why it waits pending pauses until 12:00" in text_of(admin.get(f"{EXECUTIONS}{execution.pk}/change/"))


def test_executions_are_filtered_by_status_and_trigger_and_found_by_id_and_uuid(admin: Client) -> None:
    failed, _ = make_failed(factories.make_workflow(GREET))
    other = factories.start(factories.make_workflow(GREET))
    found = f"{EXECUTIONS}{failed.pk}/change/"
    not_found = f"{EXECUTIONS}{other.pk}/change/"

    for query in ({"status__exact": "failed"}, {"q": failed.pk}, {"q": str(failed.uuid)}):
        body = admin.get(EXECUTIONS, query).content.decode()
        assert found in body, query
        assert not_found not in body, query
    assert found not in admin.get(EXECUTIONS, {"trigger_type__exact": "scheduled"}).content.decode()


def test_executions_cannot_be_made_changed_or_deleted_by_hand(admin: Client) -> None:
    execution, _ = make_failed(factories.make_workflow(GREET))
    page = f"{EXECUTIONS}{execution.pk}/"

    assert admin.get(f"{EXECUTIONS}add/").status_code == 403
    assert admin.post(f"{page}change/", {"status": "completed"}).status_code == 403
    assert admin.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    assert Execution.objects.get(pk=execution.pk).status == "failed"


def test_a_periodic_task_is_made_switched_off_and_deleted_through_services(admin: Client, operator: User) -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="4")
    tasks = "/admin/django_celery_beat/periodictask/"

    made = admin.post(
        f"{tasks}add/",
        {
            "name": "nightly",
            "task": "workflows.sweep",
            "enabled": "on",
            "crontab": crontab.pk,
            "args": "[]",
            "kwargs": "{}",
            "headers": "{}",
        },
    )
    task = PeriodicTask.objects.get(name="nightly")
    admin.post(tasks, {"action": "disable_tasks", "_selected_action": [task.pk]})
    switched_off = not PeriodicTask.objects.get(pk=task.pk).enabled
    admin.post(f"{tasks}{task.pk}/delete/", {"post": "yes"})

    assert made.status_code == 302
    assert switched_off
    assert not PeriodicTask.objects.filter(pk=task.pk).exists()
    actions = list(AuditEntry.objects.order_by("id").values_list("action", "actor"))
    assert actions == [(f"schedule.{verb}", operator.email) for verb in ("created", "updated", "deleted")]
