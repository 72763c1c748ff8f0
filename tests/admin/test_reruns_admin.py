"""Running executions again from the admin, and what could not be undone."""

import json
from typing import Any

import pytest
from django.test import Client

from tests import factories
from tests.admin.rows import GREET, editor_of, make_failed, messages_of, text_of
from workflows import services
from workflows.models import Execution, StepAttempt, Workflow, WorkflowInstance

pytestmark = pytest.mark.django_db

EXECUTIONS = "/admin/workflows/execution/"
STEPS = [
    {"name": "first", "type": "log", "config": {"message": "one"}},
    {"name": "second", "type": "log", "config": {"message": "Hello {{trigger.who}}"}},
    {"name": "third", "type": "stop", "config": {"status": "failed", "message": "no more"}},
]
# No file has this id.
UNDO = {"type": "file_process", "config": {"action": "extract", "file_id": 987_654_321}, "max_retries": 0}


def statuses(execution_id: int) -> list[tuple[str, int, str]]:
    return factories.statuses(Execution.objects.get(pk=execution_id))


def test_an_ended_execution_runs_again_from_a_step_with_another_input(admin: Client) -> None:
    execution = factories.run(factories.make_workflow(STEPS), {"who": "Grace"})
    page = f"{EXECUTIONS}{execution.pk}/rerun/"

    form = admin.get(page).context["form"]
    answer = admin.post(page, {"begin": "second", "version": "original", "trigger_data": '{"who": "Ada"}'})
    factories.drain_all()

    again = Execution.objects.latest("pk")
    assert [value for value, _ in form.fields["begin"].choices] == ["start", "failed", "first", "second", "third"]
    assert (form["begin"].value(), json.loads(form["trigger_data"].value())) == ("failed", {"who": "Grace"})
    assert answer["Location"] == f"{EXECUTIONS}{again.pk}/change/"
    assert messages_of(answer) == [f"Execution {execution.pk} runs again: this is the new execution {again.pk}."]
    assert (again.rerun_of_id, again.trigger_data) == (execution.pk, {"who": "Ada"})
    assert factories.outputs(again)["second"]["message"] == "Hello Ada"
    links = text_of(admin.get(f"{EXECUTIONS}{execution.pk}/change/"))
    assert f"Run again as {again.pk}" in links
    assert f"Repeats {execution.pk}" in text_of(admin.get(f"{EXECUTIONS}{again.pk}/change/"))


def test_the_published_version_is_offered_once_it_is_another(admin: Client) -> None:
    workflow = factories.make_workflow(STEPS)
    execution = factories.run(workflow)
    mended = [*STEPS[:2], {"name": "mended", "type": "log", "config": {"message": "fine"}}]
    services.update_workflow(workflow, body={"workflow_config": {"steps": mended}}, actor="test")
    page = f"{EXECUTIONS}{execution.pk}/rerun/"

    fields = admin.get(page).context["form"].fields
    refused = admin.post(page, {"begin": "mended", "version": "original", "trigger_data": "{}"})
    admin.post(page, {"begin": "mended", "version": "published", "trigger_data": "{}"})
    factories.drain_all()

    assert [text for _, text in fields["version"].choices] == [
        "Version 1, with which it ran",
        "Version 2, which is published now",
    ]
    assert ("mended", "From the step mended (published version only)") in fields["begin"].choices
    assert refused.context["form"].non_field_errors() == ["no step is called 'mended'"]
    assert Execution.objects.latest("pk").status == "completed"
    assert Execution.objects.count() == 2


def test_a_running_execution_is_not_run_again(admin: Client) -> None:
    execution = factories.start(factories.make_workflow(STEPS))

    answer = admin.post(f"{EXECUTIONS}{execution.pk}/rerun/", {"begin": "start", "version": "original"})

    assert messages_of(answer) == ["It has not ended: it is pending."]
    assert Execution.objects.count() == 1
    assert "Re-run" not in text_of(admin.get(f"{EXECUTIONS}{execution.pk}/change/"))


def test_chosen_executions_are_listed_before_they_run_again(admin: Client) -> None:
    workflow = factories.make_workflow(STEPS)
    failed = [factories.run(workflow), factories.run(workflow)]
    well = factories.run(factories.make_workflow(GREET, owner=workflow.owner, name="Greets"), {"who": "Grace"})
    chosen = [execution.pk for execution in (*failed, well)]

    preview = admin.post(EXECUTIONS, {"action": "run_again", "_selected_action": chosen})
    untouched = Execution.objects.count()
    keys = preview.context["keys"]
    widened = admin.post(f"{EXECUTIONS}run-again/", {"keys": keys, "with_completed": "1"})
    answer = admin.post(
        f"{EXECUTIONS}run-again/", {"keys": keys, "begin": "failed", "version": "original", "confirm": "1"}
    )

    assert untouched == 3
    assert "2 of 3 chosen executions will run again" in text_of(preview)
    assert "1 is left out: still running, or completed." in text_of(preview)
    assert [item["row"].pk for item in widened.context["rows"]] == sorted(chosen)
    assert messages_of(answer)[-1] == "2 executions run again."
    assert list(Execution.objects.exclude(rerun_of=None).order_by("pk").values_list("rerun_of", flat=True)) == [
        execution.pk for execution in failed
    ]


def test_what_is_refused_among_many_is_said_with_its_reason(admin: Client) -> None:
    workflow = factories.make_workflow(STEPS)
    execution = factories.run(workflow)
    services.set_enabled(workflow, enabled=False, actor="test")

    preview = admin.post(EXECUTIONS, {"action": "run_again", "_selected_action": [execution.pk]})
    answer = admin.post(
        f"{EXECUTIONS}run-again/", {"keys": execution.pk, "begin": "start", "version": "original", "confirm": "1"}
    )

    assert "its workflow cannot start now" in text_of(preview)
    [said] = messages_of(answer)[-1:]
    assert said.startswith(f"Execution {execution.pk} does not run again: ")
    assert Execution.objects.count() == 1


@pytest.mark.parametrize("keys", ["", "abc", "9" * 5000, "0,,x"])
def test_odd_keys_run_nothing(admin: Client, keys: str) -> None:
    given = {"keys": keys, "begin": "start", "version": "original", "confirm": "1"}

    assert admin.post(f"{EXECUTIONS}run-again/", given).status_code == 302
    assert admin.get(f"{EXECUTIONS}run-again/").status_code == 405
    assert not Execution.objects.exists()


def test_another_owners_executions_are_not_run_again() -> None:
    execution = factories.run(factories.make_workflow(STEPS))
    _, eve = editor_of("eve")

    eve.post(f"{EXECUTIONS}run-again/", {"keys": execution.pk, "begin": "start", "version": "original", "confirm": "1"})

    assert eve.get(f"{EXECUTIONS}{execution.pk}/rerun/").status_code == 404
    assert Execution.objects.count() == 1


def make_half_undone() -> Execution:
    """An execution that failed, and of whose two steps one could not be undone."""
    fine = {"type": "log", "config": {"message": "undone"}}
    steps: list[dict[str, Any]] = [
        {**STEPS[0], "compensate": UNDO},
        {**STEPS[1], "compensate": fine},
        STEPS[2],
    ]
    return factories.run(factories.make_workflow(steps), {"who": "Grace"})


def test_the_page_says_what_was_undone_and_what_is_left(admin: Client) -> None:
    execution = make_half_undone()

    page = admin.get(f"{EXECUTIONS}{execution.pk}/change/")

    text = text_of(page)
    assert "1 of 2 steps could not be undone: try again, or undo them yourself and say how." in text
    assert "second undone -" in text
    assert "first not undone" in text
    # The engine refuses to retry a step whose work was undone, so the button is not offered.
    assert "press/retry_step/" not in page.content.decode()


def test_a_step_that_was_undone_by_hand_needs_a_reason_and_closes_the_saga(admin: Client) -> None:
    execution = make_half_undone()
    press = f"{EXECUTIONS}{execution.pk}/press/compensate_by_hand/"

    bare = admin.post(press, {"path": "first", "reason": " "})
    unknown = admin.post(press, {"path": "x", "reason": "y"})
    noted = admin.post(press, {"path": "first", "reason": "cancelled by phone"})

    assert messages_of(bare)[-1:] == ["A reason is required"]
    assert messages_of(unknown)[-1:] == ["no step 'x' is open; open are: first"]
    assert messages_of(noted)[-1:] == ["It is noted that first was undone by hand."]
    assert WorkflowInstance.objects.get(execution=execution).status == "compensated"
    page = text_of(admin.get(f"{EXECUTIONS}{execution.pk}/change/"))
    assert "undone by hand operator@example.com: cancelled by phone" in page
    assert "Try again" not in page


def test_open_steps_are_tried_once_more(admin: Client) -> None:
    execution = make_half_undone()

    answer = admin.post(f"{EXECUTIONS}{execution.pk}/press/retry_compensation/")
    factories.drain_all()
    again = admin.post(f"{EXECUTIONS}{make_failed(factories.make_workflow(GREET))[0].pk}/press/retry_compensation/")

    assert messages_of(answer)[-1:] == ["The open steps are tried once more."]
    tries = StepAttempt.objects.filter(execution=execution, path__contains="compensate", path__startswith="first")
    assert tries.count() >= 2
    assert len(messages_of(again)) >= 1


def test_who_may_only_look_mends_nothing() -> None:
    execution = make_half_undone()
    user, eve = editor_of("eve")
    Workflow.objects.update(owner=execution.owner)
    user.user_permissions.clear()

    for name in ("retry_compensation", "compensate_by_hand"):
        assert eve.post(f"{EXECUTIONS}{execution.pk}/press/{name}/").status_code == 403
    assert eve.post(f"{EXECUTIONS}run-again/").status_code == 403
