"""Every page opens, and no list asks more of the database when it shows more rows."""

from typing import Any

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import services as accounts
from accounts.models import User
from core import clock
from tests import factories
from tests.admin.rows import GREET, make_failed, make_file, make_text
from workflows.models import Evaluation

pytestmark = pytest.mark.django_db


def make_evaluation(owner: Any) -> Evaluation:
    number = Evaluation.objects.count()
    request = {"original_filename": "report.txt"}
    return Evaluation.objects.create(owner=owner, file_id=number, processing_number=1, request=request)


# Session, user, count, rows, and what a page reads for itself.
MOST_QUERIES = 6
LISTS = {
    "files_file": make_file,
    "workflows_workflow": lambda owner: factories.make_workflow(GREET, owner=owner),
    "workflows_execution": lambda owner: make_failed(factories.make_workflow(GREET, owner=owner)),
    "workflows_evaluation": make_evaluation,
    "accounts_apikey": lambda owner: accounts.create_api_key(owner=owner, name="k", scopes=["read"], actor="test"),
    "accounts_user": lambda owner: User.objects.create_user(f"user{User.objects.count()}@example.com"),
    "accounts_owner": lambda owner: factories.make_owner("another"),
    "accounts_auditentry": lambda owner: accounts.record_audit(
        actor="a", owner=owner, action="b", object_type="c", object_id="1"
    ),
}


def statements_of(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_takes_few_queries_however_many_rows_it_shows(admin: Client, name: str) -> None:
    make, path = LISTS[name], reverse(f"admin:{name}_changelist")
    make(factories.make_owner())
    of_one = statements_of(admin, path)
    for number in range(5):
        make(factories.make_owner(f"owner {number}"))

    of_six = statements_of(admin, path)

    assert of_six == of_one
    assert of_six <= MOST_QUERIES


def test_no_list_counts_the_whole_table_or_reads_big_columns(admin: Client) -> None:
    make_failed(factories.make_workflow(GREET))

    with CaptureQueriesContext(connection) as captured:
        admin.get("/admin/workflows/execution/")

    rows = [query["sql"] for query in captured if '"workflow_executions"' in query["sql"]]
    assert all("LIMIT" in sql for sql in rows)
    assert not any("trigger_data" in sql or "workflow_config" in sql for sql in rows)


def test_every_list_and_every_add_form_opens(admin: Client) -> None:
    for model, page in site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        assert admin.get(reverse(f"{name}_changelist"), {"q": "1"}).status_code == 200, model
        adds = page.has_add_permission(admin.get("/admin/").wsgi_request)
        assert admin.get(reverse(f"{name}_add")).status_code == (200 if adds else 403), model


def test_the_first_page_leads_to_the_work(admin: Client) -> None:
    body = admin.get("/admin/").content.decode()

    for path in ("files/file", "workflows/workflow", "workflows/execution", "accounts/apikey", "accounts/user"):
        assert f'href="/admin/{path}/"' in body
    assert 'href="/admin/django_celery_beat/periodictask/"' in body


def test_whoever_is_not_signed_in_is_sent_to_the_login(client: Client, db: None) -> None:
    file = make_file(factories.make_owner())
    make_text(file, "secret words")

    answer = client.get(f"/admin/files/file/{file.pk}/change/")

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


def test_a_detail_page_takes_no_more_queries_for_more_steps(admin: Client) -> None:
    workflow = factories.make_workflow(GREET)
    short = factories.run(workflow)
    long = factories.run(factories.make_workflow([{**GREET[0], "name": f"step {number}"} for number in range(6)]))

    path = "/admin/workflows/execution/{}/change/"
    admin.get(path.format(short.pk))

    assert statements_of(admin, path.format(long.pk)) == statements_of(admin, path.format(short.pk)) <= 8


def test_pages_say_the_moment_in_utc(admin: Client) -> None:
    file = make_file(factories.make_owner(), created_at=clock.now().replace(2026, 1, 2, 3, 4, 5))

    assert "2026-01-02 03:04:05" in admin.get(f"/admin/files/file/{file.pk}/change/").content.decode()
