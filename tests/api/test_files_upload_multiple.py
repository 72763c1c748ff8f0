"""`POST /files/upload-multiple` (contract 4): each file for itself."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from files import services
from files.api import uploads
from files.models import File
from tests import documents
from tests.api.refusals import BOUNDARY, part, refused, stored_files
from tests.api.test_files_api import api, key_of, storage_folder  # noqa: F401  (fixtures, used by name)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("storage_folder")]

NOT_ALLOWED = "File type not allowed. Allowed types: pdf,doc,docx,txt,csv,xlsx (ALLOWED_EXTENSIONS)"
PATHS = ["/files/upload-multiple", "/api/v1/files/upload-multiple", "/files/upload-multiple/"]
END = b"--%s--\r\n" % BOUNDARY.encode()


def send(api, *named, path=PATHS[0]):  # noqa: F811
    return api.post(path, {"files": [SimpleUploadedFile(name, content) for name, content in named]})


def raw(api, *parts, path=PATHS[0], end=END):  # noqa: F811
    return api.generic("POST", path, b"".join(parts) + end, f"multipart/form-data; boundary={BOUNDARY}")


@pytest.mark.parametrize("path", PATHS)
def test_good_files_are_taken_and_bad_ones_reported(api, path):  # noqa: F811
    answer = send(api, ("a.txt", b"one"), ("b.exe", b"MZ"), ("c.docx", documents.docx()), ("d.pdf", b"text"), path=path)

    body = answer.json()
    assert answer.status_code == 200
    assert list(body) == ["message", "files", "errors"]
    assert body["message"] == "2 of 4 files uploaded successfully"
    assert [(item["original_filename"], item["status"], item["message"]) for item in body["files"]] == [
        ("a.txt", "uploaded", "File uploaded successfully"),
        ("c.docx", "uploaded", "File uploaded successfully"),
    ]
    assert body["errors"] == [
        {"filename": "b.exe", "error": NOT_ALLOWED},
        {
            "filename": "d.pdf",
            "error": "File content does not match its name: the name says pdf, the content is text",
        },
    ]
    assert File.objects.count() == 2


def test_every_file_of_one_request_is_extracted(api):  # noqa: F811
    send(api, ("a.txt", b"one"), ("b.csv", documents.csv()), ("c.xlsx", documents.xlsx()), ("d.pdf", documents.pdf()))

    services.extract_due_files()

    assert list(File.objects.order_by("pk").values_list("status", flat=True)) == ["processed"] * 4


def test_a_file_over_the_limit_does_not_cost_the_others(api, settings, storage_folder):  # noqa: F811
    settings.MAX_FILE_SIZE_BYTES, settings.MAX_FILE_SIZE_TEXT = 3 * 1024**2, "3MB"
    big = io.BytesIO(b"a" * (3 * 1024**2 + 1)).getvalue()

    body = send(api, ("big.txt", big), ("small.txt", b"small"), ("full.txt", big[1:]), ("big.csv", big * 2)).json()

    assert [(item["original_filename"], item["file_size"]) for item in body["files"]] == [
        ("small.txt", 5),
        ("full.txt", 3 * 1024**2),
    ]
    assert body["errors"] == [
        {"filename": name, "error": "File too large. Maximum size: 3MB"} for name in ("big.txt", "big.csv")
    ]
    assert len(stored_files(storage_folder)) == 2


def test_a_file_over_the_limit_is_spooled_one_byte_past_it_and_no_further(rf, settings):
    settings.MAX_FILE_SIZE_BYTES = 100
    handler = uploads.SizeLimitUploadHandler(rf.post("/"), goes_on=True)

    passed = [handler.receive_data_chunk(b"a" * 60, start) for start in (0, 60, 120)]

    assert passed == [b"a" * 60, b"a" * 41, None]


def test_none_accepted_is_400_with_every_reason_and_nothing_stored(api, storage_folder):  # noqa: F811
    body = refused(send(api, ("a.exe", b"MZ"), ("b.txt", b"")), 400, "VALIDATION_ERROR")

    assert body["detail"] == (f"No file was accepted. a.exe: {NOT_ALLOWED}; b.txt: File is empty")
    assert [(item["loc"], item["msg"]) for item in body["errors"]] == [
        (["body", "files", 0], NOT_ALLOWED),
        (["body", "files", 1], "File is empty"),
    ]
    assert (File.objects.count(), stored_files(storage_folder)) == (0, [])


@pytest.mark.parametrize(
    "disposition", [b'name="file"; filename="a.txt"', b'name="files"', b'name="files"; filename=""']
)
def test_a_form_without_files_is_400(api, disposition):  # noqa: F811
    assert refused(raw(api, part(disposition)), 400, "VALIDATION_ERROR")["detail"] == "No filename provided"


@pytest.mark.parametrize("path", ["/files/upload", "/files/upload-multiple"])
def test_a_body_that_ends_in_a_file_is_refused_whole_and_says_so(api, storage_folder, path):  # noqa: F811
    first, second = part(b'name="files"; filename="a.txt"'), part(b'name="file"; filename="b.txt"')

    body = refused(raw(api, first, second[:-4], path=path, end=b""), 400, "VALIDATION_ERROR")

    assert body["detail"] == "The upload ended before its file was complete"
    assert (File.objects.count(), stored_files(storage_folder)) == (0, [])


def test_more_files_than_a_form_may_have_are_refused(api):  # noqa: F811
    answer = raw(api, *(part(b'name="files"; filename="a.txt"') for _ in range(101)))

    assert refused(answer, 400, "BAD_REQUEST")["detail"] == "Too many files. At most 100 are allowed"
    assert not File.objects.exists()


def test_the_endpoint_needs_a_key(client):
    assert send(client, ("a.txt", b"one")).status_code == 401
