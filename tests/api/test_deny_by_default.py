"""Nothing answers without credentials but what the contract lists (section 2; SECURITY: deny by default)."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import services
from accounts.models import User
from files.models import File
from workflows.models import Execution, StepAttempt, Workflow, WorkflowVersion

pytestmark = pytest.mark.django_db

NO_AUTH = {
    "/",
    "/health",
    "/ready",
    "/live",
    "/health/ready",
    "/health/live",
    "/health/detailed",
    "/info",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/api/health",
    "/files/health",
    "/automation/health",
    "/saga/health",
    "/transactions/health",
}
# Their token is the credential; what is none leads nowhere.
BY_TOKEN = {"/files/download/999999", "/api/v1/files/download/999999"}
# These ask and change nothing, so that a reading key may use them.
READING_POSTS = {"/workflows/validate-cron", "/api/v1/workflows/validate-cron"}
METHODS = ("get", "post", "put", "patch", "delete", "options", "head")
# Values for the parameters of a path; no such row exists.
VALUES = {"int": "999999", "uuid": "0190a0a0-0000-7000-8000-000000000000", "str": "999999", "slug": "x", "path": "x"}


def routes(patterns: list[URLPattern | URLResolver], beginning: str = "/") -> Iterator[str]:
    for pattern in patterns:
        route = beginning + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield re.sub(r"<(?:(\w+):)?\w+>", lambda match: VALUES[match[1] or "str"], route)


def product_routes() -> list[str]:
    """Every path but the admin's, which has its own login and is tested there."""
    return sorted({route for route in routes(get_resolver().url_patterns) if not route.startswith("/admin/")})


def test_the_walk_finds_the_routes() -> None:
    assert set(product_routes()) >= NO_AUTH


@pytest.mark.parametrize("slash", ["", "/"])
def test_every_route_asks_for_credentials(anyone: Client, slash: str) -> None:
    open_routes = []
    for route in product_routes():
        for method in METHODS:
            status = getattr(anyone, method)(route.rstrip("/") + slash or "/").status_code
            if route not in NO_AUTH | BY_TOKEN and status != 401:
                open_routes.append((method, route, status))

    assert open_routes == []


def test_open_routes_answer(anyone: Client) -> None:
    refused = [route for route in NO_AUTH if anyone.get(route).status_code in {401, 403, 404}]

    assert refused == []


def test_a_made_up_token_is_missing(anyone: Client) -> None:
    assert {(anyone.get(route).status_code, anyone.head(route).status_code) for route in BY_TOKEN} == {(404, 404)}


@pytest.fixture
def everything_of_the_service() -> None:
    """One row of each kind that a path can name, all of the service owner, all with the id of VALUES."""
    key, owner = int(VALUES["int"]), services.service_owner()
    File.objects.create(
        pk=key, owner=owner, filename="a.txt", original_filename="a.txt", file_path="a.txt", mime_type="text/plain",
        file_size=1, file_hash="0" * 64, status="processed",
    )  # fmt: skip
    workflow = Workflow.objects.create(pk=key, owner=owner, name="theirs", workflow_config={"steps": []})
    version = WorkflowVersion.objects.create(
        workflow=workflow, number=1, dialect="A", source="{}", definition={"format": 1, "steps": []}, sha256="0" * 64
    )
    execution = Execution.objects.create(
        pk=key, workflow=workflow, version=version, owner=owner, trigger_type="manual", status="failed"
    )
    StepAttempt.objects.create(
        pk=key, execution=execution, path="a", node=0, step_order=1, step_name="a", step_type="log",
        effect="pure", status="failed",
    )  # fmt: skip


@pytest.mark.usefixtures("everything_of_the_service")
def test_the_rows_of_the_next_test_exist(service: Client) -> None:
    found = [route for route in product_routes() if VALUES["int"] in route and service.get(route).status_code == 200]

    assert {"/files/999999", "/workflows/999999", "/api/v1/workflows/executions/999999"} <= set(found)


@pytest.mark.usefixtures("everything_of_the_service")
def test_another_owners_key_reaches_no_object(anyone: Client) -> None:
    stranger = services.owner_of_user(User.objects.create_user("stranger@example.com"))
    _, plaintext = services.create_api_key(
        owner=stranger, name="stranger", scopes=("read", "write", "execute"), actor="test"
    )
    reached = []
    for route in product_routes():
        if not any(value in route for value in VALUES.values() if len(value) > 1):
            continue
        for method in ("get", "post", "put", "delete"):
            headers = {"X-API-Key": plaintext}
            arguments = {} if method == "get" else {"data": {}, "content_type": "application/json"}
            status = getattr(anyone, method)(route, headers=headers, **arguments).status_code
            if status not in {404, 405}:
                reached.append((method, route, status))

    assert reached == []


def test_a_key_without_scopes_for_it_writes_nothing(anyone: Client) -> None:
    reader = services.owner_of_user(User.objects.create_user("reader@example.com"))
    _, plaintext = services.create_api_key(owner=reader, name="reader", scopes=("read",), actor="test")
    written = []
    for route in sorted(set(product_routes()) - NO_AUTH - READING_POSTS):
        for method in ("post", "put", "patch", "delete"):
            status = getattr(anyone, method)(route, headers={"X-API-Key": plaintext}).status_code
            if status not in {403, 405}:
                written.append((method, route, status))

    assert written == []
