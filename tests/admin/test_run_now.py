"""Running a workflow by hand, why it cannot, and the limits that its form holds."""

import html

import pytest
from django.test import Client

from accounts import services as accounts
from accounts.models import User
from tests import factories
from tests.admin.rows import GREET, make_file, messages_of, text_of
from tests.admin.test_workflows_admin import WORKFLOWS, form_of
from workflows.models import Execution, Workflow

pytestmark = pytest.mark.django_db


def test_run_now_refuses_a_key_that_the_chosen_file_gives_another_value(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    file = make_file(workflow.owner, filename="ab12.pdf")
    given = {"trigger_data": '{"who": "Ada", "filename": "other.pdf"}', "file_id": file.pk}

    answer = admin.post(f"{WORKFLOWS}{workflow.pk}/run/", given)

    assert 'The file gives filename ("ab12.pdf") too: take it out of the input' in html.unescape(text_of(answer))
    assert not Execution.objects.exists()


def test_a_run_of_a_draft_that_is_not_there_starts_nothing_and_says_so(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)

    answers = [getattr(admin, way)(f"{WORKFLOWS}{workflow.pk}/run_draft/") for way in ("get", "post")]

    said = "A workflow has no draft: nothing was started. Run now starts the published version."
    assert [messages_of(answer)[-1:] for answer in answers] == [[said], [said]]
    assert not Execution.objects.exists()


def test_own_pages_have_a_heading(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)

    page = admin.get(f"{WORKFLOWS}{workflow.pk}/run/").content.decode()

    assert '<h1 class="page-title">Run A workflow now</h1>' in page


def test_a_workflow_that_cannot_run_says_why_there_is_no_button(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    page = f"{WORKFLOWS}{workflow.pk}/change/"

    admin.post(f"{WORKFLOWS}{workflow.pk}/press/pause/")
    paused = text_of(admin.get(page))
    admin.post(f"{WORKFLOWS}{workflow.pk}/press/resume/")
    running = text_of(admin.get(page))
    admin.post(f"{WORKFLOWS}{workflow.pk}/press/disable/")

    assert "Nothing can start it, also not by hand: it is paused. Resume it to run it." in paused
    assert "Nothing can start it" not in running
    assert "it is disabled. Enable it to run it." in text_of(admin.get(page))


def test_a_new_workflow_is_the_signed_in_users_unless_chosen_otherwise(admin: Client, operator: User) -> None:
    form = admin.get(f"{WORKFLOWS}add/").context["adminform"].form

    assert form["owner"].value() == accounts.owner_of_user(operator).pk


def test_limits_and_retention_are_edited_and_taken_away_again(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    page = f"{WORKFLOWS}{workflow.pk}/change/"
    names = ("concurrency_limit", "concurrency_key", "concurrency_policy", "retention_days", "retention_failed_days")

    def stored() -> tuple[object, ...]:
        return Workflow.objects.values_list(*names, "retention_count").get(pk=workflow.pk)

    limits = {"concurrency_limit": 3, "concurrency_key": "{{trigger.who}}", "concurrency_policy": "skip"}
    kept = {"retention_days": 7, "retention_failed_days": 90, "retention_count": 1000}
    admin.post(page, form_of(workflow, **limits, **kept))
    limited = stored()
    admin.post(page, form_of(workflow, **dict.fromkeys((*names, "retention_count"), "")))

    assert limited == (3, "{{trigger.who}}", "skip", 7, 90, 1000)
    assert stored() == (None, "", "skip", None, None, None)
