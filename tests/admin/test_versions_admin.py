"""Versions and drafts of a workflow in the admin: kept, compared, restored, published."""

import json

import pytest
from django.test import Client

from tests import factories
from tests.admin.rows import GREET, messages_of, text_of
from tests.admin.test_workflows_admin import WORKFLOWS, form_of
from workflows import services
from workflows.models import Execution

pytestmark = pytest.mark.django_db


def test_a_draft_is_kept_run_as_a_test_edited_and_published(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    page = f"{WORKFLOWS}{workflow.pk}/"
    drafted = {"steps": [{"name": "greet", "type": "log", "config": {"message": "A draft for {{trigger.who}}"}}]}

    kept = admin.post(
        f"{page}change/",
        form_of(workflow, name="Not kept", workflow_config=json.dumps(drafted), workflows_workflow_save_as_draft=""),
    )
    workflow.refresh_from_db()
    name, published = workflow.name, workflow.workflow_config
    admin.post(f"{page}run_draft/", {"trigger_data": '{"who": "Ada"}'})
    factories.drain_all()
    shown = text_of(admin.get(f"{page}change/"))
    edited = admin.get(f"{page}change/?version=2")
    admin.post(f"{page}press/publish/")

    workflow.refresh_from_db()
    assert kept["Location"] == f"{page}change/"
    assert (name, published) == ("A workflow", {"steps": GREET})
    assert Execution.objects.get().is_test
    assert factories.outputs(Execution.objects.get())["greet"]["message"] == "A draft for Ada"
    assert "A draft is kept." in shown
    assert json.loads(edited.context["adminform"].form["workflow_config"].value()) == drafted
    assert "The editor holds version 2. Nothing has changed until you save." in text_of(edited)
    assert workflow.workflow_config == drafted
    assert "A draft is kept." not in text_of(admin.get(f"{page}change/"))


def test_versions_are_listed_compared_and_restored(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, timeout_seconds=60)
    page = f"{WORKFLOWS}{workflow.pk}/"
    other = {"steps": [{"name": "greet", "type": "log", "config": {"message": "Good morning"}}]}
    admin.post(f"{page}change/", form_of(workflow, name="Renamed", workflow_config=json.dumps(other), max_retries=9))

    listed = text_of(admin.get(f"{page}change/"))
    compared = admin.get(f"{page}version/", {"number": 1})
    answer = admin.post(f"{page}press/restore/", {"number": 1})

    workflow.refresh_from_db()
    changed = [(line.sign, line.text.strip()) for line in compared.context["lines"] if line.sign in ("+", "-")]
    first, third = workflow.versions.get(number=1), workflow.versions.get(number=3)
    assert "2 published" in listed
    assert "operator@example.com" in listed
    assert ("-", '"message": "Hello {{trigger.who}}"') in changed
    assert ("+", '"message": "Good morning"') in changed
    assert messages_of(answer) == ["The definition of version 1 is published again."]
    assert workflow.published_version == third
    assert third.definition == first.definition
    assert (workflow.name, workflow.max_retries, workflow.workflow_config) == ("Renamed", 3, {"steps": GREET})
    assert admin.post(f"{page}press/restore/", {"number": "99"}).status_code == 404


def test_restoring_a_version_that_changed_only_limits_brings_its_steps_back_too(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    services.update_workflow(workflow, body={"max_retries": 7}, actor="test")
    steps = [{"name": "other", "type": "delay", "config": {"seconds": 1}}]
    services.update_workflow(workflow, body={"steps": steps, "max_retries": 1, "timeout_seconds": 9}, actor="test")

    admin.post(f"{WORKFLOWS}{workflow.pk}/press/restore/", {"number": 2})

    second, fourth = workflow.versions.get(number=2), workflow.versions.get(number=4)
    assert fourth.definition == second.definition
    assert fourth.definition["settings"]["timeout_is_explicit"] is False
    assert [step["name"] for step in fourth.definition["steps"]] == ["greet"]
