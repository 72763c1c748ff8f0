"""Seed 004's "Document Processing Pipeline" for jpg and png, which are taken where ALLOWED_EXTENSIONS names them."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from files.extractors import ocr_languages
from tests import documents
from tests.chaos import stack
from tests.e2e.recorder import Recorder
from tests.e2e.test_seed_pipeline import TOKEN, pipeline

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not ocr_languages.is_available(), reason="tesserocr is not installed"),
]

LINES = ["Invoice 4711 of the paper mill", "Forty reams of paper and ink", "Total due 1250 within thirty days"]
WORDS = 18
SEEDS_STEPS = ["validate_upload", "extract_text", "validate_content", "save_to_database", "send_notification"]
KINDS = {"jpg": ("scan.JPG", "JPEG", "image/jpeg"), "png": ("scan.png", "PNG", "image/png")}


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as running:
        yield running


@pytest.fixture(scope="module")
def product(recorder: Recorder) -> Iterator[stack.Stack]:
    settings = {
        "ALLOWED_EXTENSIONS": "pdf,doc,docx,txt,csv,xlsx,jpg,jpeg,png",
        "WORKFLOW_ENV_ALLOWLIST": "DATABASE_API_TOKEN,NOTIFICATION_WEBHOOK_URL",
        "DATABASE_API_TOKEN": TOKEN,
        "NOTIFICATION_WEBHOOK_URL": f"{recorder.url}/hooks/documents",
    }
    with stack.running(recorder.address, **settings, **stack.CALM) as running:
        yield running


@pytest.fixture
def client(product: stack.Stack) -> Iterator[httpx.Client]:
    with product.client() as made:
        yield made


def picture_pipeline(database: str, extension: str) -> dict[str, Any]:
    """Return the seed's five steps as printed; one of ours follows, which makes a smaller picture."""
    given = pipeline(database)
    steps = given["workflow_config"]["steps"][: len(SEEDS_STEPS)]
    optimize = {
        "name": "optimize_picture",
        "type": "file_process",
        "config": {"action": "optimize", "file_id": "{{trigger.file_id}}", "quality": 60},
    }
    # Each kind has a workflow of its own, so that one upload starts one execution.
    return given | {"workflow_config": {"steps": [*steps, optimize]}, "trigger_file_extensions": extension}


@pytest.mark.parametrize("extension", ["jpg", "png"])
def test_the_seeds_pipeline_reads_a_picture(
    product: stack.Stack, client: httpx.Client, recorder: Recorder, extension: str
) -> None:
    name, kind, mime_type = KINDS[extension]
    saving = {"quality": 95} if kind == "JPEG" else {"compress_level": 0}
    content = documents.picture(*LINES, kind=kind, **saving)
    workflow = client.post("/api/v1/workflows", json=picture_pipeline(recorder.url, extension)).json()
    asked_before = len(recorder.asked)

    uploaded = client.post("/files/upload", files={"file": (name, content)}).json()
    execution = _wait_for_execution(client, product, workflow["id"])
    file = client.get(f"/files/{uploaded['id']}").json()
    results = execution["result_data"]

    assert (execution["status"], execution["error_message"]) == ("completed", None)
    assert list(results) == [*SEEDS_STEPS, "optimize_picture"]
    assert results["validate_upload"] == {
        "file_id": file["id"],
        "action": "validate",
        "status": "processed",
        "valid": True,
        "size": len(content),
        "mime_type": mime_type,
        "errors": [],
    }
    read = results["extract_text"]
    assert (_lines(read["content"]), read["word_count"]) == (LINES, WORDS)
    assert 0.5 < read["confidence"] <= 1
    assert (read["metadata"]["extraction_method"], read["metadata"]["ocr_language"]) == ("ocr", "eng")
    assert (results["validate_content"]["branch"], _lines(file["extracted_content"])) == ("true", LINES)
    assert results["save_to_database"]["status_code"] == 201
    _check_outside(recorder.asked[asked_before:], execution, file, read["content"])
    _check_picture(client, execution, file, content)


def _lines(text: str) -> list[str]:
    """Return the lines without empty ones: where a paragraph ends is the reader's guess."""
    return [line for line in text.splitlines() if line]


def _check_outside(asked: list[Any], execution: dict[str, Any], file: dict[str, Any], text: str) -> None:
    """Check what the database and the webhook's receiver saw."""
    saved, told = asked
    assert (saved.path, saved.headers["authorization"]) == ("/documents", f"Bearer {TOKEN}")
    assert saved.body == {
        "file_id": file["id"],
        "extracted_text": text,
        "word_count": WORDS,
        "processed_at": execution["id"],
    }
    database_id = execution["result_data"]["save_to_database"]["json"]["id"]
    assert told.path == "/hooks/documents"
    assert told.body == {"message": f"Document {file['id']} processed successfully. Database ID: {database_id}"}


def _check_picture(client: httpx.Client, execution: dict[str, Any], file: dict[str, Any], content: bytes) -> None:
    """Check the smaller picture: among the execution's outputs, and its bytes those of a picture of the same kind."""
    made = execution["result_data"]["optimize_picture"]
    assert made["output_file_id"] in execution["output_file_ids"]
    assert (made["original_size"], execution["input_file_ids"]) == (len(content), [file["id"]])
    assert made["optimized_size"] < made["original_size"]
    downloaded = client.get(f"/files/{made['output_file_id']}/download")
    assert (len(downloaded.content), downloaded.headers["content-type"]) == (made["optimized_size"], file["mime_type"])
    assert downloaded.content[:3] == content[:3]


def test_the_pictures_text_is_found_by_a_search(product: stack.Stack, client: httpx.Client) -> None:
    content = documents.picture("Receipt for seventeen pencils")
    uploaded = client.post("/files/upload", files={"file": ("receipt.png", content)}).json()

    give_up_at = time.monotonic() + 120
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < give_up_at:
        product.tend()
        found = client.get("/files", params={"search": '"seventeen pencils"', "extension": "png"}).json()
        time.sleep(0.05)  # polling a server, as clients do

    assert [item["id"] for item in found] == [uploaded["id"]]
    assert found[0]["search_headline"] == "Receipt for <mark>seventeen</mark> <mark>pencils</mark>"


def _wait_for_execution(client: httpx.Client, product: stack.Stack, workflow_id: int) -> dict[str, Any]:
    give_up_at = time.monotonic() + 120
    while time.monotonic() < give_up_at:
        product.tend()
        for found in client.get(f"/api/v1/workflows/{workflow_id}/executions").json():
            if found["status"] not in {"pending", "running"}:
                return dict(found)
        time.sleep(0.05)  # polling a server, as clients do
    raise AssertionError("no execution ended within the time")
