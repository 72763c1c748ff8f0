"""No list reads a whole table: the plans of its statements over 20,000 executions, as PostgreSQL makes them.

`make bench ARGS=lists` measures the same lists over a million.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import services as accounts
from accounts.models import User
from bench import fill, lists
from files.models import File
from workflows.models import Execution, Workflow

pytestmark = pytest.mark.django_db

# As many as the last page of a list of the admin needs.
EXECUTIONS, FILES, AUDIT = 20_000, 10_600, 10_200
BIG = {"workflow_executions", "workflow_execution_steps"}
# Where a tenth of the rows match, a LIMIT is reached soon, and PostgreSQL rightly reads what comes first.
MANY = EXECUTIONS // 10


@pytest.fixture(scope="module")
def stored(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Committed, so that the tables are vacuumed like those of a server; the tests see it under their transactions."""
    with django_db_blocker.unblock():
        fill.fill_executions(EXECUTIONS, steps=1)
        fill.fill_files(FILES)
        fill.fill_audit(AUDIT)
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        # Steps refer to executions without a constraint, which CASCADE would follow.
        tables = "workflows, workflow_execution_steps, files, workflow_evaluations, audit_entries"
        cursor.execute(f"TRUNCATE {tables} CASCADE")
        User.objects.filter(email__in=[fill.OWNER_EMAIL.format(number) for number in range(1, 6)]).delete()


@pytest.fixture
def filled(stored: None, db: None) -> None:
    """The stored rows, and leave to use the database."""


def author() -> User:
    user = User.objects.get(email=fill.OWNER_EMAIL.format(1))
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return user


def nodes(plan: dict[str, Any], *, limited: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    """Every node of a plan, and whether a LIMIT above it bounds what it reads."""
    limited = limited or plan["Node Type"] == "Limit"
    yield plan, limited
    # Whoever sorts or gathers into groups reads all there is, LIMIT or not.
    limited = limited and plan["Node Type"] not in {"Sort", "Aggregate", "Hash", "Gather Merge"}
    for child in plan.get("Plans", []):
        yield from nodes(child, limited=limited)


def whole_reads(sql: str) -> list[str]:
    """The big tables that a statement reads from end to end."""
    with connection.cursor() as cursor:
        # As on disks of today; with the default a table this small is now and then read whole.
        cursor.execute("SET LOCAL random_page_cost = 1.1")
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
        [[found]] = cursor.fetchall()
    [explained] = json.loads(found) if isinstance(found, str) else found
    return [
        node["Relation Name"]
        for node, limited in nodes(explained["Plan"])
        if node["Node Type"] == "Seq Scan"
        and node["Relation Name"] in BIG
        and not (limited and ("Filter" not in node or node["Plan Rows"] >= MANY))
    ]


def read_whole_by(client: Client, path: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200, path
    selects = [query["sql"] for query in captured if query["sql"].lstrip().upper().startswith("SELECT")]
    return [sql for sql in selects if any(name in sql for name in BIG) and whole_reads(sql)]


def paths_of(found: Any) -> dict[str, str]:
    latest = [model.objects.order_by("-pk")[0] for model in (Execution, File)]
    return dict(found(*latest, Workflow.objects.order_by("pk")[0]))


def test_no_list_of_the_admin_reads_all_executions(filled: None, admin: Client) -> None:
    own = Client()
    own.force_login(author())

    for name, path in paths_of(lists.admin_paths).items():
        assert read_whole_by(admin, path) == [], name
        if "last page" not in name:  # one owner has fewer
            assert read_whole_by(own, path) == [], name


def test_no_list_of_the_api_reads_all_executions(filled: None, settings: Any) -> None:
    settings.RATE_LIMIT_ENABLED = False
    settings.SERVICE_API_KEYS = ["the-service-key"]
    _, key = accounts.create_api_key(owner=accounts.owner_of_user(author()), name="k", scopes=["read"], actor="test")

    for given in ("the-service-key", key):
        client = Client(headers={"x-api-key": given})
        for name, path in paths_of(lists.api_paths).items():
            assert read_whole_by(client, path) == [], name


def test_the_check_itself_sees_a_whole_read(filled: None) -> None:
    everything = "SELECT * FROM workflow_executions WHERE error_message LIKE '%503%' ORDER BY error_message LIMIT 5"

    assert whole_reads(everything) == ["workflow_executions"]


def test_a_page_far_into_a_list_computes_its_own_rows_only(filled: None, admin: Client) -> None:
    """With OFFSET alone, PostgreSQL would look for the reason to wait of every row that it skips."""
    with CaptureQueriesContext(connection) as captured:
        page = admin.get("/admin/workflows/execution/?p=200")

    [rows] = [query["sql"] for query in captured if "waiting_reason" in query["sql"] and "ORDER BY" in query["sql"]]
    shown = [execution.pk for execution in page.context["cl"].result_list]
    expected = Execution.objects.order_by("-pk").values_list("pk", flat=True)[9950:10000]
    assert shown == list(expected)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF, COSTS OFF) {rows}")
        [[found]] = cursor.fetchall()
    [explained] = json.loads(found) if isinstance(found, str) else found
    of_branches = [node for node, _ in nodes(explained["Plan"]) if node.get("Relation Name") == "workflow_branches"]
    assert [node["Actual Loops"] for node in of_branches] == [50]


def test_a_column_that_is_not_offered_for_sorting_is_not_sorted_by(filled: None, admin: Client) -> None:
    listed = [file.pk for file in admin.get("/admin/files/file/?o=2").context["cl"].result_list]

    assert listed == sorted(listed, reverse=True)


def test_pages_of_the_api_agree_with_the_list(filled: None, settings: Any) -> None:
    settings.SERVICE_API_KEYS = ["the-service-key"]
    client = Client(headers={"x-api-key": "the-service-key"})
    expected = list(Execution.objects.filter(status="failed").order_by("-pk").values_list("pk", flat=True))

    found: list[int] = []
    while page := client.get(f"/executions?status=failed&limit=400&offset={len(found)}").json():
        found += [row["id"] for row in page]

    assert found == expected
