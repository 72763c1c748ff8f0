"""Seed 004's "Document Processing Pipeline", with mail beside its webhook: every field that a client can see."""

import hashlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest

from tests import documents, mail_server
from tests.chaos import stack
from tests.e2e.recorder import Recorder
from tests.mail_server import PASSWORD, USER, Mailbox

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TOKEN = "token-of-the-document-database"
LINE = "Quarterly report: the archive took in 1200 documents and lost none of them"
WORDS = 13
NAMES = [
    "validate_upload",
    "extract_text",
    "validate_content",
    "save_to_database",
    "send_notification",
    "summary",
    "send_mail",
    "write_log",
]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as running:
        yield running


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[tuple[Mailbox, Path]]:
    certificate = mail_server.make_certificate(tmp_path)
    with mail_server.running(certificate=certificate, accounts=True) as running:
        yield running, certificate.path


@pytest.fixture
def product(recorder: Recorder, mailbox: tuple[Mailbox, Path]) -> Iterator[stack.Stack]:
    server, certificate = mailbox
    settings = {
        "WORKFLOW_ENV_ALLOWLIST": "DATABASE_API_TOKEN,NOTIFICATION_WEBHOOK_URL",
        "DATABASE_API_TOKEN": TOKEN,
        "NOTIFICATION_WEBHOOK_URL": f"{recorder.url}/hooks/documents",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(server.port),
        "SMTP_USERNAME": USER,
        "SMTP_PASSWORD": PASSWORD,
        "SMTP_USE_TLS": "true",
        "SSL_CERT_FILE": str(certificate),
    }
    with stack.running(recorder.address, **settings, **stack.CALM) as running:
        yield running


def pipeline(database: str) -> dict[str, Any]:
    """Return document 4's example as printed, but for the database's address; three steps of ours follow its five."""
    return {
        "name": "Document Processing Pipeline",
        "description": "Complete document processing with OCR, validation, and notification",
        "workflow_config": {
            "steps": [
                {
                    "name": "validate_upload",
                    "type": "file_process",
                    "config": {
                        "action": "validate",
                        "file_id": "{{trigger.file_id}}",
                        "allowed_types": ["pdf", "jpg", "png"],
                        "max_size_mb": 10,
                    },
                },
                {
                    "name": "extract_text",
                    "type": "file_process",
                    "config": {"action": "ocr_extract", "file_id": "{{trigger.file_id}}", "language": "en"},
                },
                {
                    "name": "validate_content",
                    "type": "conditional",
                    "config": {
                        "condition": "{{steps.extract_text.word_count}} > 10",
                        "true_action": {"type": "log", "config": {"message": "Content validation passed"}},
                        "false_action": {
                            "type": "log",
                            "config": {"message": "Content validation failed", "level": "warning"},
                        },
                    },
                },
                {
                    "name": "save_to_database",
                    "type": "http_request",
                    "config": {
                        "url": f"{database}/documents",
                        "method": "POST",
                        "headers": {"Authorization": "Bearer {{env.DATABASE_API_TOKEN}}"},
                        "data": {
                            "file_id": "{{trigger.file_id}}",
                            "extracted_text": "{{steps.extract_text.content}}",
                            "word_count": "{{steps.extract_text.word_count}}",
                            "processed_at": "{{execution_id}}",
                        },
                        "expected_status": [200, 201],
                    },
                },
                {
                    "name": "send_notification",
                    "type": "notification",
                    "config": {
                        "type": "webhook",
                        "webhook_url": "{{env.NOTIFICATION_WEBHOOK_URL}}",
                        "message": "Document {{trigger.file_id}} processed successfully."
                        " Database ID: {{steps.save_to_database.json.id}}",
                    },
                },
                {
                    "name": "summary",
                    "type": "data_transform",
                    "config": {
                        "source_data": "{{steps.save_to_database.json}}",
                        "transformations": [
                            {"type": "extract", "path": "id", "key": "database_id"},
                            {
                                "type": "template",
                                "template": "{{trigger.original_filename}}: {{steps.extract_text.word_count}} words",
                                "key": "line",
                            },
                        ],
                    },
                },
                {
                    "name": "send_mail",
                    "type": "notification",
                    "config": {
                        "type": "email",
                        "to": ["Ada <ada@example.com>", "archive@example.com"],
                        "subject": "Document {{trigger.file_id}} is archived",
                        "message": "{{steps.summary.line}}\nDatabase ID: {{steps.summary.database_id}}",
                    },
                },
                {
                    "name": "write_log",
                    "type": "notification",
                    "config": {"type": "log", "message": "Mail {{steps.send_mail.notification_id}} sent"},
                },
            ]
        },
        "trigger_on_file_upload": True,
        "trigger_file_extensions": "pdf,jpg,jpeg,png",
        "timeout_seconds": 300,
        "max_retries": 2,
    }


def test_the_seeds_pipeline_runs_on_an_uploaded_pdf(
    product: stack.Stack, recorder: Recorder, mailbox: tuple[Mailbox, Path]
) -> None:
    given = pipeline(recorder.url)
    document = documents.pdf(LINE)
    with product.client() as client:
        workflow = client.post("/api/v1/workflows", json=given).json()
        uploaded = client.post("/files/upload", files={"file": ("Q3 report.pdf", document)}).json()
        execution = _wait_for_execution(client, product, workflow["id"])
        file = client.get(f"/files/{uploaded['id']}").json()
        steps = client.get(f"/api/v1/workflows/executions/{execution['id']}/steps").json()
        counted = client.get(f"/api/v1/workflows/{workflow['id']}").json()

    _check_workflow(workflow, given)
    _check_file(file, uploaded, document, workflow)
    _check_execution(execution, file, workflow)
    _check_steps(steps, execution, given)
    _check_outside(execution, file, recorder, mailbox[0])
    assert (counted["total_executions"], counted["successful_executions"], counted["failed_executions"]) == (1, 1, 0)
    assert counted["last_execution_at"] == execution["completed_at"]


def _check_workflow(workflow: dict[str, Any], given: dict[str, Any]) -> None:
    _holds(workflow, given)
    _holds(
        workflow,
        {
            "trigger_config": None,
            "cron_schedule": None,
            "is_scheduled": False,
            "status": "active",
            "is_enabled": True,
            "total_executions": 0,
            "successful_executions": 0,
            "failed_executions": 0,
            "last_execution_at": None,
        },
    )
    assert UUID(workflow["uuid"]).version == 7
    assert _time(workflow["created_at"]) <= _time(workflow["updated_at"])


def _check_file(file: dict[str, Any], uploaded: dict[str, Any], document: bytes, workflow: dict[str, Any]) -> None:
    digest = hashlib.sha256(document).hexdigest()
    stored = {
        "id": uploaded["id"],
        "filename": f"{digest}.pdf",
        "original_filename": "Q3 report.pdf",
        "mime_type": "application/pdf",
        "file_size": len(document),
    }
    _holds(uploaded, stored | {"message": "File uploaded successfully", "status": "uploaded"})
    _holds(
        file,
        stored
        | {
            "status": "processed",
            "file_hash": digest,
            "extracted_content": LINE,
            "triggered_workflows": [workflow["id"]],
            "error_message": None,
            "error_code": None,
            "retry_count": 0,
        },
    )
    _holds(
        file["metadata"],
        {
            "mime_type": "application/pdf",
            "extraction_method": "pdf",
            "character_count": len(LINE),
            "word_count": WORDS,
            "pdf_pages": 1,
            "title": "Report",
            "author": "Ada",
        },
    )
    assert _time(file["created_at"]) <= _time(file["processed_at"]) <= _time(file["updated_at"])


def _check_execution(execution: dict[str, Any], file: dict[str, Any], workflow: dict[str, Any]) -> None:
    _holds(
        execution,
        {
            "workflow_id": workflow["id"],
            "trigger_type": "file_upload",
            "status": "completed",
            "error_message": None,
            "retry_count": 0,
            "trigger_data": {
                "file_id": file["id"],
                "filename": file["filename"],
                "file_extension": "pdf",
                "original_filename": "Q3 report.pdf",
                "file_size": file["file_size"],
                "mime_type": "application/pdf",
            },
            "input_file_ids": [file["id"]],
            "output_file_ids": [],
            "saga_id": execution["uuid"],
            "result_data": _results(execution, file),
        },
    )
    assert list(execution["result_data"]) == NAMES
    assert [(line["step"], line["status"]) for line in execution["log_output"]] == [
        (name, "completed") for name in NAMES
    ]
    created, started, completed = (_time(execution[f"{name}_at"]) for name in ("created", "started", "completed"))
    assert created <= started <= completed
    assert execution["execution_time_ms"] == pytest.approx((completed - started).total_seconds() * 1000, abs=2)


def _results(execution: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """Return what each step must have given."""
    about = {"file_id": file["id"], "status": "processed"}
    answer = execution["result_data"]["save_to_database"]
    validated = {"valid": True, "size": file["file_size"], "mime_type": "application/pdf", "errors": []}
    read = {"content": LINE, "word_count": WORDS, "confidence": None, "metadata": file["metadata"]}
    summary = f"Q3 report.pdf: {WORDS} words"
    return {
        "validate_upload": about | {"action": "validate"} | validated,
        "extract_text": about | {"action": "ocr_extract"} | read,
        "validate_content": {
            "condition_result": True,
            "condition_met": True,
            "branch": "true",
            "action_taken": "log",
            "result": {"message": "Content validation passed", "level": "info"},
        },
        "save_to_database": {
            "status_code": 201,
            "json": {"id": 1},
            "body": '{"id": 1}',
            "headers": answer["headers"] | {"content-type": "application/json"},
        },
        "send_notification": {"sent": True, "type": "webhook", "status_code": 201},
        "summary": {"database_id": 1, "line": summary, "result": summary},
        "send_mail": {"sent": True, "type": "email", "notification_id": _notification_id(execution)},
        "write_log": {"sent": True, "type": "log"},
    }


def _notification_id(execution: dict[str, Any]) -> str:
    return str(uuid5(UUID(execution["uuid"]), "send_mail"))


def _check_steps(steps: list[dict[str, Any]], execution: dict[str, Any], given: dict[str, Any]) -> None:
    assert [step["step_name"] for step in steps] == NAMES
    for order, (step, planned) in enumerate(zip(steps, given["workflow_config"]["steps"], strict=True), start=1):
        _holds(
            step,
            {
                "execution_id": execution["id"],
                "step_order": order,
                "step_type": planned["type"],
                "status": "completed",
                "error_message": None,
                "error_code": None,
                "retry_count": 0,
                "max_retries": 2,
                "warnings": [],
                "output_data": execution["result_data"][planned["name"]],
            },
        )
        took = (_time(step["completed_at"]) - _time(step["started_at"])).total_seconds() * 1000
        assert step["execution_time_ms"] == pytest.approx(took, abs=2)
    inputs = {step["step_name"]: step["input_data"] for step in steps}
    file_id = execution["input_file_ids"][0]
    assert inputs["extract_text"] == {"action": "ocr_extract", "file_id": file_id, "language": "en"}
    # Values of the environment are in no stored row.
    assert inputs["save_to_database"]["headers"] == {"Authorization": "Bearer ***"}
    assert inputs["send_notification"]["webhook_url"] == "***"
    assert inputs["send_mail"]["subject"] == f"Document {file_id} is archived"


def _check_outside(execution: dict[str, Any], file: dict[str, Any], recorder: Recorder, mailbox: Mailbox) -> None:
    """Check what the database, the webhook's receiver and the mail server saw."""
    saved, told = recorder.asked
    assert (saved.method, saved.path) == ("POST", "/documents")
    _holds(
        saved.headers,
        {
            "authorization": f"Bearer {TOKEN}",
            "content-type": "application/json",
            "idempotency-key": f"{execution['uuid']}:save_to_database",
            "x-correlation-id": execution["correlation_id"],
        },
    )
    assert saved.body == {
        "file_id": file["id"],
        "extracted_text": LINE,
        "word_count": WORDS,
        "processed_at": execution["id"],
    }
    assert (told.method, told.path) == ("POST", "/hooks/documents")
    assert told.headers["idempotency-key"] == f"{execution['uuid']}:send_notification"
    assert told.body == {"message": f"Document {file['id']} processed successfully. Database ID: 1"}
    [mail], [envelope] = mailbox.mails, mailbox.envelopes
    assert mailbox.over_tls == [True]
    assert (envelope.mail_from, envelope.rcpt_tos) == (
        "noreply@pyairtable.com",
        ["ada@example.com", "archive@example.com"],
    )
    assert mail["From"] == "PyAirtable <noreply@pyairtable.com>"
    assert mail["To"] == "Ada <ada@example.com>, archive@example.com"
    assert mail["Subject"] == f"Document {file['id']} is archived"
    assert mail["Message-ID"] == f"<{_notification_id(execution)}@pyairtable.com>"
    assert mail_server.text_of(mail) == f"Q3 report.pdf: {WORDS} words\nDatabase ID: 1"


def _holds(whole: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check every expected item; an answer may carry more than the contract names."""
    assert {key: whole.get(key, "missing") for key in expected} == expected


def _time(text: str) -> datetime:
    """Read the contract's form of a time: ISO 8601 in UTC with Z."""
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def _wait_for_execution(client: httpx.Client, product: stack.Stack, workflow_id: int) -> dict[str, Any]:
    give_up_at = time.monotonic() + 120
    while time.monotonic() < give_up_at:
        product.tend()
        for found in client.get(f"/api/v1/workflows/{workflow_id}/executions").json():
            if found["status"] not in {"pending", "running"}:
                return dict(found)
        time.sleep(0.05)  # polling a server, as clients do
    raise AssertionError("no execution ended within the time")
