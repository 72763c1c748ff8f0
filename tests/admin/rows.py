"""Rows that the admin shows, and reading what it answers."""

import re
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client
from django.utils.html import strip_tags

from accounts.models import Owner, User
from files.models import File, FileContent
from tests import factories
from workflows.choices import ExecutionStatus
from workflows.engine import program
from workflows.models import Execution, StepAttempt, Workflow

GREET = [{"name": "greet", "type": "log", "config": {"message": "Hello {{trigger.who}}"}}]


def make_file(owner: Owner, **fields: Any) -> File:
    number = File.objects.count()
    given = {
        "filename": f"{number:064x}.txt",
        "original_filename": "report.txt",
        "file_path": f"{number:064x}.txt",
        "mime_type": "text/plain",
        "file_size": 2048,
        "file_hash": f"{number:064x}",
        "status": "processed",
    }
    return File.objects.create(owner=owner, **(given | fields))


def make_text(file: File, text: str, tables: list[dict[str, Any]] | None = None) -> FileContent:
    return FileContent.objects.create(file=file, text=text, tables=tables or [])


def make_failed(workflow: Workflow) -> tuple[Execution, StepAttempt]:
    """An execution whose only step failed for good, as the engine leaves it."""
    execution = factories.start(workflow, {"who": "Grace"})
    execution.branches.all().delete()
    node = program.of_version(execution.version_id).nodes[0]
    attempt = StepAttempt.objects.create(
        execution=execution,
        path="greet",
        node=node.index,
        step_order=1,
        step_name="greet",
        step_type="log",
        effect="pure",
        status="failed",
        input_data={"message": "Hello <b>Grace</b>"},
        error_code="LOG_FULL",
        error_message="the log is full",
        warnings=["the name was cut"],
    )
    Execution.objects.filter(pk=execution.pk).update(
        status=ExecutionStatus.FAILED, error_code="LOG_FULL", error_message="Step 'greet' failed: the log is full"
    )
    execution.refresh_from_db()
    return execution, attempt


def editor_of(owner_name: str) -> tuple[User, Client]:
    """A user of the staff who may see and change workflows, but only his own."""
    user = User.objects.create_user(f"{owner_name}@example.com", "correct horse battery")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="workflows"))
    client = Client()
    client.force_login(User.objects.get(pk=user.pk))
    return user, client


def text_of(response: HttpResponse) -> str:
    """Return what a reader sees of a page, on one line."""
    body = response.content.decode()
    body = re.sub(r"<(script|style).*?</\1>", " ", body, flags=re.DOTALL)
    return re.sub(r"\s+", " ", strip_tags(body.replace("<", " <")))


def messages_of(response: HttpResponse) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def queries_for(client: Client, path: str, counter: Callable[..., Any]) -> int:
    """Return how many statements a page takes."""
    with counter(None) as captured:
        assert client.get(path).status_code == 200
    return len(captured)
