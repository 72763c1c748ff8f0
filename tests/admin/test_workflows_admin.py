"""Workflows in the admin: forms, buttons, list actions, versions, the check while one types."""

import json
from typing import Any

import pytest
from django.test import Client
from django_celery_beat.models import PeriodicTask

from accounts.models import AuditEntry, User
from tests import factories
from tests.admin.rows import GREET, editor_of, make_file, messages_of, text_of
from workflows import services
from workflows.models import CounterDelta, Execution, Workflow

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
        "concurrency_policy": workflow.concurrency_policy,
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


def test_a_periodic_task_is_made_switched_off_and_deleted_through_services(admin: Client, operator: User) -> None:
    tasks = "/admin/django_celery_beat/periodictask/"

    made = admin.post(
        f"{tasks}add/",
        {
            "name": "nightly",
            "task": "workflows.sweep",
            "enabled": "on",
            "cron": "0 4 * * *",
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


@pytest.mark.parametrize("way", ["button", "action"])
def test_a_paused_workflow_starts_nothing_until_it_is_resumed(admin: Client, way: str) -> None:
    workflow = factories.make_workflow(GREET)

    def press(name: str) -> None:
        if way == "button":
            admin.post(f"{WORKFLOWS}{workflow.pk}/press/{name}/")
        else:
            admin.post(WORKFLOWS, {"action": f"{name}_selected", "_selected_action": [workflow.pk]})
        workflow.refresh_from_db()

    press("pause")
    paused = (workflow.status, workflow.is_enabled, workflow.is_executable)
    press("resume")

    assert paused == ("paused", True, False)
    assert (workflow.status, workflow.is_executable) == ("active", True)
    assert list(AuditEntry.objects.filter(action="workflow.updated").values_list("actor", flat=True)) == (
        ["operator@example.com"] * 2
    )


def test_a_copy_is_disabled_has_the_definition_and_no_history(admin: Client) -> None:
    workflow = factories.make_workflow(
        GREET, trigger_on_file_upload=True, trigger_file_extensions="pdf", timeout_seconds=60, name="N" * 255
    )
    factories.run(workflow)

    answer = admin.post(f"{WORKFLOWS}{workflow.pk}/press/duplicate/")

    copied = Workflow.objects.exclude(pk=workflow.pk).get()
    assert answer["Location"] == f"{WORKFLOWS}{copied.pk}/change/"
    assert copied.name == "N" * 248 + " (copy)"
    assert (copied.is_enabled, copied.owner_id, copied.created_by) == (False, workflow.owner_id, "operator@example.com")
    assert (copied.trigger_on_file_upload, copied.trigger_file_extensions, copied.timeout_seconds) == (True, "pdf", 60)
    assert copied.workflow_config == workflow.workflow_config
    assert copied.uuid != workflow.uuid
    assert not Execution.objects.filter(workflow=copied).exists()
    assert copied.published_version is not None
    assert workflow.published_version is not None
    assert copied.published_version.definition == workflow.published_version.definition
    assert copied.published_version.workflow_id == copied.pk
    assert AuditEntry.objects.get(action="workflow.created", object_id=copied.pk).actor == "operator@example.com"


def test_list_actions_run_and_copy_each_and_say_which_was_refused(admin: Client) -> None:
    owner = factories.make_owner()
    good, bad = (factories.make_workflow(GREET, owner=owner, name=name) for name in ("Good", "Bad"))
    admin.post(f"{WORKFLOWS}{bad.pk}/press/disable/")
    chosen = {"_selected_action": [bad.pk, good.pk]}

    answer = admin.post(WORKFLOWS, {"action": "run_selected", **chosen}, follow=True)
    admin.post(WORKFLOWS, {"action": "duplicate_selected", **chosen})

    execution = Execution.objects.get()
    assert (execution.workflow_id, execution.trigger_data) == (good.pk, {})
    text = text_of(answer)
    assert f"Execution {execution.pk} of Good (#{good.pk}) has started." in text
    assert "Bad: Workflow cannot be executed (status: active, enabled: False)" in text
    assert set(Workflow.objects.values_list("name", flat=True)) == {"Good", "Bad", "Good (copy)", "Bad (copy)"}


def test_run_now_offers_the_last_input_and_takes_a_past_file_like_a_trigger(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    factories.start(workflow, {"who": "Grace"})
    file = make_file(workflow.owner, original_filename="invoice.pdf", filename="ab12.pdf", mime_type="application/pdf")

    offered = admin.get(f"{WORKFLOWS}{workflow.pk}/run/")
    admin.post(f"{WORKFLOWS}{workflow.pk}/run/", {"trigger_data": '{"who": "Ada"}', "file_id": file.pk})
    again = admin.get(f"{WORKFLOWS}{workflow.pk}/run/").context["form"]

    execution = Execution.objects.latest("pk")
    assert json.loads(offered.context["form"]["trigger_data"].value()) == {"who": "Grace"}
    assert f'<option value="{file.pk}">invoice.pdf</option>' in offered.content.decode()
    assert execution.input_file_ids == [file.pk]
    assert execution.trigger_data == {
        "who": "Ada",
        "file_id": file.pk,
        "filename": "ab12.pdf",
        "file_extension": "pdf",
        "original_filename": "invoice.pdf",
        "file_size": 2048,
        "mime_type": "application/pdf",
    }
    # What the file tells is not typed in as well: it comes with the file.
    assert (json.loads(again["trigger_data"].value()), again["file_id"].value()) == ({"who": "Ada"}, file.pk)


def test_run_now_refuses_a_file_of_another_owner(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    file = make_file(factories.make_owner("another"))

    answer = admin.post(f"{WORKFLOWS}{workflow.pk}/run/", {"trigger_data": "{}", "file_id": file.pk})

    assert "File not found" in text_of(answer)
    assert not Execution.objects.exists()


def test_would_this_have_matched_answers_in_a_sentence(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, trigger_on_file_upload=True, trigger_file_extensions="pdf")
    by_hand = factories.make_workflow(GREET, owner=workflow.owner)
    pdf = make_file(workflow.owner, filename="a.pdf")
    text, foreign = make_file(workflow.owner, filename="a.txt"), make_file(factories.make_owner("another"))

    def answer_of(asked: Workflow, file_id: Any) -> str:
        return text_of(admin.get(f"{WORKFLOWS}{asked.pk}/match/", {"file_id": file_id}))

    assert f"yes File {pdf.pk} would start it." in answer_of(workflow, pdf.pk)
    assert f"no File {text.pk} would not start it: the extension &#x27;txt&#x27; is not one of pdf." in answer_of(
        workflow, text.pk
    )
    assert "would not start it: the workflow does not start for files." in answer_of(by_hand, pdf.pk)
    assert "unknown File not found" in answer_of(workflow, foreign.pk)
    assert "Enter a whole number." in answer_of(workflow, "x")
    assert not Execution.objects.exists()


def test_another_owners_workflow_is_out_of_reach_on_every_page(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    services.save_draft(workflow, body={"workflow_config": {"steps": [{**GREET[0], "name": "again"}]}}, actor="test")
    _, client = editor_of("eve")

    for name in ("run", "run_draft", "version", "match"):
        path = f"{WORKFLOWS}{workflow.pk}/{name}/"
        assert client.get(path, {"number": 1}).status_code == 404, name
        assert admin.get(path, {"number": 1}).status_code == 200, name
    for name in ("enable", "disable", "pause", "resume", "duplicate", "publish", "restore"):
        assert client.post(f"{WORKFLOWS}{workflow.pk}/press/{name}/", {"number": 1}).status_code == 404, name
    for name in ("run", "pause", "duplicate", "disable"):
        client.post(WORKFLOWS, {"action": f"{name}_selected", "_selected_action": [workflow.pk]})
    workflow.refresh_from_db()
    assert workflow.is_executable
    assert Workflow.objects.count() == 1
    assert not Execution.objects.exists()


def test_a_deleted_workflow_can_be_looked_at_only(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    services.delete_workflow(workflow, actor="test")

    page = admin.get(f"{WORKFLOWS}{workflow.pk}/change/").content.decode()
    refused = admin.post(f"{WORKFLOWS}{workflow.pk}/press/resume/")

    assert "Save as draft" not in page
    assert "press/pause" not in page
    assert messages_of(refused) == ["Workflow not found"]
