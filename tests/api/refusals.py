"""What the tests of bad input share: requests as raw as a hostile caller's, and what a refusal must be."""

from pathlib import Path
from typing import Any

from django.test import Client

from files.models import File
from workflows.models import Execution, Workflow, WorkflowVersion

ERROR_KEYS = {"detail", "timestamp", "path", "error_code", "error", "message", "request_id"}
GOOD = {"name": "W", "workflow_config": {"steps": [{"name": "a", "type": "log", "config": {"message": "hi"}}]}}
BOUNDARY = "XBOUNDARYX"


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Return the error body of an answer that must be this refusal."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["error_code"]) == (status, code), body
    assert set(body) >= ERROR_KEYS
    return body


def send(client: Client, method: str, path: str, raw: bytes | str, content_type: str = "application/json") -> Any:
    return client.generic(method, path, data=raw, content_type=content_type)


def part(disposition: bytes, data: bytes = b"hello\n") -> bytes:
    return b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), disposition, data)


def upload(client: Client, *parts: bytes, end: bytes = b"--%s--\r\n" % BOUNDARY.encode(), header: str = "") -> Any:
    content_type = header or f"multipart/form-data; boundary={BOUNDARY}"
    return send(client, "POST", "/files/upload", b"".join(parts) + end, content_type)


def stored_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def nothing_stored() -> None:
    assert not Workflow.objects.exists()
    assert not WorkflowVersion.objects.exists()
    assert not Execution.objects.exists()
    assert not File.objects.exists()
