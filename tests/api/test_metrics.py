"""The page at `/metrics`: contract section 12's names, what a file adds, and several processes as one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from config import gunicorn
from core import metrics as shared
from files import metrics, services
from files.models import File
from tests import scrape
from tests.api.test_files_api import send
from tests.unit.files.conftest import owner, storage_folder, upload  # noqa: F401  (fixtures, used by name)
from workflows.tasks import drain

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("storage_folder")]

TYPES = {
    "workflow_executions_total": "counter",
    "workflow_execution_duration_seconds": "histogram",
    "workflow_step_duration_seconds": "histogram",
    "automation_files_uploaded_total": "counter",
    "automation_files_processed_duration_seconds": "histogram",
    "automation_workflows_executed_total": "counter",
    "automation_workflow_step_duration_seconds": "histogram",
    "automation_file_storage_bytes_total": "gauge",
    "automation_services_workflow_executions_total": "counter",
    "automation_services_workflow_duration_seconds": "histogram",
    "automation_services_workflow_failures_total": "counter",
    "automation_services_workflow_retries_total": "counter",
    "automation_services_active_workflows": "gauge",
    "automation_services_file_uploads_total": "counter",
    "automation_services_file_processing_success_total": "counter",
    "automation_services_file_processing_errors_total": "counter",
    "automation_services_file_queue_depth": "gauge",
    "automation_services_file_storage_usage_bytes": "gauge",
    "celery_tasks_total": "counter",
    "celery_task_duration_seconds": "histogram",
    "automation_db_connections": "gauge",
    "automation_dependency_up": "gauge",
    "automation_redis_up": "gauge",
    "http_requests_total": "counter",
    "http_request_duration_seconds": "histogram",
    "http_requests_active": "gauge",
}
FILE_NAMES = ("automation_file", "automation_services_file")


@pytest.fixture(autouse=True)
def _bytes_added_up_anew() -> None:
    metrics.forget()


def test_every_name_of_the_contract_has_its_kind(anyone: Client) -> None:
    lines = anyone.get("/metrics").text.splitlines()

    kinds = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE "))
    assert {name: kinds.get(name) for name in TYPES} == TYPES


def test_labels_of_what_can_be_listed_are_there_before_the_first_event(anyone: Client) -> None:
    read = scrape.series(anyone.get("/metrics").text)

    kinds = ("data_sync", "file_processing", "scheduled_task", "webhook_trigger")
    for kind in kinds:
        for status in ("completed", "failed", "cancelled", "timeout"):
            assert f'workflow_executions_total{{status="{status}",workflow_type="{kind}"}}' in read
        for reason in ("resource_limit", "timeout", "validation_error", "other"):
            name = "automation_services_workflow_failures_total"
            assert f'{name}{{failure_reason="{reason}",workflow_type="{kind}"}}' in read
    assert read['automation_db_connections{state="active"}'] >= 1


def test_an_upload_over_http_counts_once_under_both_names(service: Client) -> None:
    before = scrape.series()

    assert send(service).status_code == 200

    assert scrape.rises(before, FILE_NAMES) == {
        'automation_files_uploaded_total{type="txt"}': 1,
        'automation_services_file_uploads_total{type="txt"}': 1,
        "automation_services_file_queue_depth": 1,
    }


def test_a_refused_upload_counts_nothing(service: Client) -> None:
    before = scrape.series()

    assert send(service, b"", "a.txt").status_code == 400

    assert scrape.rises(before, FILE_NAMES) == {}


def test_a_processed_file_is_a_success_with_a_duration(upload: Any) -> None:  # noqa: F811
    upload(b"words of a text", "a.txt")
    before = scrape.series()

    services.extract_due_files()

    assert scrape.rises(before, FILE_NAMES) == {
        "automation_services_file_processing_success_total": 1,
        "automation_files_processed_duration_seconds_count": 1,
        "automation_services_file_queue_depth": -1,
    }


def test_a_file_that_cannot_be_processed_is_an_error_under_its_reason(upload: Any) -> None:  # noqa: F811
    file = upload(b"%PDF-1.4 and nothing that a reader could use", "a.pdf")
    before = scrape.series()

    services.extract_due_files()

    file.refresh_from_db()
    assert file.status == "failed"
    assert scrape.rises(before, FILE_NAMES) == {
        'automation_services_file_processing_errors_total{failure_reason="validation_error"}': 1,
        "automation_files_processed_duration_seconds_count": 1,
        "automation_services_file_queue_depth": -1,
    }


def test_stored_bytes_count_equal_files_once_and_deleted_ones_not(upload: Any) -> None:  # noqa: F811
    for content, name in ((b"four", "a.txt"), (b"four", "b.txt"), (b"seven77", "c.txt"), (b"gone", "d.txt")):
        upload(content, name)
    services.delete_file(File.objects.get(original_filename="d.txt"))

    read = scrape.series()

    assert read["automation_services_file_storage_usage_bytes"] == 11
    assert read["automation_file_storage_bytes_total"] == 11


def test_a_celery_task_is_counted_by_name_and_state() -> None:
    before = scrape.series()

    drain.apply(kwargs={"lane": "flow"})
    drain.apply(kwargs={"lane": "no such lane"})

    assert scrape.rises(before, ("celery_",)) == {
        'celery_tasks_total{state="SUCCESS",task="workflows.drain"}': 1,
        'celery_tasks_total{state="FAILURE",task="workflows.drain"}': 1,
        'celery_task_duration_seconds_count{state="SUCCESS",task="workflows.drain"}': 1,
        'celery_task_duration_seconds_count{state="FAILURE",task="workflows.drain"}': 1,
    }


def test_a_reader_whose_query_fails_does_not_break_the_page(anyone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(shared, "_gauges", [lost, metrics.gauges])

    response = anyone.get("/metrics")

    assert response.status_code == 200
    assert "automation_db_connections" not in response.text
    assert "automation_services_file_queue_depth 0.0" in response.text


PAGE = """
import django
django.setup()
from django.test import Client
response = Client().get("/metrics")
assert response.status_code == 200, response.status_code
print(response.text)
"""
WORK = """
import django
django.setup()
from files import metrics as files
from workflows import metrics as workflows
from workflows.engine.step_rows import Attempt
step = Attempt("a", 1, 0, 1, "a", "log", "pure", "completed", execution_time_ms=20)
workflows.count_end("manual", status="completed", error_code="", took_ms=40, attempts=[step])
files.count_upload("txt")
"""


def run(code: str, **environ: str) -> str:
    """Run code in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"} | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_web_process_shows_what_ended_workers_have_counted(tmp_path: Path) -> None:
    for _ in range(2):
        run(WORK, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    read = scrape.series(run(PAGE, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)))

    assert read['workflow_executions_total{status="completed",workflow_type="data_sync"}'] == 2
    assert read['automation_workflows_executed_total{status="completed"}'] == 2
    assert read['automation_workflows_executed_total{status="failed"}'] == 0
    assert read["automation_workflow_step_duration_seconds_count"] == 2
    assert read['workflow_step_duration_seconds_bucket{le="0.01",step_type="log"}'] == 0
    assert read['automation_workflow_step_duration_seconds_bucket{le="0.025"}'] == 2
    assert read["workflow_execution_duration_seconds_sum"] == pytest.approx(0.08)
    assert read['automation_services_file_uploads_total{type="txt"}'] == 2


def test_a_database_that_is_down_leaves_the_counters(tmp_path: Path) -> None:
    run(WORK, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    page = run(
        PAGE, PROMETHEUS_MULTIPROC_DIR=str(tmp_path), DATABASE_URL="postgresql://nobody@127.0.0.1:1/none", API_KEY="k"
    )

    assert 'workflow_executions_total{status="completed",workflow_type="data_sync"} 1.0' in page
    assert 'automation_dependency_up{name="database"} 0.0' in page
    assert "automation_services_active_workflows" not in page


def test_an_ended_web_process_takes_its_live_gauges_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Worker:
        pid = 123

    folder = tmp_path / "metrics"
    folder.mkdir()
    gauge, counter = folder / "gauge_livesum_123.db", folder / "counter_123.db"
    gauge.touch()
    counter.touch()

    gunicorn.child_exit(None, Worker())
    assert gauge.exists()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    gunicorn.child_exit(None, Worker())

    assert [path.name for path in folder.iterdir()] == ["counter_123.db"]
