"""Files in the admin: text, tables, errors, and why a workflow did not fire."""

from typing import Any

import pytest
from django.test import Client

from core import clock
from files.models import File
from tests import factories
from tests.admin.rows import GREET, make_file, make_text, messages_of, text_of
from workflows.models import Evaluation

pytestmark = pytest.mark.django_db

FILES = "/admin/files/file/"


def test_the_page_shows_text_tables_and_metadata_escaped(admin: Client) -> None:
    file = make_file(factories.make_owner(), extraction_metadata={"page_count": 2})
    make_text(file, "Invoice <script>42</script>", [{"name": "Lines", "rows": [["item", "price"], ["tea", "3.50"]]}])

    page = admin.get(f"{FILES}{file.pk}/change/")

    body = page.content.decode()
    assert "Invoice &lt;script&gt;42&lt;/script&gt;" in body
    assert "<script>42" not in body
    assert "Lines, 2 rows item price tea 3.50" in text_of(page)
    assert "&quot;page_count&quot;: 2" in body


def test_a_failed_file_says_its_code_and_reason(admin: Client) -> None:
    file = make_file(
        factories.make_owner(), status="failed", error_code="FILE_ENCRYPTED", error_message="The PDF needs a password"
    )

    page = text_of(admin.get(f"{FILES}{file.pk}/change/"))

    assert "Why it failed failed FILE_ENCRYPTED The PDF needs a password" in page
    assert "No text: the extraction failed" in page
    assert "FILE_ENCRYPTED" in text_of(admin.get(FILES))


def test_the_page_tells_why_each_workflow_fired_or_not(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, trigger_on_file_upload=True, trigger_file_extensions="pdf")
    file = make_file(workflow.owner)
    reason = "the extension 'txt' is not one of pdf"
    verdict = {"workflow_id": workflow.pk, "workflow": workflow.name, "fired": False, "execution_id": None}
    Evaluation.objects.create(
        owner=workflow.owner,
        file_id=file.pk,
        processing_number=1,
        request={"original_filename": "report.txt"},
        verdicts=[{**verdict, "reason": reason}],
        evaluated_at=clock.now(),
    )

    page = text_of(admin.get(f"{FILES}{file.pk}/change/")).replace("&#x27;", "'")
    listed = text_of(admin.get("/admin/workflows/evaluation/", {"q": str(file.pk)}))

    assert f"A workflow no {reason}" in page
    assert "report.txt" in listed
    assert "0 of 1" in listed


def test_a_file_without_evaluation_says_so(admin: Client) -> None:
    file = make_file(factories.make_owner(), status="uploaded")

    assert "No evaluation: the file has not been processed yet" in text_of(admin.get(f"{FILES}{file.pk}/change/"))


def test_extract_again_queues_the_file_and_starts_no_workflow(admin: Client) -> None:
    file = make_file(factories.make_owner(), processed_at=clock.now(), run_triggers=False)

    answer = admin.post(f"{FILES}{file.pk}/press/extract_again/")

    file.refresh_from_db()
    assert messages_of(answer) == ["The file is read again; reload to see the result."]
    assert (file.status, file.run_triggers) == ("uploaded", False)


def test_a_refusal_of_the_service_comes_back_as_a_message(admin: Client) -> None:
    file = make_file(factories.make_owner(), status="processing")

    answer = admin.post(f"{FILES}{file.pk}/press/extract_again/")

    [message] = messages_of(answer)
    assert "processing" in message
    assert File.objects.get(pk=file.pk).status == "processing"


def test_deleting_names_what_is_lost_and_deletes_softly(admin: Client) -> None:
    file = make_file(factories.make_owner())
    make_text(file, "gone soon")

    asked = text_of(admin.get(f"{FILES}{file.pk}/delete/"))
    admin.post(f"{FILES}{file.pk}/delete/", {"post": "yes"})

    assert "text are gone for good" in asked
    assert File.objects.get(pk=file.pk).status == "deleted"
    admin.get(FILES)  # shows the message that names the file
    assert "report.txt" not in text_of(admin.get(FILES))


def test_files_are_found_by_id_uuid_name_and_status(admin: Client) -> None:
    owner = factories.make_owner()
    wanted = make_file(owner, original_filename="Wanted.pdf", status="failed")
    make_file(owner, original_filename="unrelated.txt")

    queries: list[dict[str, Any]] = [
        {"q": wanted.pk},
        {"q": str(wanted.uuid)},
        {"q": "wante"},
        {"status__exact": "failed"},
    ]
    for query in queries:
        page = text_of(admin.get(FILES, query))
        assert "Wanted.pdf" in page, query
        assert "unrelated.txt" not in page, query
