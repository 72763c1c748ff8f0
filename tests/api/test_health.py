"""Probes, health and metrics (contract section 12)."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings as current_settings
from django.test import Client
from pytest_django import Settings

from core import health

pytestmark = pytest.mark.django_db


@pytest.fixture
def redis_is_down(settings: Settings) -> None:
    settings.REDIS_URL = settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"


@pytest.fixture
def everything_beats() -> None:
    health.record_beat()
    for lane in current_settings.LANE_CONCURRENCY:
        health.record_worker(lane)


@pytest.fixture(autouse=True)
def _no_heartbeats_and_no_provider() -> None:
    client = health._redis()
    client.delete(health.BEAT_KEY, *(health.WORKER_KEY.format(lane=lane) for lane in current_settings.LANE_CONCURRENCY))


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_numbers", [lambda: {"total_workflows": 7, "success_rate_24h": 66.7}])


@pytest.mark.usefixtures("everything_beats", "numbers")
def test_health_names_every_component_and_the_numbers(anyone: Client) -> None:
    response = anyone.get("/health")

    content = response.json()
    components = {
        "database": "healthy",
        "redis": "healthy",
        "scheduler": "healthy",
        "saga_orchestrator": "healthy",
        "file_storage": "healthy",
        "celery": "healthy",
        "event_bus": "healthy",
    }
    assert response.status_code == 200
    assert content.pop("timestamp").endswith("Z")
    assert content == {
        "status": "healthy",
        "service": "automation-services",
        "version": "1.0.0",
        "components": components,
        "metrics": {
            "total_workflows": 7,
            "active_executions": 0,
            "completed_executions_24h": 0,
            "failed_executions_24h": 0,
            "success_rate_24h": 66.7,
        },
        "services": components,
    }


def test_a_missing_worker_or_beat_degrades(anyone: Client) -> None:
    content = anyone.get("/health").json()

    assert content["status"] == "degraded"
    assert (content["components"]["celery"], content["components"]["scheduler"]) == ("unhealthy", "unhealthy")


@pytest.mark.usefixtures("redis_is_down")
def test_redis_down_degrades_and_stays_ready(anyone: Client) -> None:
    answers = {path: anyone.get(path) for path in ("/health", "/ready", "/health/ready", "/health/detailed")}

    assert answers["/health"].status_code == 200
    assert answers["/health"].json()["status"] == "degraded"
    assert answers["/health"].json()["services"]["redis"] == "unhealthy"
    assert answers["/ready"].status_code == 200
    assert answers["/health/ready"].json()["redis_available"] == "false"
    assert answers["/health/ready"].json()["mode"] == "degraded"
    assert answers["/health/detailed"].status_code == 503
    assert answers["/health/detailed"].json()["detail"]["checks"]["redis"]["status"] == "unhealthy"
    assert "error" in answers["/health/detailed"].json()["detail"]["checks"]["redis"]


@pytest.mark.usefixtures("everything_beats")
def test_detailed_health_shows_latencies(anyone: Client) -> None:
    response = anyone.get("/health/detailed")

    content = response.json()
    assert response.status_code == 200
    assert set(content) == {"status", "timestamp", "service", "version", "environment", "checks"}
    assert content["checks"]["database"]["status"] == "healthy"
    assert content["checks"]["database"]["latency_ms"] >= 0
    assert "error" not in content["checks"]["database"]


def test_a_component_that_hangs_costs_the_time_limit_only(anyone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(health, "CHECK_SECONDS", 2.0)
    # Long after the others, without which it would be a test that hangs.
    monkeypatch.setitem(health._checks, "file_storage", lambda: hanging.wait(60))

    content = anyone.get("/health/detailed").json()
    hanging.set()

    assert content["detail"]["checks"]["file_storage"] == {
        "status": "unhealthy",
        "latency_ms": 2000.0,
        "error": "no answer within 2 s",
    }
    assert content["detail"]["checks"]["database"]["status"] == "healthy"


def test_probes_ask_the_components_once_a_second(anyone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    moment = time.monotonic()
    monkeypatch.setitem(health._checks, "file_storage", lambda: asked.append(1))
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: moment, perf_counter=time.perf_counter))

    for later_seconds in (0, 0.5, 0.4, 0.2):
        moment += later_seconds
        anyone.get("/health")

    assert len(asked) == 2


def test_a_component_may_be_switched_off(anyone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def off() -> None:
        raise health.Off

    monkeypatch.setitem(health._checks, "event_bus", off)

    assert anyone.get("/health").json()["components"]["event_bus"] == "disabled"


def test_the_storage_check_leaves_nothing_behind(anyone: Client, settings: Settings, tmp_path: Path) -> None:
    settings.STORAGES = settings.STORAGES | {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path)},
        }
    }

    assert anyone.get("/health").json()["components"]["file_storage"] == "healthy"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_unwritable_storage_is_unhealthy(anyone: Client, settings: Settings) -> None:
    settings.STORAGES = settings.STORAGES | {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": "/dev/null/none"},
        }
    }

    assert anyone.get("/health").json()["components"]["file_storage"] == "unhealthy"


def test_probes_say_ready_and_alive(anyone: Client) -> None:
    for path in ("/live", "/health/live"):
        assert anyone.get(path).json()["status"] == "alive"
    for path in ("/ready", "/health/ready"):
        assert anyone.get(path).json()["status"] == "ready"
    assert anyone.get("/health/ready").json()["redis_available"] == "true"
    assert anyone.get("/api/health").json()["status"] == "ok"


def test_missing_migrations_are_not_ready(anyone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.api import health as views

    monkeypatch.setattr(views._Migrations, "missing", lambda self: True)

    response = anyone.get("/ready")

    assert response.status_code == 503
    assert response.json()["detail"] == "Migrations are missing"
    assert response.json()["status"] == "not_ready"


def test_migrations_are_asked_of_the_database_until_applied() -> None:
    from core.api.health import _Migrations

    migrations = _Migrations()

    assert migrations.missing() is False
    assert migrations.applied is True


@pytest.mark.parametrize("path", ["/files/health", "/automation/health", "/saga/health", "/transactions/health"])
@pytest.mark.usefixtures("everything_beats")
def test_container_probes_of_the_old_services(anyone: Client, path: str) -> None:
    assert anyone.get(path).json() == {"status": "healthy"}


def test_root_and_info_describe_the_service(anyone: Client) -> None:
    root, info = anyone.get("/").json(), anyone.get("/info").json()

    assert (root["service"], root["version"], root["status"]) == ("PyAirtable Automation Services", "1.0.0", "healthy")
    assert root["patterns"] == ["orchestration", "choreography"]
    assert root["endpoints"]["health"] == "/health"
    assert info["service"] == "PyAirtable Automation Domain"
    assert {
        "Workflow Execution Engine",
        "Email & SMS Notifications",
        "Webhook Management & Delivery",
        "Automation Orchestration",
    } <= set(info["features"])
    assert {"health", "metrics", "docs", "workflows", "notifications", "webhooks", "automation"} == set(
        info["endpoints"]
    )


def test_metrics_count_requests_by_route_pattern(anyone: Client) -> None:
    anyone.get("/live/")
    anyone.get("/nope/12345")

    text = anyone.get("/metrics").text

    assert 'http_requests_total{endpoint="/live",method="GET",status_code="200"}' in text
    assert 'http_requests_total{endpoint="(unknown)",method="GET",status_code="404"}' in text
    assert 'http_request_duration_seconds_bucket{endpoint="/live",le="0.005",method="GET"}' in text
    assert "http_requests_active 1.0" in text
    assert "nope/12345" not in text
    assert "automation_redis_up 1.0" in text
    assert 'automation_dependency_up{name="database"} 1.0' in text
    assert "process_resident_memory_bytes" in text


ONE_REQUEST_EACH = """
import django
django.setup()
from django.test import Client
Client().get("/live")
print(Client().get("/metrics").text)
"""


def test_metrics_of_several_web_processes_add_up(tmp_path: Path) -> None:
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"}

    pages = [
        subprocess.run(
            [sys.executable, "-c", ONE_REQUEST_EACH],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    ]

    assert 'http_requests_total{endpoint="/live",method="GET",status_code="200"} 2.0' in pages[1]
    assert "process_resident_memory_bytes" in pages[1]
    assert "automation_redis_up" in pages[1]


def test_metrics_can_be_switched_off(anyone: Client, settings: Settings) -> None:
    settings.ENABLE_METRICS = False

    assert anyone.get("/metrics").status_code == 404


def test_a_heartbeat_is_written_at_most_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.monotonic()
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: moment, time=time.time))
    health.record_beat()
    health._redis().delete(health.BEAT_KEY)

    health.record_beat()

    assert health._redis().exists(health.BEAT_KEY) == 0
    moment += health.HEARTBEAT_EVERY_SECONDS
    health.record_beat()
    assert health._redis().exists(health.BEAT_KEY) == 1


@pytest.mark.usefixtures("redis_is_down")
def test_a_heartbeat_never_disturbs_its_caller() -> None:
    health.record_worker("flow")


def test_docs_are_open_in_development_and_closed_in_production(anyone: Client, settings: Settings) -> None:
    assert [anyone.get(path).status_code for path in ("/docs", "/openapi.json")] == [200, 200]

    settings.PRODUCTION = True

    assert [anyone.get(path).status_code for path in ("/docs", "/openapi.json")] == [401, 401]


def test_docs_hold_no_inline_script(anyone: Client) -> None:
    page = anyone.get("/docs").text

    assert page.count("<script") == page.count("<script src=") == 3
    assert anyone.get("/docs?script=").headers["Content-Type"] == "application/javascript"
    style = anyone.get("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css")
    assert style.status_code == 200
    assert b".swagger-ui" in style.getvalue()
    style.close()
