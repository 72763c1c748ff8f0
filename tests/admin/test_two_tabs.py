"""Two people, or two tabs, edit the same row: the second is told before the first one's change is lost."""

import json
import re

import pytest
from django.test import Client

from accounts.models import Owner
from core.admin.forms import CHANGED_ELSEWHERE
from tests import factories
from tests.admin.rows import GREET
from tests.admin.schedule_pages import TASKS
from tests.admin.schedule_pages import form_of as schedule_form
from tests.admin.test_workflows_admin import WORKFLOWS, form_of
from workflows.models import Workflow, WorkflowSchedule

pytestmark = pytest.mark.django_db


def seen_on(admin: Client, page: str) -> str:
    """Return what the open page's form carries of the row's state."""
    form = re.findall(r"<form [^>]*_form\".*?</form>", admin.get(page).content.decode(), re.DOTALL)
    found = re.findall(r'name="_seen" value="([0-9a-f]{16})"', "".join(form))
    assert len(found) == 1
    return str(found[0])


def test_a_workflow_that_was_changed_elsewhere_is_saved_only_when_it_is_said_again(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    page = f"{WORKFLOWS}{workflow.pk}/change/"
    mine = form_of(workflow, description="mine", _seen=seen_on(admin, page))
    admin.post(page, form_of(workflow, name="theirs", _seen=mine["_seen"]))

    told = admin.post(page, mine)
    kept = Workflow.objects.get(pk=workflow.pk)
    again = admin.post(page, mine | {"_seen": told.context["adminform"].form.seen})

    assert told.context["adminform"].form.errors == {"__all__": [CHANGED_ELSEWHERE]}
    assert (kept.name, kept.description) == ("theirs", None)
    assert again.status_code == 302
    assert Workflow.objects.values_list("name", "description").get(pk=workflow.pk) == ("A workflow", "mine")


def test_what_runs_and_is_switched_meanwhile_stands_in_nobodys_way(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    page = f"{WORKFLOWS}{workflow.pk}/change/"
    seen = seen_on(admin, page)
    factories.run(workflow)
    admin.post(f"{WORKFLOWS}{workflow.pk}/press/disable/")

    answer = admin.post(page, form_of(workflow, name="mine", _seen=seen))

    assert answer.status_code == 302
    assert Workflow.objects.values_list("name", "is_enabled").get(pk=workflow.pk) == ("mine", False)


def test_an_older_version_in_the_editor_is_saved_like_any_change(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    page = f"{WORKFLOWS}{workflow.pk}/change/"
    other = [{"name": "other", "type": "log", "config": {"message": "Other"}}]
    admin.post(page, form_of(workflow, workflow_config=json.dumps({"steps": other})))
    seen = seen_on(admin, f"{page}?version=1")

    answer = admin.post(f"{page}?version=1", form_of(workflow, _seen=seen))

    assert answer.status_code == 302
    assert Workflow.objects.get(pk=workflow.pk).workflow_config == {"steps": GREET}


def test_a_team_and_a_schedule_are_kept_from_being_overwritten_too(admin: Client) -> None:
    team = factories.make_owner("Ada")
    workflow = factories.make_workflow(GREET, cron_schedule="0 9 * * *", is_scheduled=True)
    task = WorkflowSchedule.objects.get(workflow=workflow).periodic_task
    pages = [f"/admin/accounts/owner/{team.pk}/change/", f"{TASKS}{task.pk}/change/"]
    seen = [seen_on(admin, page) for page in pages]
    admin.post(pages[0], {"name": "Babbage", "members": []})
    admin.post(pages[1], schedule_form(name=task.name, cron="0 10 * * *", zone="UTC"))

    answers = [
        admin.post(pages[0], {"name": "Curie", "members": [], "_seen": seen[0]}),
        admin.post(pages[1], schedule_form(name=task.name, cron="0 11 * * *", zone="UTC", _seen=seen[1])),
    ]

    for answer in answers:
        assert answer.context["adminform"].form.errors == {"__all__": [CHANGED_ELSEWHERE]}
    assert Owner.objects.get(pk=team.pk).name == "Babbage"
    assert Workflow.objects.get(pk=workflow.pk).cron_schedule == "0 10 * * *"
