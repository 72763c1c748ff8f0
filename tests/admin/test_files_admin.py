"""Files in the admin: text, tables, errors, and why a workflow did not fire."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client

from accounts.models import User
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
    # A cell may hold lines of its own: the class keeps them apart.
    assert '<table class="grid-table cells">' in body


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

    assert f"A workflow no {reason.capitalize()}" in page
    assert "report.txt" in listed
    assert "0 of 1" in listed


def test_a_file_without_evaluation_says_so(admin: Client) -> None:
    file = make_file(factories.make_owner(), status="uploaded")

    assert "No evaluation: the file has not been processed yet" in text_of(admin.get(f"{FILES}{file.pk}/change/"))


@pytest.mark.parametrize(("button", "runs"), [("extract_again", False), ("extract_and_run", True)])
def test_extracting_again_lets_workflows_run_only_if_asked(admin: Client, button: str, runs: bool) -> None:
    file = make_file(factories.make_owner(), processed_at=clock.now(), run_triggers=not runs)

    answer = admin.post(f"{FILES}{file.pk}/press/{button}/")

    file.refresh_from_db()
    [message] = messages_of(answer)
    assert message.startswith("The file is read again")
    assert (file.status, file.run_triggers) == ("uploaded", runs)


def test_a_first_extraction_that_failed_starts_nothing_either_when_it_is_repeated_quietly(admin: Client) -> None:
    file = make_file(factories.make_owner(), status="failed", processed_at=None)

    admin.post(f"{FILES}{file.pk}/press/extract_again/")

    file.refresh_from_db()
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


def test_the_page_lists_the_executions_that_used_the_file(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, name="Reader")
    file, other = make_file(workflow.owner), make_file(workflow.owner)
    used = factories.start(workflow, input_file_ids=[file.pk])
    unrelated = factories.start(workflow, input_file_ids=[other.pk, other.pk + file.pk * 10])

    page = admin.get(f"{FILES}{file.pk}/change/")
    nothing = text_of(admin.get(f"{FILES}{make_file(workflow.owner).pk}/change/"))

    body = page.content.decode()
    assert f"Executions that used it Execution Workflow Status Trigger Created (UTC) Duration {used.pk} Reader" in (
        text_of(page)
    )
    assert f'href="/admin/workflows/execution/{used.pk}/change/"' in body
    assert f"/admin/workflows/execution/{unrelated.pk}/change/" not in body
    assert "None: no execution was given this file." in nothing


def test_a_verdict_says_in_plain_words_that_it_fired_and_leads_to_the_execution(admin: Client) -> None:
    workflow = factories.make_workflow(GREET, trigger_on_file_upload=True)
    file = make_file(workflow.owner)
    started = factories.start(workflow)
    verdict = {"workflow_id": workflow.pk, "workflow": workflow.name, "fired": True, "reason": "matched"}
    Evaluation.objects.create(
        owner=workflow.owner,
        file_id=file.pk,
        processing_number=1,
        request={},
        verdicts=[{**verdict, "execution_id": started.pk}],
        evaluated_at=clock.now(),
    )

    page = admin.get(f"{FILES}{file.pk}/change/")

    assert f"A workflow yes It matched, so an execution was started. {started.pk}" in text_of(page)
    assert f'href="/admin/workflows/execution/{started.pk}/change/"' in page.content.decode()


def test_a_failed_file_says_why_no_workflow_was_asked(admin: Client) -> None:
    file = make_file(factories.make_owner(), status="failed", error_code="FILE_ENCRYPTED")

    assert "No evaluation: the extraction failed" in text_of(admin.get(f"{FILES}{file.pk}/change/"))


# --- Upload and download ----------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def storage(settings: Any, tmp_path: Path) -> Path:
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}}
    }
    return tmp_path


def upload(client: Client, content: bytes = b"Invoice 42", name: str = "invoice.txt", **fields: Any) -> HttpResponse:
    return client.post(f"{FILES}upload/", {"file": SimpleUploadedFile(name, content), **fields})


def test_an_upload_becomes_a_file_of_the_users_own(admin: Client, operator: User) -> None:
    answer = upload(admin)

    file = File.objects.get()
    assert answer.status_code == 201
    assert answer.json() == {"id": file.pk, "name": "invoice.txt", "url": f"{FILES}{file.pk}/change/"}
    assert (file.owner.user, file.uploaded_by, file.status) == (operator, "operator@example.com", "uploaded")


def test_an_operator_uploads_for_another_owner(admin: Client) -> None:
    owner = factories.make_owner("Finance")

    assert "Finance" in text_of(admin.get(FILES))
    assert upload(admin, owner=owner.pk).status_code == 201
    assert File.objects.get().owner == owner


def test_an_author_uploads_for_the_own_teams_only(db: None) -> None:
    user = User.objects.create_user("author@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["add_file", "view_file"]))
    team, foreign = factories.make_owner("Team"), factories.make_owner("Foreign")
    team.members.add(user)
    client = Client()
    client.force_login(user)

    answers = [upload(client, owner=owner.pk).status_code for owner in (team, foreign)]
    listed = text_of(client.get(FILES))

    assert answers == [201, 403]
    assert [file.owner for file in File.objects.all()] == [team]
    assert "Foreign" not in listed


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("run.exe", b"MZ", "FILE_TYPE_NOT_ALLOWED"),
        ("empty.txt", b"", "EMPTY_FILE"),
        ("fake.pdf", b"<html><body>no</body></html>", "TYPE_MISMATCH"),
        ("large.txt", b"x" * 2048, "FILE_TOO_LARGE"),
    ],
)
def test_a_refused_upload_names_its_reason_and_stores_nothing(
    admin: Client, settings: Any, name: str, content: bytes, code: str
) -> None:
    settings.MAX_FILE_SIZE_BYTES = 1024

    answer = upload(admin, content, name)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["detail"]
    assert not File.objects.exists()
    assert list(Path(settings.STORAGES["default"]["OPTIONS"]["location"]).rglob("*.*")) == []


def test_an_upload_without_a_file_is_refused(admin: Client) -> None:
    answer = admin.post(f"{FILES}upload/", {})

    assert (answer.status_code, answer.json()["detail"]) == (400, "No filename provided")


def test_an_upload_needs_the_permission_the_token_and_a_post(admin: Client, operator: User) -> None:
    viewer = User.objects.create_user("viewer@example.com", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename="view_file"))
    looking, careful, stranger = Client(), Client(enforce_csrf_checks=True), Client()
    looking.force_login(viewer)
    careful.force_login(operator)

    listed = looking.get(FILES).content.decode()
    answers = [upload(client).status_code for client in (looking, careful, stranger)]

    assert answers == [403, 403, 302]
    assert admin.get(f"{FILES}upload/").status_code == 405
    assert 'id="upload"' not in listed
    assert not File.objects.exists()


def test_a_download_is_an_attachment_that_no_browser_shows_inline(admin: Client) -> None:
    upload(admin, b"Invoice 42", "Rechnung März.txt")
    file = File.objects.get()

    answer = admin.get(f"{FILES}{file.pk}/download/")

    assert b"".join(answer.streaming_content) == b"Invoice 42"  # type: ignore[attr-defined]
    assert answer["Content-Disposition"] == "attachment; filename*=utf-8''Rechnung%20M%C3%A4rz.txt"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "sandbox"


def test_a_download_without_bytes_says_so(admin: Client) -> None:
    file = make_file(factories.make_owner())

    answer = admin.get(f"{FILES}{file.pk}/download/")

    assert messages_of(answer) == ["The stored bytes of this file are missing."]
    assert answer["Location"] == f"{FILES}{file.pk}/change/"


def test_nobody_downloads_a_deleted_or_a_foreign_file(admin: Client) -> None:
    author = User.objects.create_user("author@example.com", is_staff=True)
    author.user_permissions.set(Permission.objects.filter(codename="view_file"))
    client = Client()
    client.force_login(author)
    foreign, deleted = make_file(factories.make_owner()), make_file(factories.make_owner(), status="deleted")

    assert client.get(f"{FILES}{foreign.pk}/download/").status_code == 404
    assert admin.get(f"{FILES}{deleted.pk}/download/").status_code == 404
    assert admin.get(f"{FILES}999999/download/").status_code == 404
