import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from accounts.choices import OwnerKind, Scope
from accounts.models import Owner
from accounts.services import create_api_key
from files import services
from files.models import File
from tests import documents
from tests.unit.files.conftest import storage_folder  # noqa: F401  (a fixture, used by name)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_folder")]
PREFIXES = ["", "/api/v1"]


def make_owner(name):
    return Owner.objects.create(name=name, kind=OwnerKind.TEAM)


@pytest.fixture
def key_of():
    """Make an API key with all scopes for an owner and return its text."""

    def _key(owner):
        return create_api_key(owner=owner, name="test", scopes=list(Scope.values), actor="test")[1]

    return _key


@pytest.fixture
def api(client, key_of):
    """A client whose key acts for an owner of its own."""
    client.defaults["HTTP_X_API_KEY"] = key_of(make_owner("Ada"))
    return client


def send(api, content=b"words of a text", name="a.txt", path="/files/upload", **headers):
    return api.post(path, {"file": SimpleUploadedFile(name, content)}, headers=headers)


@pytest.mark.parametrize("path", ["/files/upload", "/api/v1/files/upload", "/upload", "/files/upload/"])
def test_upload_answers_the_contracts_shape(api, path):
    answer = send(api, path=path)

    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["id", "filename", "message", "status", "original_filename", "file_size", "mime_type"]
    assert (body["message"], body["status"]) == ("File uploaded successfully", "uploaded")
    assert (body["original_filename"], body["file_size"], body["mime_type"]) == ("a.txt", 15, "text/plain")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_processed_file_shows_its_text_metadata_and_times(api, prefix):
    file_id = send(api, documents.csv(3), "a.csv").json()["id"]
    services.extract_due_files()

    body = api.get(f"{prefix}/files/{file_id}").json()

    text = documents.csv(3).decode()
    assert (body["status"], body["extracted_content"], body["error_message"]) == ("processed", text, None)
    assert body["metadata"] == {
        "mime_type": "text/csv",
        "extraction_method": "text",
        "encoding": "utf-8",
        "line_count": 5,
        "csv_delimiter": ",",
        "csv_headers": ["id", "name", "amount"],
        "csv_column_count": 3,
        "csv_row_count": 3,
        "csv_total_rows": 4,
        "character_count": len(text),
        "word_count": 7,
    }
    assert body["processed_at"].endswith("Z")
    for path in (f"{prefix}/files/{file_id}/extract", f"{prefix}/files/extract/{file_id}"):
        extract = api.get(path).json()
        assert extract == {"file_id": file_id, "content": text, "metadata": body["metadata"]}


@pytest.mark.parametrize(
    ("name", "content", "code", "detail"),
    [
        ("a.txt", b"", "EMPTY_FILE", "File is empty"),
        (
            "a.exe",
            b"MZ",
            "FILE_TYPE_NOT_ALLOWED",
            "File type not allowed. Allowed types: pdf,doc,docx,txt,csv,xlsx (ALLOWED_EXTENSIONS)",
        ),
        (
            "a.pdf",
            b"<html></html>",
            "TYPE_MISMATCH",
            "File content does not match its name: the name says pdf, the content is html",
        ),
    ],
)
def test_a_bad_upload_is_400_with_its_code(api, name, content, code, detail):
    answer = send(api, content, name)

    assert (answer.status_code, answer.json()["error_code"], answer.json()["detail"]) == (400, code, detail)
    assert not File.objects.exists()


def test_an_upload_without_a_file_is_400(api):
    answer = api.post("/files/upload", {"other": "x"})

    assert (answer.status_code, answer.json()["detail"]) == (400, "No filename provided")


@pytest.mark.parametrize("size", [11 * 1024**2, 12 * 1024**2])
def test_an_oversize_upload_is_refused_before_it_is_stored(api, size, storage_folder):  # noqa: F811
    answer = send(api, b"a" * size)

    assert (answer.status_code, answer.json()["detail"]) == (400, "File too large. Maximum size: 10MB")
    assert list(storage_folder.iterdir()) == []


def test_a_wrong_key_is_refused_without_reading_the_body(client):
    class Unread:
        def read(self, *args):
            raise AssertionError("the body was read")

        readline = read

    answer = client.generic(
        "POST",
        "/files/upload",
        **{
            "wsgi.input": Unread(),
            "CONTENT_LENGTH": str(1024**3),
            "CONTENT_TYPE": "multipart/form-data; boundary=x",
            "HTTP_X_API_KEY": "wrong",
        },
    )

    assert answer.status_code == 401


def test_the_list_is_newest_first_cut_and_counted_in_few_queries(api, django_assert_max_num_queries):
    ids = [send(api, b"a" * (10_000 + number)).json()["id"] for number in range(3)]
    services.extract_due_files()

    with django_assert_max_num_queries(4):
        answer = api.get("/files?limit=2&status=nonsense")

    body = answer.json()
    assert ([item["id"] for item in body], answer["X-Total-Count"]) == ([ids[2], ids[1]], "3")
    assert [len(item["extracted_content"]) for item in body] == [10_000, 10_000]
    assert [item["extracted_content_truncated"] for item in body] == [True, True]
    whole = api.get("/files?offset=2").json()[0]
    assert (len(whole["extracted_content"]), whole["extracted_content_truncated"]) == (10_000, False)


@pytest.mark.parametrize("path", ["/files/{id}/process", "/api/v1/files/process/{id}"])
def test_process_starts_an_uploaded_file_and_refuses_a_processed_one(api, path):
    file_id = send(api).json()["id"]

    started = api.generic("POST", path.format(id=file_id))
    services.extract_due_files()
    refused = api.post(path.format(id=file_id), json.dumps({}), content_type="application/json")

    assert started.json() == {"message": "File processing started", "file_id": file_id}
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_STATE")
    assert refused.json()["detail"] == "File cannot be processed (status: processed)"
    assert api.post(path.format(id=file_id), {"force": True}, content_type="application/json").status_code == 200


def test_extract_before_processing_is_400(api):
    file_id = send(api).json()["id"]

    answer = api.get(f"/files/{file_id}/extract")

    assert (answer.status_code, answer.json()["detail"]) == (400, "File not processed yet (status: uploaded)")


def test_delete_hides_the_file(api):
    file_id = send(api).json()["id"]

    answer = api.delete(f"/files/{file_id}")

    assert answer.json() == {"message": "File deleted successfully", "file_id": file_id}
    gone = api.get(f"/files/{file_id}")
    assert (gone.status_code, gone.json()["error_code"]) == (404, "FILE_NOT_FOUND")
    assert api.delete(f"/files/{file_id}").status_code == 404
    assert api.get("/files").json() == []


@pytest.mark.parametrize("key", ["999999", "abc", "-1", "9" * 40, "1.5"])
def test_what_is_no_file_is_404(api, key):
    answer = api.get(f"/files/{key}")

    assert (answer.status_code, answer.json()["error_code"]) == (404, "FILE_NOT_FOUND")


def test_download_gives_the_bytes_as_an_attachment(api):
    file_id = send(api, documents.pdf(), "Größe 1.pdf").json()["id"]

    answer = api.get(f"/files/{file_id}/download")

    assert b"".join(answer.streaming_content).startswith(b"%PDF-")
    assert answer["Content-Disposition"] == "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe%201.pdf"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_another_owners_file_is_missing_everywhere(api, key_of):
    file_id = send(api).json()["id"]
    other = {"X-API-Key": key_of(make_owner("Eve"))}

    answers = [
        api.get(f"/files/{file_id}", headers=other),
        api.get(f"/files/{file_id}/extract", headers=other),
        api.get(f"/files/{file_id}/download", headers=other),
        api.post(f"/files/{file_id}/process", headers=other),
        api.delete(f"/files/{file_id}", headers=other),
    ]

    assert [answer.status_code for answer in answers] == [404] * 5
    assert api.get("/files", headers=other).json() == []
    assert File.objects.get(pk=file_id).status == "uploaded"


def test_the_summary_counts_by_status(api):
    kept, dropped = send(api, b"one").json()["id"], send(api, b"two").json()["id"]
    services.extract_due_files()
    api.delete(f"/files/{dropped}")

    statistics = api.get("/files/stats/summary").json()["statistics"]

    assert statistics == {
        "total_files": 1,
        "status_breakdown": {"uploaded": 0, "processing": 0, "processed": 1, "failed": 0, "deleted": 1},
        "total_size_bytes": 3,
        "recent_uploads_24h": 1,
        "quota_bytes": None,
        "quota_used_bytes": 3,
    }
    assert File.objects.get(pk=kept).status == "processed"
