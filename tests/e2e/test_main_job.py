"""The main job over HTTP, with real processes: a document in, its text out, the matching workflow run."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import documents
from tests.chaos import stack
from tests.e2e.recorder import Recorder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CORPUS = Path(os.environ.get("CORPUS_DIR", Path(__file__).parents[3] / "shared" / "corpus"))
FINAL = {"completed", "failed", "cancelled", "timeout"}


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as running:
        yield running


@pytest.fixture(scope="module")
def product(recorder: Recorder) -> Iterator[stack.Stack]:
    with stack.running(
        recorder.address,
        WORKFLOW_ENV_ALLOWLIST="DATABASE_API_TOKEN",
        DATABASE_API_TOKEN="token-of-the-archive",
    ) as running:
        yield running


@pytest.fixture
def client(product: stack.Stack) -> Iterator[httpx.Client]:
    with product.client() as made:
        yield made


def wait_for(ask: Callable[[], Any], product: stack.Stack, seconds: float = 120) -> Any:
    """Ask until the answer is true; the stack restarts what died meanwhile."""
    give_up_at = time.monotonic() + seconds
    while time.monotonic() < give_up_at:
        product.tend()
        if answer := ask():
            return answer
        time.sleep(0.05)  # polling a server, as clients do
    words = "\n".join(product.last_words(name, lines=10) for name in ("beat", "files", "flow", "io"))
    raise AssertionError(f"nothing came within {seconds:g} s:\n{words}")


def pipeline(archive: str) -> dict[str, Any]:
    """Return the seed's "Document Processing Pipeline" with what a PDF needs: text instead of OCR."""
    return {
        "name": "Document Processing Pipeline",
        "description": "Validation, extraction, archive and notification",
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
                    "config": {"action": "extract", "file_id": "{{trigger.file_id}}"},
                },
                {
                    "name": "validate_content",
                    "type": "conditional",
                    "config": {
                        "condition": "{{steps.extract_text.word_count}} > 3",
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
                        "url": f"{archive}/documents",
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
                {"name": "pause", "type": "delay", "config": {"seconds": 0.2}},
                {
                    "name": "shape",
                    "type": "data_transform",
                    "config": {
                        "source_data": "{{steps.save_to_database.json}}",
                        "transformations": [{"type": "extract", "path": "id", "key": "archive_id"}],
                    },
                },
                {
                    "name": "send_notification",
                    "type": "notification",
                    "config": {
                        "type": "webhook",
                        "webhook_url": f"{archive}/hook",
                        "message": "Document {{trigger.file_id}} processed. Database ID: {{steps.shape.archive_id}}",
                    },
                },
            ]
        },
        "trigger_on_file_upload": True,
        "trigger_file_extensions": "pdf,jpg,jpeg,png",
        "timeout_seconds": 300,
        "max_retries": 2,
    }


def test_an_uploaded_pdf_runs_the_seeds_pipeline(
    client: httpx.Client, product: stack.Stack, recorder: Recorder
) -> None:
    workflow = client.post("/api/v1/workflows", json=pipeline(recorder.url)).json()
    text = "Quarterly report of the archive"

    uploaded = client.post("/files/upload", files={"file": ("Q3 report.pdf", documents.pdf(text))})
    assert uploaded.status_code == 200
    file_id = uploaded.json()["id"]
    [execution] = wait_for(
        lambda: [
            item
            for item in client.get(f"/workflows/{workflow['id']}/executions").json()
            if item["status"] in FINAL and item["input_file_ids"] == [file_id]
        ],
        product,
    )

    # The file, as contract 4 says.
    file = client.get(f"/files/{file_id}").json()
    assert file["status"] == "processed"
    assert text in file["extracted_content"]
    assert file["triggered_workflows"] == [workflow["id"]]
    assert file["metadata"]["pdf_pages"] == 1
    # The execution, as contract 6 says.
    assert execution["status"] == "completed", execution
    assert execution["workflow_id"] == workflow["id"]
    assert execution["trigger_type"] == "file_upload"
    assert execution["trigger_data"] == {
        "file_id": file_id,
        "filename": file["filename"],
        "file_extension": "pdf",
        "original_filename": "Q3 report.pdf",
        "file_size": file["file_size"],
        "mime_type": "application/pdf",
    }
    assert (execution["error_message"], execution["retry_count"]) == (None, 0)
    assert execution["execution_time_ms"] >= 200
    result = execution["result_data"]
    assert list(result) == [step["name"] for step in pipeline("")["workflow_config"]["steps"]]
    assert result["validate_upload"]["valid"] is True
    assert text in result["extract_text"]["content"]
    assert result["validate_content"]["branch"] == "true"
    assert result["validate_content"]["result"] == {"message": "Content validation passed", "level": "info"}
    assert result["save_to_database"]["status_code"] == 201
    assert result["shape"] == {"archive_id": 1, "result": 1}
    assert result["send_notification"] == {"sent": True, "type": "webhook", "status_code": 201}
    # The steps, as contract 6 says.
    steps = client.get(f"/api/v1/workflows/executions/{execution['id']}/steps").json()
    assert [step["step_order"] for step in steps] == [1, 2, 3, 4, 5, 6, 7]
    assert {step["status"] for step in steps} == {"completed"}
    assert steps[3]["input_data"]["headers"] == {"Authorization": "Bearer ***"}
    # What the other side saw.
    saved, told = recorder.asked
    assert saved.path == "/documents"
    assert saved.headers["authorization"] == "Bearer token-of-the-archive"
    assert saved.headers["idempotency-key"] == f"{execution['uuid']}:save_to_database"
    assert saved.body["file_id"] == file_id
    assert saved.body["word_count"] == result["extract_text"]["word_count"]
    assert text in saved.body["extracted_text"]
    assert told.body == {"message": f"Document {file_id} processed. Database ID: 1"}


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus folder at {CORPUS}; set CORPUS_DIR")
def test_documents_of_the_corpus_end_processed_or_failed_with_a_code(
    client: httpx.Client, product: stack.Stack
) -> None:
    names = sorted(path.name for path in CORPUS.iterdir() if path.suffix in {".pdf", ".txt", ".csv"})
    accepted: dict[int, str] = {}
    for name in names:
        answer = client.post("/files/upload", files={"file": (name, (CORPUS / name).read_bytes())})
        if answer.status_code == 200:
            accepted[answer.json()["id"]] = name
        else:
            assert answer.json()["error_code"] in {"TYPE_MISMATCH", "VALIDATION_ERROR"}, (name, answer.text)

    def ended() -> dict[int, dict[str, Any]] | None:
        files = {key: client.get(f"/files/{key}").json() for key in accepted}
        return files if all(file["status"] in {"processed", "failed"} for file in files.values()) else None

    files = wait_for(ended, product, seconds=120)

    assert len(accepted) > 20
    for key, file in files.items():
        if file["status"] == "failed":
            assert file["error_code"], accepted[key]
            assert file["error_message"], accepted[key]


def test_a_stopped_broker_delays_work_but_refuses_and_loses_none(client: httpx.Client, product: stack.Stack) -> None:
    body = {"name": "Pure", "workflow_config": {"steps": [{"name": "only", "type": "log", "config": {}}]}}
    workflow_id = client.post("/workflows", json=body).json()["id"]

    def start() -> tuple[httpx.Response, float]:
        asked_at = time.monotonic()
        answer = client.post(f"/workflows/{workflow_id}/trigger", json={"trigger_data": {"n": 1}})
        return answer, time.monotonic() - asked_at

    usual_seconds = max(seconds for _, seconds in (start() for _ in range(5)))
    product.stop_broker()

    started, seconds = start()
    product.start_broker()

    assert started.status_code == 200
    # Within a second, and what else this machine is busy with.
    assert seconds < 1 + 3 * usual_seconds
    execution_id = started.json()["execution_id"]
    ended = wait_for(
        lambda: (
            (found := client.get(f"/api/v1/workflows/executions/{execution_id}").json())["status"] in FINAL and found
        ),
        product,
    )
    assert ended["status"] == "completed"


@pytest.mark.parametrize("target", ["/files/upload", "/nowhere"])
def test_a_gigabyte_from_a_stranger_is_refused_with_next_to_nothing_written(
    target: str, client: httpx.Client, product: stack.Stack
) -> None:
    """The request promises 1 GiB and sends what the server takes until it answers or hangs up."""
    before = _written_bytes(product)
    headers = {"X-API-Key": "wrong", "Content-Length": str(1024**3), "Content-Type": "multipart/form-data; boundary=x"}
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1024):
            sent += 1024**2
            yield bytes(1024**2)

    try:
        status = httpx.post(f"{client.base_url}{target}", content=body(), headers=headers, timeout=30).status_code
    except httpx.TransportError:
        status = None  # the server had answered and hung up while the client was still sending

    assert status in {None, 401, 404}
    assert sent < 64 * 1024**2
    assert _written_bytes(product) - before < 1024**2
    assert client.get("/live").status_code == 200


def _written_bytes(product: stack.Stack) -> int:
    """Return what the web processes have written to disk since they began."""
    web = product.process("web").popen
    assert web is not None
    pids = [web.pid, *_children(web.pid)]
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
    return total


def _children(pid: int) -> list[int]:
    found = [int(item) for item in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    return found + [grandchild for child in found for grandchild in _children(child)]
