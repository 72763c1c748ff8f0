"""One error body for everything (contract section 3)."""

import json
import os
import subprocess
import sys
from datetime import datetime

import pytest
from django.test import Client
from pytest_django import Settings

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.api.probe_urls")]

KEYS = ["detail", "timestamp", "path", "error_code", "error", "message", "request_id"]


@pytest.mark.parametrize(
    ("name", "status", "code", "error", "detail"),
    [
        ("missing", 404, "WORKFLOW_NOT_FOUND", "not_found", "Workflow not found"),
        ("state", 400, "INVALID_STATE", "bad_request", "Workflow cannot be executed (status: paused, enabled: true)"),
        ("conflict", 409, "CONFLICT", "conflict", "Taken"),
        ("limited", 429, "RATE_LIMITED", "too_many_requests", "Slow down"),
        ("unavailable", 503, "SERVICE_UNAVAILABLE", "service_unavailable", "The broker is away"),
        ("http404", 404, "NOT_FOUND", "not_found", "Not Found"),
        ("denied", 403, "FORBIDDEN", "forbidden", "Forbidden"),
        ("suspicious", 400, "BAD_REQUEST", "bad_request", "The request cannot be read"),
        ("fields", 400, "BAD_REQUEST", "bad_request", "Too many fields. At most 1000 are allowed"),
        ("database", 503, "SERVICE_UNAVAILABLE", "service_unavailable", "The database is not available"),
        ("bug", 500, "INTERNAL_ERROR", "internal_server_error", "Internal server error"),
    ],
)
def test_every_error_has_the_same_body(  # noqa: PLR0917  (the table above reads best so)
    service: Client, name: str, status: int, code: str, error: str, detail: str
) -> None:
    response = service.get(f"/probe/raise/{name}", headers={"X-Request-ID": "req-1"})

    content = response.json()
    assert response.status_code == status
    assert list(content) == KEYS
    assert datetime.fromisoformat(content.pop("timestamp")).tzinfo is not None
    assert content == {
        "detail": detail,
        "path": f"/probe/raise/{name}",
        "error_code": code,
        "error": error,
        "message": detail,
        "request_id": "req-1",
    }
    assert "secret" not in response.text


def test_retry_after_says_when_to_come_again(service: Client) -> None:
    assert service.get("/probe/raise/limited").headers["Retry-After"] == "7"
    assert service.get("/probe/raise/database").headers["Retry-After"] == "5"
    assert service.get("/probe/raise/unavailable").headers["Retry-After"] == "5"


def test_validation_is_400_with_a_summary_and_a_list(service: Client) -> None:
    response = service.post("/probe/validate", {"items": [1, "x"]}, content_type="application/json")

    content = response.json()
    assert response.status_code == 400
    assert content["error_code"] == "VALIDATION_ERROR"
    assert (
        content["detail"]
        == content["message"]
        == "name: This field is required.; items.1: A valid integer is required."
    )
    assert content["errors"] == [
        {"loc": ["body", "name"], "msg": "This field is required.", "type": "required"},
        {"loc": ["body", "items", 1], "msg": "A valid integer is required.", "type": "invalid"},
    ]


def test_a_services_refusal_keeps_its_text_and_lists_its_problem(service: Client) -> None:
    content = service.get("/probe/raise/input").json()

    assert content["detail"] == "Bad cron"
    assert content["errors"] == [{"loc": ["body", "cron_schedule"], "msg": "Bad cron", "type": "cron"}]


@pytest.mark.parametrize("path", ["/api/workflows/validate", "/api/v1/automation/validate", "/saga/validate"])
def test_validation_is_422_with_a_list_where_it_always_was(service: Client, path: str) -> None:
    response = service.post(path, {}, content_type="application/json")

    content = response.json()
    assert response.status_code == 422
    assert content["detail"] == [{"loc": ["body", "name"], "msg": "This field is required.", "type": "required"}]
    assert content["message"] == "name: This field is required."
    assert content["error_code"] == "VALIDATION_ERROR"
    assert "errors" not in content


def test_validation_of_sagas_under_v1_is_400(service: Client) -> None:
    assert service.post("/api/v1/sagas/validate", {}, content_type="application/json").status_code == 400


def test_a_bad_state_is_400_where_validation_is_422(service: Client) -> None:
    assert service.get("/api/v1/automation/raise/state").status_code == 400


@pytest.mark.parametrize("path", ["/nope", "/nope/", "/files/abc/def/ghi", "/api/v1/nope", "/nope//"])
def test_an_unknown_path_answers_json_without_asking_who_calls(anyone: Client, path: str) -> None:
    response = anyone.get(path)

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["detail"] == "Not Found"
    assert response.json()["path"] == path


def test_the_path_of_an_error_is_the_one_that_was_sent(service: Client) -> None:
    assert service.get("/probe/raise/missing/").json()["path"] == "/probe/raise/missing/"


def test_an_unknown_method_is_405(service: Client) -> None:
    response = service.delete("/probe/echo")

    assert response.status_code == 405
    assert response.json()["error_code"] == "METHOD_NOT_ALLOWED"


def test_an_unknown_media_type_is_415(service: Client) -> None:
    response = service.post("/probe/echo", "a=1", content_type="application/x-www-form-urlencoded")

    assert response.status_code == 415
    assert response.json()["error_code"] == "UNSUPPORTED_MEDIA_TYPE"


def test_an_exception_outside_of_drf_answers_json(anyone: Client) -> None:
    response = anyone.get("/probe/plain")

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    assert response.json()["error_code"] == "SERVICE_UNAVAILABLE"


def test_a_refused_host_answers_json(anyone: Client, settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["example.com"]

    response = anyone.get("/live", headers={"Host": "evil.example"})

    assert response.status_code == 400
    assert response.json()["error_code"] == "BAD_REQUEST"


def test_the_admin_keeps_its_html(anyone: Client) -> None:
    response = anyone.get("/admin/login/nothing/here/")

    assert response.headers["Content-Type"].startswith("text/html")


DATABASE_DOWN = """
import json, django
django.setup()
from django.conf import settings
from django.test import Client
from pytest_django import Settings
settings.ROOT_URLCONF = "tests.api.probe_urls"
client = Client(raise_request_exception=False, headers={"X-API-Key": "unknown"})
answers = {path: client.get(path) for path in ("/health", "/ready", "/live", "/health/ready", "/probe/users")}
print(json.dumps({path: [a.status_code, a.headers.get("Retry-After"), a.json()] for path, a in answers.items()}))
"""


def test_without_a_database_calls_answer_503_and_health_says_so() -> None:
    environ = os.environ | {
        "DATABASE_URL": "postgresql://postgres@127.0.0.1:1/none",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }

    done = subprocess.run(
        [sys.executable, "-c", DATABASE_DOWN], env=environ, capture_output=True, text=True, check=True, timeout=60
    )

    answers = json.loads(done.stdout)
    assert answers["/health"][0] == 200
    assert answers["/health"][2]["status"] == "unhealthy"
    assert answers["/health"][2]["components"]["database"] == "unhealthy"
    assert answers["/health"][2]["metrics"]["total_workflows"] == 0
    assert answers["/live"][0] == 200
    for path in ("/ready", "/health/ready", "/probe/users"):
        assert answers[path][:2] == [503, "5"], path
        assert answers[path][2]["detail"] == "The database is not available"
