"""The step `file_process` beside other workers that extract the same file."""

import io
from pathlib import Path
from typing import Any

import pytest

from core import clock
from files import services as files
from files import transitions
from files.extractors import ocr_languages
from files.models import File
from tests import documents, factories
from workflows.choices import Lane
from workflows.engine.drain import drain
from workflows.engine.lease import keeper
from workflows.models import Branch

pytestmark = pytest.mark.django_db
EXTRACT = {"name": "read", "type": "file_process", "config": {"action": "extract"}}


@pytest.fixture(autouse=True)
def storage_folder(tmp_path: Path, settings: Any) -> None:
    local = settings.STORAGES["default"] | {"OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = settings.STORAGES | {"default": local}


def test_a_file_in_another_workers_hands_is_waited_for_and_costs_no_attempt() -> None:
    workflow = factories.make_workflow([EXTRACT], max_retries=0)
    file = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(b"two words"), filename="a.txt")
    held = transitions.claim_next("another worker", file_id=file.pk)
    execution = factories.start(workflow, {"file_id": file.pk})

    drain(Lane.FILES)

    branch = Branch.objects.get(execution=execution)
    assert held is not None
    assert factories.statuses(execution) == [("read", 1, "waiting")]
    assert (branch.waiting_on, branch.claimed_by) == ("timer", "")
    assert branch.waiting_reason == f"waits for the extraction of file {file.pk} by another worker"

    File.objects.filter(pk=file.pk).update(lease_until="2020-01-01T00:00:00Z")
    with clock.moved_by(seconds=1):
        drain(Lane.FILES)

    execution.refresh_from_db()
    assert (execution.status, execution.retry_count) == ("completed", 0)
    assert factories.outputs(execution)["read"]["content"] == "two words"


def test_tables_are_given_when_the_step_asks_for_them() -> None:
    asking = {"name": "read", "type": "file_process", "config": {"action": "extract", "tables": True}}
    workflow = factories.make_workflow([asking, {**EXTRACT, "name": "plain"}])
    content = documents.xlsx(Prices=[["id", "amount"], ["007", 2.0]])
    file = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(content), filename="a.xlsx")
    execution = factories.start(workflow, {"file_id": file.pk})

    drain(Lane.FILES)

    outputs = factories.outputs(execution)
    assert outputs["read"]["tables"] == [{"name": "Prices", "rows": [["id", "amount"], ["007", "2"]]}]
    assert outputs["read"]["metadata"]["excel_sheet_names"] == ["Prices"]
    assert "tables" not in outputs["plain"]


def test_a_resumed_step_renews_its_lease_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = factories.make_workflow([EXTRACT])
    file = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(b"two words"), filename="a.txt")
    transitions.claim_next("another worker", file_id=file.pk)
    execution = factories.start(workflow, {"file_id": file.pk})
    drain(Lane.FILES)
    File.objects.filter(pk=file.pk).update(lease_until="2020-01-01T00:00:00Z")
    held: list[int] = []
    monkeypatch.setattr(keeper, "hold", lambda claim, **_: held.append(claim.execution_id))

    with clock.moved_by(seconds=1):
        drain(Lane.FILES)

    assert held == [execution.pk]


def test_ocr_extract_gives_the_text_that_a_document_carries() -> None:
    step = {"name": "read", "type": "file_process", "config": {"action": "ocr_extract", "language": "en"}}
    workflow = factories.make_workflow([step])
    file = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(b"two words"), filename="a.txt")

    execution = factories.run(workflow, {"file_id": file.pk})

    output = factories.outputs(execution)["read"]
    assert (output["content"], output["word_count"], output["confidence"]) == ("two words", 2, None)


@pytest.mark.skipif(not ocr_languages.is_available(), reason="tesserocr is not installed")
def test_ocr_extract_reads_the_pages_of_a_scan() -> None:
    step = {"name": "read", "type": "file_process", "config": {"action": "ocr_extract", "language": "en"}}
    workflow = factories.make_workflow([step])
    content = io.BytesIO(documents.scanned_pdf("Invoice number 4711"))
    file = files.upload_file(workflow.owner, actor="test", stream=content, filename="scan.pdf")

    execution = factories.run(workflow, {"file_id": file.pk})

    output = factories.outputs(execution)["read"]
    assert (output["content"].strip(), output["word_count"]) == ("Invoice number 4711", 3)
    assert output["confidence"] == output["metadata"]["ocr_confidence"] > 0.8


@pytest.mark.skipif(not ocr_languages.is_available(), reason="tesserocr is not installed")
def test_ocr_extract_in_a_language_that_is_not_installed_lists_those_that_are() -> None:
    step = {"name": "read", "type": "file_process", "config": {"action": "ocr_extract", "language": "xx"}}
    workflow = factories.make_workflow([step])
    file = files.upload_file(workflow.owner, actor="test", stream=io.BytesIO(b"two words"), filename="a.txt")

    execution = factories.run(workflow, {"file_id": file.pk})

    assert (execution.status, execution.retry_count) == ("failed", 0)
    message = "No text recognition for the language 'xx' is installed; installed: eng"
    assert execution.error_message == f"Step 'read' failed: {message}"
