"""The same edit through the API, the admin's form and the admin's actions leaves the same rows."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models import Model
from django.test import Client
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from accounts import services as accounts
from accounts.models import AuditEntry, Owner
from tests import factories
from tests.admin.rows import GREET
from tests.admin.test_workflows_admin import WORKFLOWS, form_of
from workflows.models import Workflow, WorkflowSchedule, WorkflowVersion

pytestmark = pytest.mark.django_db

OTHER = {"steps": [{"name": "greet", "type": "log", "config": {"message": "Good morning"}}]}
BROKEN = {"steps": [{"name": "greet", "type": "logg", "config": {}}, {"name": "greet", "type": "delay"}]}
CRON = {"is_scheduled": True, "cron_schedule": "0 4 * * *"}
DUMPED: tuple[type[Model], ...] = (
    Workflow,
    WorkflowVersion,
    WorkflowSchedule,
    PeriodicTask,
    CrontabSchedule,
    AuditEntry,
)
# Names of requests, and keys, which no two rows share.
IGNORED = {"request_id", "correlation_id", "id", "pk"}


@dataclass(frozen=True)
class Edit:
    """One edit in the words of each way; a way that has no words for it is left out."""

    name: str
    body: dict[str, Any] | None
    form: dict[str, Any] | None = None
    button: str = ""
    action: str = ""
    given: dict[str, Any] = field(default_factory=dict)


EDITS = [
    # The list has actions for states only: names, texts and definitions differ from row to row.
    Edit("rename", {"name": "Renamed"}, form={"name": "Renamed"}),
    Edit("description", {"description": "Says hello"}, form={"description": "Says hello"}),
    Edit("definition", {"workflow_config": OTHER}, form={"workflow_config": json.dumps(OTHER, indent=2)}),
    Edit("bad definition", {"workflow_config": BROKEN}, form={"workflow_config": json.dumps(BROKEN)}),
    Edit(
        "file trigger",
        {"trigger_on_file_upload": True, "trigger_file_extensions": "pdf,csv"},
        form={"trigger_on_file_upload": "on", "trigger_file_extensions": "pdf,csv"},
    ),
    Edit("cron on", CRON, form={"is_scheduled": "on", "cron_schedule": "0 4 * * *"}),
    Edit("cron off", {"is_scheduled": False}, form={"is_scheduled": ""}, given=CRON),
    Edit("limits", {"max_retries": 5, "timeout_seconds": 60}, form={"max_retries": 5, "timeout_seconds": 60}),
    # The form has no box for what its buttons do.
    Edit("enable", {"is_enabled": True}, button="enable", action="enable_selected", given={"is_enabled": False}),
    Edit("disable", {"is_enabled": False}, button="disable", action="disable_selected"),
    Edit("pause", {"status": "paused"}, button="pause", action="pause_selected"),
    Edit("resume", {"status": "active"}, button="resume", action="resume_selected", given={"status": "paused"}),
    Edit("delete", None, button="delete", action="delete_selected", given=CRON),
]


class Ways:
    """The doors to an edit. Each answers the problems it was told of, as (place, message)."""

    def __init__(self, admin: Client, owner: Owner) -> None:
        self.admin = admin
        _, key = accounts.create_api_key(owner=owner, name="test", scopes=["read", "write"], actor="test")
        self.api_client = Client(headers={"X-API-Key": key})

    def api(self, edit: Edit, workflow: Workflow) -> list[tuple[str, str]]:
        path = f"/api/v1/workflows/{workflow.pk}"
        if edit.body is None:
            answer = self.api_client.delete(path)
        else:
            answer = self.api_client.put(path, json.dumps(edit.body), content_type="application/json")
        assert answer.status_code in (200, 400)
        return sorted(
            ("/" + "/".join(problem["loc"][1:]), problem["msg"]) for problem in answer.json().get("errors", [])
        )

    def form(self, edit: Edit, workflow: Workflow) -> list[tuple[str, str]]:
        answer = self.admin.post(f"{WORKFLOWS}{workflow.pk}/change/", form_of(workflow, **(edit.form or {})))
        if answer.status_code == 302:
            return []
        shown = [message for messages in answer.context["adminform"].form.errors.values() for message in messages]
        return sorted((place, message) for place, message in (text.split(": ", 1) for text in shown))

    def button(self, edit: Edit, workflow: Workflow) -> list[tuple[str, str]]:
        path = "delete/" if edit.button == "delete" else f"press/{edit.button}/"
        assert self.admin.post(f"{WORKFLOWS}{workflow.pk}/{path}", {"post": "yes"}).status_code == 302
        return []

    def action(self, edit: Edit, workflow: Workflow) -> list[tuple[str, str]]:
        chosen = {"action": edit.action, "_selected_action": [workflow.pk], "post": "yes"}
        assert self.admin.post(WORKFLOWS, chosen).status_code == 302
        return []


def dump_of(workflow: Workflow, *, after_audit: int) -> dict[str, list[Any]]:
    """Return every row about workflows, without what tells one run, moment or person from another."""
    rows: dict[str, list[Any]] = {}
    for model in DUMPED:
        found = model._default_manager.order_by("pk")
        if model is AuditEntry:
            found = found.filter(pk__gt=after_audit)
        rows[model.__name__] = [normal(row, workflow) for row in found.values()]
    return rows


def normal(value: Any, workflow: Workflow) -> Any:
    if isinstance(value, dict):
        kept = {name: item for name, item in value.items() if name not in IGNORED and not name.endswith("_id")}
        kept = {
            name: "the workflow" if (name, item) == ("workflow", workflow.pk) else item for name, item in kept.items()
        }
        return {name: normal(item, workflow) for name, item in kept.items() if name not in ("crontab", "actor")}
    if isinstance(value, list):
        return [normal(item, workflow) for item in value]
    if isinstance(value, datetime):
        return "a moment"
    if isinstance(value, UUID):
        return "a uuid"
    if isinstance(value, str):
        value = re.sub(r"\b(operator@example\.com|[\w:]*pak_[\w-]+)", "the actor", value)
        value = re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)?", "a moment", value)
        value = re.sub(r"\bschedule \d+", "schedule N", value)
        return re.sub(rf"\bWorkflow {workflow.pk}\b", "Workflow N", value)
    return value


class Undo(Exception):
    """Takes back what a way has done, so that the next one begins where it began."""


def rows_after(edit: Edit, way: Callable[[Edit, Workflow], Any], owner: Owner) -> tuple[Any, dict[str, list[Any]]]:
    found: tuple[Any, dict[str, list[Any]]] = ([], {})
    try:
        with transaction.atomic():
            workflow = factories.make_workflow(GREET, owner=owner, **edit.given)
            before = AuditEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
            problems = way(edit, workflow)
            found = (problems, dump_of(workflow, after_audit=before))
            raise Undo
    except Undo:
        return found


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_leaves_equal_rows_and_errors_whichever_way_it_came(admin: Client, edit: Edit) -> None:
    owner = factories.make_owner()
    ways = Ways(admin, owner)
    others = {name: getattr(ways, name) for name in ("form", "button", "action") if getattr(edit, name)}

    by_api = rows_after(edit, ways.api, owner)
    by_others = {name: rows_after(edit, way, owner) for name, way in others.items()}
    untouched = rows_after(edit, lambda edit, workflow: [], owner)

    problems, rows = by_api
    assert len(others) >= 1
    for name, (told, left) in by_others.items():
        assert told == problems, name
        for table in rows:
            assert left[table] == rows[table], (name, table)
    if edit.name == "bad definition":
        assert [place for place, _ in problems] == ["/steps/0/type", "/steps/1/name"]
        assert rows == untouched[1]
    else:
        assert problems == []
        assert rows != untouched[1]
        assert len(rows["AuditEntry"]) >= 1
